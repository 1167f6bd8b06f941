"""The artifact's README.md: a model card that people and Hugging Face tools read."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.artifact import CTRANSLATE2, FP32, INT8, WRITTEN, Card, read_card, write_atomic
from tinybert.tags import PLAIN, scheme_of

__all__ = ["write_model_card"]

_PIPELINES = {
    "answering": "question-answering",
    "embedding": "sentence-similarity",
    "ranking": "text-ranking",
    "summarization": "summarization",
    "tagging": "token-classification",
    "translation": "translation",
}
_DOES = {
    "answering": "finds the answer to a question in a context",
    "embedding": "turns texts into vectors that lie near each other where texts mean the same",
    "ranking": "says how relevant a passage is for a query",
    "summarization": "summarizes texts",
    "translation": "translates texts",
}
_ONNX = " The ONNX file and `tokenizer.json` lie where Transformers.js and Optimum look for them."

_VECTORS = " The ONNX file gives the vector of each text, `sentence_embedding`."


def write_model_card(folder: str | Path) -> Path:
    """Write ``README.md`` from the artifact's own card.

    Args:
        folder: An artifact with ``card.json``.

    Returns:
        The file.
    """
    place = Path(folder)
    card = read_card(place)
    path = place / "README.md"
    parts = [
        _front_matter(card),
        _about(card),
        *_sizes(place),
        _use(card),
        _quality(card),
        _files(place),
    ]
    write_atomic(path, "\n".join(parts).encode())
    return path


def _front_matter(card: Card) -> str:
    hub = re.fullmatch(r"\w[\w.-]*/[\w.-]+", card.teacher) and not Path(card.teacher).exists()
    base = [f"base_model: {json.dumps(card.teacher)}"] if hub else []
    lines = [
        "---",
        "library_name: tinybert",
        f"pipeline_tag: {_PIPELINES.get(card.task, 'text-classification')}",
        *base,
    ]
    form = "ctranslate2" if card.task in WRITTEN else "onnx"
    lines += ["tags:", "- tinybert", "- distillation", f"- {form}", "---", ""]
    return "\n".join(lines)


def _about(card: Card) -> str:
    teacher = f" It was distilled from `{Path(card.teacher).name}`." if card.teacher else ""
    return (
        f"# A tiny student\n\nThis model of {card.parameters / 1e6:.1f} M parameters {_does(card)}."
        f"{teacher} {_limit(card)}\n"
    )


def _sizes(folder: Path) -> list[str]:
    """Say how large an encoder's parts are, or an encoder-decoder's, where its config tells."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "decoder_layers" in config:
        return _sizes_of_both(config)
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
    if not all(isinstance(config.get(name), int) for name in names):
        return []
    layers, hidden, inner, pieces = (config[name] for name in names)
    width = config.get("embedding_size", hidden)
    return [
        f"Layers: {layers}. Width: {hidden}, in the feed-forward {inner:,}. Vocabulary: "
        f"{pieces:,} pieces, embeddings {width} wide.\n"
    ]


def _sizes_of_both(config: Mapping[str, Any]) -> list[str]:
    """Say how large an encoder-decoder's parts are."""
    pieces, targets = config["vocab_size"], config.get("decoder_vocab_size")
    both = f", {targets:,} of targets" if targets not in (None, pieces) else ""
    return [
        f"Layers: {config['encoder_layers']} in the encoder, {config['decoder_layers']} in the "
        f"decoder. Width: {config['d_model']}, in the feed-forward {config['encoder_ffn_dim']:,}. "
        f"Vocabulary: {pieces:,} pieces{both}.\n"
    ]


def _does(card: Card) -> str:
    """Say what the model is for."""
    if card.task in _DOES:
        return _DOES[card.task]
    if card.task == "tagging":
        return _tagging(card)
    kind = "pairs of texts" if card.pair else "texts"
    if not card.labels:
        return f"gives {kind} a number"
    number = "any number" if card.task == "multilabel" else "one"
    return f"gives {kind} {number} of {len(card.labels)} labels: {', '.join(card.labels)}"


