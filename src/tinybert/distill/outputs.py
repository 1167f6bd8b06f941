"""Teacher outputs as columns: computed once, kept on disk, read by every later run."""

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor
from transformers import PreTrainedModel

from tinybert.artifact import VALUED, hash_file
from tinybert.data import TaskData
from tinybert.distill.aligned import pool_array
from tinybert.distill.infer import batches_by_length, has_types
from tinybert.distill.output_files import cached, label_of
from tinybert.distill.processes import first_alone
from tinybert.distill.windows import window_rows
from tinybert.errors import ConfigError
from tinybert.first_token import first_token_only
from tinybert.heads import answers_of, head_of
from tinybert.observe import Observer
from tinybert.soft_labels import SOFT
from tinybert.spans import Reading
from tinybert.text import Tokenizer, pad_batch

__all__ = ["NO_LABEL", "Collator", "add_teacher_outputs", "cache_folder", "tokenize"]

NO_LABEL = -100
_CHUNK = 512
_LABELS = {
    "answering": datasets.List(datasets.Value("int64")),
    "classification": datasets.Value("int64"),
    "multilabel": datasets.List(datasets.Value("float32")),
    "ranking": datasets.Value("float32"),
    "regression": datasets.Value("float32"),
    "tagging": datasets.List(datasets.Value("int64")),
}


_ROW = {
    "input_ids": datasets.List(datasets.Value("int32")),
    "token_type_ids": datasets.List(datasets.Value("int8")),
    "length": datasets.Value("int32"),
}


def cache_folder() -> Path:
    """Return where teacher outputs are kept: ``$TINYBERT_CACHE``, else ``~/.cache/tinybert``."""
    return Path(os.environ.get("TINYBERT_CACHE") or Path.home() / ".cache" / "tinybert")


def tokenize(split: Dataset, tokenizer: Tokenizer, data: TaskData) -> Dataset:
    """Return the rows a model reads.

    Args:
        split: Columns ``text``, ``text2`` (pairs only), ``words`` (tagging only) and ``label``,
            or ``soft_label`` in its place, None where nobody gave one.
        tokenizer: The model's tokenizer.
        data: The task.

    Returns:
        Columns ``input_ids`` and ``token_type_ids`` (lists of int), ``length`` (tokens) and
        ``labels`` (int64 class, float32 target, or C floats, of soft labels too); ``NO_LABEL``, or
        NaN, where there is none. In tagging ``labels`` holds T of them, ``NO_LABEL`` but on the
        first token of each word, and ``firsts`` where those tokens stand. In answering a row for
        each window: ``labels`` holds the positions of the answer's first and last token, 0 and 0
        where the window does not hold it, and ``context`` where the context begins and ends.
    """
    if data.task == "answering":
        return _tokenize_questions(split, tokenizer, data.reading)
    if data.task == "tagging":
        return _tokenize_words(split, tokenizer)
    ids, types = tokenizer.encode(split["text"], split["text2"] if data.pair else None)
    soft = SOFT in split.column_names
    kind = "multilabel" if soft else data.task
    features = datasets.Features(_ROW | {"labels": _LABELS[kind]})
    missing: Any = math.nan if data.task in VALUED else NO_LABEL
    if kind == "multilabel":
        missing = [math.nan] * len(data.labels)
    given = split[SOFT if soft else "label"]
    columns = {
        "input_ids": ids,
        "token_type_ids": types,
        "length": [len(row) for row in ids],
        "labels": [missing if label is None else label for label in given],
    }
    return Dataset.from_dict(columns, features=features)


