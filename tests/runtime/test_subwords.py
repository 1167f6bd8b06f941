"""The tokenizer of a BERT writes with the spaces that people put; one may put a prefix."""

import json
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from tinybert import text
from tinybert.errors import UnsupportedModelError
from tinybert.runtime.generation import Decoding, Generator
from tinybert.subwords import join_words, put_before, train_tokenizer

TEXTS = [
    "退款申请，8月账单iPhone 13手机“好”吗？",
    "它说：「不行」。",
    "it's his, don't; you’re we'll",
    "re: pay $20.50 (or 3%) at 10:30 on 10/30/01 for 2-3 ids #5 of 1,000",
    "write to bob@enron.com and/or ask!",
    "in 2001, 3 people - not 4 - said ' no '",
    "“ quoted ” well - known",
    "invoice $1,234.50 due, 100,000 paid, 1, 2 open",
]


def save(folder, decoder):
    backend = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = [
        word
        for text in TEXTS
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(
            backend.normalizer.normalize_str(text)
        )
    ]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["[UNK]", *words]))}
    backend.model = models.WordPiece(vocabulary, unk_token="[UNK]")
    backend.decoder = decoder
    backend.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.mark.parametrize("decoder", [decoders.WordPiece(), decoders.WordPiece(cleanup=False), None])
@pytest.mark.parametrize("text", TEXTS)
def test_no_needless_space_is_written(tmp_path, decoder, text):
    path = save(tmp_path, decoder)
    join_words(tmp_path)
    backend = Tokenizer.from_file(str(path))
    assert backend.decode(backend.encode(text).ids) == text
    before = path.read_bytes()
    join_words(tmp_path)
    assert path.read_bytes() == before


def test_digits_of_pieces_without_a_mark_are_joined(tmp_path):
    pieces = {"1": 0, "2": 1, "12": 2, "单": 3, "don": 4}
    path = tmp_path / "tokenizer.json"
    Tokenizer(models.BPE(pieces, [("1", "2")])).save(str(path))
    join_words(tmp_path)
    assert Tokenizer.from_file(str(path)).decode([4, 2, 1, 3, 2]) == "don 122单12"


def test_a_tokenizer_that_knows_its_spaces_stays(tmp_path):
    path = save(tmp_path, decoders.Metaspace())
    before = path.read_bytes()
    join_words(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", TEXTS)
def test_a_stream_takes_nothing_back(tmp_path, text):
    save(tmp_path, decoders.WordPiece())
    join_words(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    encoded = backend.encode(text)

    def generate_tokens(*_, **__):
        for i, token in enumerate(encoded.tokens, 1):
            yield SimpleNamespace(token=token, is_last=i == len(encoded.tokens))

    generator = Generator.__new__(Generator)
    generator._model = SimpleNamespace(generate_tokens=generate_tokens)
    generator._ids, generator.target, generator.prefix = backend.get_vocab(), backend, ()
    generator._encode, generator._settings = list, lambda _: {}
    assert "".join(generator.stream("", Decoding())) == text


def test_a_prefix_stands_before_every_text_and_is_never_cut_off(tmp_path):
    train_tokenizer(
        ["summarize: the red cat sat", "a red dog: the cat"] * 9, tmp_path, vocab_size=340
    )
    plain = text.Tokenizer(tmp_path, max_length=12)
    texts = ["the red cat", "a cat: red", "", "dog " * 30]
    wanted = plain.encode([f"summarize: {one}".strip() for one in texts])[0]
    short = plain.encode(texts)[0]
    put_before("summarize: ", tmp_path)
    found = text.Tokenizer(tmp_path, max_length=12)
    assert found.encode(texts)[0] == wanted
    assert found.frame() == (wanted[2][:-1], wanted[2][-1:])
    assert found.decode(wanted[0]) == "summarize: the red cat"
    assert found.untruncated_lengths(texts[:2]) == [len(row) for row in wanted[:2]]
    assert len(short[0]) < len(wanted[0])
    place = tmp_path / "tokenizer.json"
    spec = json.loads(place.read_text())
    place.write_text(json.dumps(spec | {"post_processor": None}))
    put_before("summarize: ", tmp_path)
    assert text.Tokenizer(tmp_path, max_length=12).encode(texts)[0][0] == wanted[0][:-1]
    other = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}
    other |= {"trim_offsets": True, "add_prefix_space": False}
    place.write_text(json.dumps(spec | {"post_processor": other}))
    with pytest.raises(UnsupportedModelError, match="post-processor is RobertaProcessing; wanted"):
        put_before("summarize: ", tmp_path)