def _limit(card: Card) -> str:
    """Say what happens to long inputs."""
    if card.task == "translation":
        return (
            f"Texts longer than {card.max_length} tokens are translated in parts, cut at the ends "
            "of sentences."
        )
    if card.task == "summarization":
        if card.generation.get("truncation"):
            return f"Of texts longer than {card.max_length} tokens the beginning is read."
        return (
            f"Texts longer than {card.max_length} tokens are summarized in windows, and the "
            "summaries again."
        )
    if card.task == "answering":
        return _reading(card)
    return (
        f"Inputs longer than {card.max_length} tokens are cut at the end (in a pair, the longer "
        "text first)."
    )


def _reading(card: Card) -> str:
    """Say how contexts of any length are read."""
    reading = card.reading
    none = "" if reading["threshold"] is None else " It says so where there is no answer."
    return (
        f"Contexts of any length are read in windows of {card.max_length} tokens that share "
        f"{reading['overlap']}; questions are cut after {reading['question_length']} tokens.{none}"
    )


def _tagging(card: Card) -> str:
    """Say what a model does that tags words."""
    if scheme_of(card.labels) == PLAIN:
        return f"gives each word of a text one of {len(card.labels)} tags: {', '.join(card.labels)}"
    kinds = sorted({tag[2:] for tag in card.labels} - {""})
    return f"finds entities in texts ({', '.join(kinds)})" if kinds else "finds parts of texts"


def _use(card: Card) -> str:
    example = '("a text", "another")' if card.pair else '"a text"'
    example = '("a question", "a context")' if card.task == "answering" else example
    extra = "'tinybert[seq2seq]'" if card.task in WRITTEN else "tinybert"
    files = "" if card.task in WRITTEN else _ONNX
    files = _VECTORS if card.task == "embedding" else files
    return (
        "## Use\n\n```python\nimport tinybert\n\n"
        f'model = tinybert.load("path/to/this/folder")\nprint(model([{example}]))\n```\n\n'
        f"`pip install {extra}` brings no PyTorch.{files}\n"
    )


def _quality(card: Card) -> str:
    rows = [f"| {name} | {value:.4f} |" for name, value in card.metrics.items()]
    table = ["| metric | value |", "|---|--:|", *rows, ""] if rows else ["Not evaluated yet.", ""]
    parity = card.parity
    if "mean_cosine" in parity:
        table += [
            f"Against the PyTorch model on {parity['texts']:,} texts: mean cosine "
            f"{parity['mean_cosine']:.4f}, least {parity['least_cosine']:.4f}.",
            "",
        ]
    elif "same_answers" in parity:
        table += [
            f"Against the PyTorch model on {parity['texts']:,} held-out texts: {parity['metric']} "
            f"{parity['torch']:.2f} → {parity['artifact']:.2f}, {parity['same_answers']:.1%} of "
            "the answers the same.",
            "",
        ]
    elif parity:
        flips = "tag" if "words" in parity else "label"
        flips = "answer" if card.task == "answering" else flips
        table += [
            f"Against the PyTorch model on {parity['texts']:,} held-out texts: largest logit "
            f"difference {parity['max_logit_difference']:.4f}, {parity['label_flips']} {flips} "
            f"flips ({parity['flip_rate']:.2%}), {parity['metric']} {parity['torch']:.4f} → "
            f"{parity['artifact']:.4f}.",
            "",
        ]
    return "\n".join(["## Quality", "", *table])


def _files(folder: Path) -> str:
    rows = [
        f"- `{name}`: {what}, {(folder / name).stat().st_size / 1e6:.1f} MB"
        for name, what in ((INT8, "int8"), (FP32, "float32"), (CTRANSLATE2, "int8, CTranslate2"))
        if (folder / name).is_file()
    ]
    return "\n".join(["## Files", "", *rows, ""])