def _tokenize_words(split: Dataset, tokenizer: Tokenizer) -> Dataset:
    """Return the rows of texts that are tagged; the tokenizer cuts those not given in words."""
    given = split["words"] if "words" in split.column_names else [None] * len(split)
    texts = [
        text if words is None else words for words, text in zip(given, split["text"], strict=True)
    ]
    aligned = tokenizer.align(texts)
    columns: dict[str, list[Any]] = {name: [] for name in (*_ROW, "labels", "firsts")}
    for text, tags in zip(aligned, split["label"], strict=True):
        labels = [NO_LABEL] * len(text.ids)
        for first, tag in zip(text.firsts, tags or [NO_LABEL] * len(text.firsts), strict=True):
            if first >= 0:
                labels[first] = tag
        row = (text.ids, text.type_ids, len(text.ids), labels, [i for i in text.firsts if i >= 0])
        for name, value in zip(columns, row, strict=True):
            columns[name].append(value)
    firsts = datasets.List(datasets.Value("int32"))
    features = datasets.Features(_ROW | {"labels": _LABELS["tagging"], "firsts": firsts})
    return Dataset.from_dict(columns, features=features)


def _tokenize_questions(split: Dataset, tokenizer: Tokenizer, reading: Reading) -> Dataset:
    """Return the rows of questions, one for each window of their contexts."""
    places = datasets.List(datasets.Value("int32"))
    features = datasets.Features(_ROW | {"labels": _LABELS["answering"], "context": places})
    return Dataset.from_dict(window_rows(split, tokenizer, reading, NO_LABEL), features=features)


def add_teacher_outputs(
    rows: Dataset,
    teacher: PreTrainedModel,
    teacher_folder: str | Path,
    *,
    pad_id: int,
    hidden: Sequence[int] = (),
    scores: Sequence[int] = (),
    bf16: bool = False,
    say: Callable[[str], None] = print,
) -> Dataset:
    """Return the rows with the teacher's outputs beside them.

    A cache file's name is a hash of the token ids and the teacher's weights, and what it holds: a
    changed text, tokenizer or teacher never meets old outputs, and a student that needs other
    layers computes only those.

    Args:
        rows: From ``tokenize``.
        teacher: The teacher, in eval mode.
        teacher_folder: Its folder; the weights' hash is part of the key.
        pad_id: Token id of padding.
        hidden: Layers whose hidden states are kept (0 = embeddings).
        scores: Layers whose attention scores are kept.
        bf16: Compute in bfloat16.
        say: Told whether the outputs came from disk or are being computed.

    Returns:
        The rows plus ``teacher_logits`` (C floats, or T·C of a teacher of tokens) and, flattened to
        float16, ``hidden_N`` (T·E) and ``scores_N`` (H·T·T).

    Raises:
        ConfigError: The outputs would not fit on the disk.
    """
    key = _key(rows, teacher_folder, bf16)
    folder = cache_folder()
    names = ["teacher_logits", *_names(hidden, scores)]
    with first_alone() as first:
        if first:
            _complete(rows, teacher, folder, key, names, pad_id=pad_id, bf16=bf16, say=say)
    found = cached(folder, key)
    parts = []
    for path in dict.fromkeys(found[name] for name in names):
        path.touch()
        stored = Dataset.from_file(str(path))
        parts.append(stored.select_columns([name for name in names if found[name] == path]))
    return concatenate_datasets([rows, *parts], axis=1).with_format("numpy")


def _complete(
    rows: Dataset,
    teacher: PreTrainedModel,
    folder: Path,
    key: str,
    names: Sequence[str],
    *,
    pad_id: int,
    bf16: bool,
    say: Callable[[str], None],
) -> None:
    """Compute the outputs that the cache lacks."""
    found = cached(folder, key)
    if there := [name for name in names if name in found]:
        say(f"teacher outputs: {', '.join(there)} of {len(rows):,} texts read from {folder}")
    missing = [name for name in names if name not in found]
    if not missing:
        return
    model: Any = teacher
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    compute = _Compute(teacher, pad_id, missing, bf16)
    size = _predicted_bytes(rows, teacher, compute.hidden, compute.scores)
    folder.mkdir(parents=True, exist_ok=True)
    _check_disk(folder, size)
    what = ", ".join(missing)
    say(f"teacher outputs: computing {what} of {len(rows):,} texts once ({size / 1e6:,.0f} MB)")
    rows.map(
        compute,
        batched=True,
        batch_size=_CHUNK,
        writer_batch_size=_CHUNK,
        remove_columns=rows.column_names,
        features=_features(missing),
        cache_file_name=str(folder / f"teacher-{key}.{label_of(missing)}.arrow"),
        new_fingerprint=f"{key}-{len(missing)}",
        desc="teacher",
    )


