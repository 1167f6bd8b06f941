"""Tokenizers of models that write: trained on texts, a BERT's that joins words, with a prefix."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tinybert.artifact import write_atomic
from tinybert.errors import ConfigError, UnsupportedModelError

__all__ = ["SPECIAL", "join_words", "put_before", "train_tokenizer"]

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_LEAST = 300
_WIDE = "\u3000-\u303f\uff00-\uffef"
_CHINESE = f"[{_WIDE}\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]"
_SUFFIX = r"(?:s|t|re|ve|ll|d|m)\b"
_NEEDLESS = (
    f" (?={_CHINESE})|(?<={_CHINESE}) ",
    r" (?=[.,;:!?%)\]}])|(?<=[(\[{$#€£]) ",
    rf"(?<=\w) (?=['’] {_SUFFIX}|[/@] \w)|(?<=\d) (?=- \d)",
    rf"(?<=\w['’]) (?={_SUFFIX})|(?<=\w[/@]) (?=\w)|(?<=\d[-.:]) (?=\d)|(?<=\d,) (?=\d{{3}}\b)",
    r"(?<=\w\.) (?=(?:com|org|net|edu|gov)\b)",
)
_DIGITS = r"(?<=\d) (?=\d)"


def train_tokenizer(
    texts: Iterable[str], folder: str | Path, *, vocab_size: int, keep: Sequence[str] = ()
) -> Path:
    """Learn pieces from texts and write a tokenizer that loses no character.

    A space is a character of the word after it (``▁``), so that texts come back as they were.
    Digits and punctuation stand alone, which keeps numbers readable piece by piece. A character
    that no piece writes becomes its UTF-8 bytes. A sequence ends with ``</s>``.

    Args:
        texts: Of all languages that the tokenizer shall write.
        folder: Gets ``tokenizer.json`` and ``tokenizer_config.json``.
        vocab_size: Pieces, special tokens and the 256 bytes included; at least 300.
        keep: Characters that are pieces however rare they are.

    Returns:
        The folder.

    Raises:
        ConfigError: ``vocab_size`` is below 300.

    Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units".
    Differs: the bytes; at most half of the pieces are single characters, so that Chinese leaves
    room for words.
    """
    if vocab_size < _LEAST:
        raise ConfigError(f"vocab_size is {vocab_size}; wanted at least {_LEAST} (256 are bytes)")
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="never"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation(),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(_BYTES),
        special_tokens=list(SPECIAL),
        initial_alphabet=list(keep),
        limit_alphabet=max(40, (vocab_size - len(_BYTES)) // 2),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _write(tokenizer, Path(folder))


def _write(tokenizer: Tokenizer, folder: Path) -> Path:
    """Put the bytes behind the pieces that were learned and write the folder."""
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for byte in _BYTES:
        vocabulary.setdefault(byte, len(vocabulary))
    whole = Tokenizer.from_str(json.dumps(state))
    whole.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", SPECIAL.index("</s>"))]
    )
    folder.mkdir(parents=True, exist_ok=True)
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    write_atomic(folder / "tokenizer.json", whole.to_str().encode())
    write_atomic(folder / "tokenizer_config.json", json.dumps(config, indent=2).encode())
    return folder


def join_words(folder: str | Path) -> None:
    """Let the tokenizer of a BERT write with the spaces that people put.

    A BERT reads each Chinese character and each mark as a word, and its tokenizer puts a space
    between words: 退 款, it ' s, 10 : 30. Such spaces are not written any more; nor are those
    between digits, where pieces do not say whether they begin a word. A tokenizer that says
    otherwise how words are joined stays as it is.

    Args:
        folder: Its ``tokenizer.json`` is changed.
    """
    path = Path(folder) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    if not isinstance(tokenizer.decoder, decoders.WordPiece | None):
        return
    words = tokenizer.decoder or decoders.WordPiece(cleanup=False)
    needless = _NEEDLESS if isinstance(tokenizer.model, models.WordPiece) else (*_NEEDLESS, _DIGITS)
    less = [decoders.Replace(Regex(pattern), "") for pattern in needless]
    tokenizer.decoder = decoders.Sequence([words, decoders.Fuse(), *less])
    write_atomic(path, tokenizer.to_str(pretty=True).encode())


def put_before(prefix: str, folder: str | Path) -> None:
    """Let a tokenizer put a prefix before every text, such as the ``summarize: `` of a T5.

    Args:
        prefix: Its pieces become a part of what stands around a text, so that it is never cut off.
            Spaces at its ends do not count.
        folder: Its ``tokenizer.json`` is changed.

    Raises:
        UnsupportedModelError: What stands around a text is not a list of special tokens.
    """
    path = Path(folder) / "tokenizer.json"
    spec = json.loads(path.read_text(encoding="utf-8"))
    around = spec.get("post_processor") or {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
        "special_tokens": {},
    }
    if around["type"] != "TemplateProcessing":
        raise UnsupportedModelError(
            f"teacher.prefix is given, and the tokenizer's post-processor is {around['type']}; "
            "wanted TemplateProcessing, as T5's is; put the prefix into the sources"
        )
    found = Tokenizer.from_str(json.dumps(spec)).encode(prefix.strip(), add_special_tokens=False)
    around["special_tokens"][prefix] = {"id": prefix, "ids": found.ids, "tokens": found.tokens}
    place = next(i for i, part in enumerate(around["single"]) if "Sequence" in part)
    around["single"].insert(place, {"SpecialToken": {"id": prefix, "type_id": 0}})
    write_atomic(path, json.dumps({**spec, "post_processor": around}, ensure_ascii=False).encode())