class _Compute:
    """Runs the teacher over a chunk of rows, longest first, and returns its outputs in order."""

    def __init__(
        self, teacher: PreTrainedModel, pad_id: int, names: Sequence[str], bf16: bool
    ) -> None:
        self._teacher, self._pad_id, self._bf16 = teacher.eval(), pad_id, bf16
        self.names = tuple(names)
        self.hidden = [int(n[7:]) for n in names if n.startswith("hidden_")]
        self.scores = [int(n[7:]) for n in names if n.startswith("scores_")]

    def __call__(self, chunk: dict[str, list[Any]]) -> dict[str, list[Any]]:
        count = len(chunk["input_ids"])
        columns: dict[str, list[Any]] = {name: [None] * count for name in self.names}
        device = self._teacher.device
        for picked in batches_by_length(chunk["length"], 32):
            batch = pad_batch(
                [chunk["input_ids"][i] for i in picked],
                [chunk["token_type_ids"][i] for i in picked],
                self._pad_id,
            )
            if not has_types(self._teacher):
                del batch["token_type_ids"]
            tensors = {name: torch.from_numpy(array).to(device) for name, array in batch.items()}
            outputs = self._outputs(tensors)
            for name, kept in columns.items():
                for row, i in enumerate(picked):
                    kept[i] = _unpadded(name, outputs[name][row], chunk["length"][i])
        return columns

    def _outputs(self, tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
        kind = self._teacher.device.type
        fast = torch.autocast(kind, torch.bfloat16) if self._bf16 else nullcontext()
        inside = self.hidden or self.scores
        with (
            torch.inference_mode(),
            fast,
            nullcontext() if inside else first_token_only(self._teacher),
            Observer(self._teacher, hidden=self.hidden, scores=self.scores) as seen,
        ):
            logits = answers_of(self._teacher(**tensors))
            found = {"teacher_logits": logits.float()}
            found |= {f"hidden_{n}": seen.hidden(n).half() for n in self.hidden}
            found |= {f"scores_{n}": seen.scores(n).half() for n in self.scores}
        return {name: value.cpu().numpy() for name, value in found.items()}


class Collator:
    """Turns rows into one padded batch of tensors.

    Args:
        pad_id: Token id of padding.
        heads: Attention heads of the teacher, to restore the shape of its scores.
        new_ids: The student's id of each of the teacher's; None where they are the same.
    """

    def __init__(
        self, pad_id: int, heads: int = 1, new_ids: npt.NDArray[np.int64] | None = None
    ) -> None:
        self._pad_id, self._heads, self._new_ids = pad_id, heads, new_ids

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return ids, masks, segments, labels and the teacher's outputs as tensors."""
        batch = pad_batch(
            [row["input_ids"] for row in rows],
            [row["token_type_ids"] for row in rows],
            self._pad_id,
        )
        shape = batch["input_ids"].shape
        if self._new_ids is not None:
            batch["input_ids"] = self._new_ids[batch["input_ids"]]
        if "words" in rows[0]:
            batch["words"] = np.full(shape, -1, dtype=np.int64)
            for out, row in zip(batch["words"], rows, strict=True):
                out[: len(row["words"])] = row["words"]
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        if tagged := "firsts" in rows[0]:
            labels = np.full(shape, NO_LABEL, dtype=np.int64)
            word_mask = np.zeros(shape, dtype=bool)
            for i, row in enumerate(rows):
                labels[i, : len(row["labels"])] = row["labels"]
                word_mask[i, row["firsts"]] = True
            tensors |= {
                "labels": torch.from_numpy(labels),
                "word_mask": torch.from_numpy(word_mask),
            }
        else:
            tensors["labels"] = torch.from_numpy(np.asarray([row["labels"] for row in rows]))
        if spans := "context" in rows[0]:
            span_mask = np.zeros(shape, dtype=bool)
            span_mask[:, 0] = True
            for i, row in enumerate(rows):
                span_mask[i, slice(*row["context"])] = True
            tensors["span_mask"] = torch.from_numpy(span_mask)
        for name in rows[0]:
            if name == "teacher_logits" and not tagged and not spans:
                stacked = np.stack([np.asarray(row[name], dtype=np.float32) for row in rows])
                tensors[name] = torch.from_numpy(stacked)
            elif name.startswith(("hidden_", "scores_", "teacher_logits")):
                tensors[name] = torch.from_numpy(self._restore(name, rows))
        return tensors

    def _restore(self, name: str, rows: list[dict[str, Any]]) -> np.ndarray:
        """Pad flattened outputs back to (B, T, E), (B, T, C) or (B, H, T, T)."""
        found = [self._one(name, row) for row in rows]
        longest = max(array.shape[-2] for array in found)
        shape = (*found[0].shape[:-2], longest, found[0].shape[-1])
        if name.startswith("scores_"):
            shape = (*shape[:-1], longest)
        full = np.zeros((len(rows), *shape), dtype=np.float32)
        for out, array in zip(full, found, strict=True):
            t = array.shape[-2]
            out[..., :t, : array.shape[-1]] = array
        return full

    def _one(self, name: str, row: dict[str, Any]) -> np.ndarray:
        """Return a row's outputs for each token, or for each word where two tokenizers meet."""
        t = len(row.get("teacher_words", row["input_ids"]))
        shape = (self._heads, t, t) if name.startswith("scores_") else (t, -1)
        array = np.asarray(row[name], dtype=np.float32).reshape(shape)
        return pool_array(array, row["teacher_words"]) if "teacher_words" in row else array


def _unpadded(name: str, array: np.ndarray, tokens: int) -> np.ndarray:
    """Cut padding off one row of an output and flatten it."""
    if name.startswith("scores_"):
        return array[:, :tokens, :tokens].reshape(-1)
    return array[:tokens].reshape(-1) if array.ndim == 2 else array


def _names(hidden: Sequence[int], scores: Sequence[int]) -> list[str]:
    """Return the column names of layer outputs."""
    return [f"hidden_{n}" for n in hidden] + [f"scores_{n}" for n in scores]


def _features(names: Sequence[str]) -> datasets.Features:
    """Return the column types of teacher outputs."""
    kinds = {name: "float32" if name == "teacher_logits" else "float16" for name in names}
    return datasets.Features(
        {name: datasets.List(datasets.Value(kind)) for name, kind in kinds.items()}
    )


def _key(rows: Dataset, folder: str | Path, bf16: bool) -> str:
    """Hash everything that decides the outputs."""
    digest = hashlib.sha256()
    for name in ("input_ids", "token_type_ids"):
        for chunk in rows.data.column(name).chunks:
            for buffer in chunk.buffers():
                digest.update(buffer or b"")
    for path in sorted(Path(folder).glob("*.safetensors")):
        digest.update(hash_file(path).encode())
    digest.update(repr(bf16).encode())
    return digest.hexdigest()[:32]


def _predicted_bytes(
    rows: Dataset, teacher: PreTrainedModel, hidden: Sequence[int], scores: Sequence[int]
) -> int:
    """Return how many bytes the columns will take."""
    lengths = np.asarray(rows["length"], dtype=np.int64)
    config: Any = teacher.config
    states = int(lengths.sum()) * int(config.hidden_size) * len(hidden)
    maps = int((lengths**2).sum()) * int(config.num_attention_heads) * len(scores)
    answers = len(rows) if head_of(teacher) == "text" else int(lengths.sum())
    return 2 * (states + maps) + 4 * answers * int(config.num_labels)


def _check_disk(folder: Path, size: int) -> None:
    """Refuse to start a computation whose result has no room."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ConfigError(
            f"the teacher's outputs need {size / 1e9:,.1f} GB in {folder}, {free / 1e9:,.1f} GB "
            "are free; set TINYBERT_CACHE to a larger disk, or set layer_stage.attention to 0"
        )
