"""What the teacher says of texts that nobody labelled, and files of such rows."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, List, Value
from transformers import PreTrainedModel

from tinybert.artifact import VALUED, write_atomic
from tinybert.data import TaskData
from tinybert.distill.outputs import add_teacher_outputs, tokenize
from tinybert.errors import ConfigError, DataError
from tinybert.metrics import sigmoid, softmax
from tinybert.text import Tokenizer

__all__ = ["check_target", "label_rows", "write_rows"]

_SUFFIXES = (".jsonl", ".csv", ".tsv")


def label_rows(
    rows: Dataset,
    teacher: PreTrainedModel,
    folder: str | Path,
    tokenizer: Tokenizer,
    data: TaskData,
    *,
    bf16: bool = False,
    say: Callable[[str], None] = print,
) -> Dataset:
    """Let the teacher label texts.

    Args:
        rows: Columns ``text``, ``text2`` (pairs only).
        teacher, folder, tokenizer: The teacher, its folder and its tokenizer.
        data: The task.
        bf16: Compute in bfloat16.
        say: Told whether the outputs came from disk or are being computed.

    Returns:
        The rows with ``label``, the name of the teacher's class, a list of names, its value or
        relevance, and ``score``, the probability of that class (of the least sure of the labels;
        None for values).
    """
    asked = tokenize(rows.add_column("label", [None] * len(rows)), tokenizer, data)
    outputs = add_teacher_outputs(
        asked, teacher, folder, pad_id=tokenizer.pad_id, bf16=bf16, say=say
    )
    logits = np.stack(outputs["teacher_logits"][:])
    if data.task in VALUED:
        values = logits[:, 0] if data.task == "regression" else sigmoid(logits[:, 0])
        labelled = rows.add_column("label", [float(value) for value in values])
        return labelled.add_column("score", [None] * len(rows))
    if data.task == "multilabel":
        each = sigmoid(logits)
        sets = [[data.labels[i] for i in np.flatnonzero(row > 0.5)] for row in each]
        labelled = rows.add_column("label", sets, feature=List(Value("string")))
        return labelled.add_column("score", np.maximum(each, 1 - each).min(axis=1).tolist())
    probability = softmax(logits)
    names = [data.labels[i] for i in probability.argmax(axis=1)]
    labelled = rows.add_column("label", names)
    return labelled.add_column("score", [float(value) for value in probability.max(axis=1)])


def check_target(path: str | Path, data: TaskData) -> None:
    """Refuse, before any work, a file that rows cannot be written to.

    Raises:
        ConfigError: An ending that is not one of .jsonl, .csv, .tsv.
        DataError: A text that TSV cannot hold.
    """
    suffix = Path(path).suffix
    if suffix not in _SUFFIXES:
        raise ConfigError(f"--to is {path}; wanted a file that ends in {', '.join(_SUFFIXES)}")
    for name in ("text", "text2") if suffix == ".tsv" else ():
        if name not in data.train.column_names:
            continue
        for text, line in zip(data.train[name], data.train["line"], strict=True):
            if {"\t", "\n", "\r"} & set(text):
                raise DataError(
                    f"{data.name} line {line}: the text holds a tab or a line's end, which TSV "
                    f"cannot; write to .jsonl or .csv instead of {path}"
                )


def write_rows(rows: Dataset, path: str | Path) -> None:
    """Write rows as JSONL, CSV or TSV by the file's ending, whole or not at all."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        write_atomic(file, "".join(f"{line}\n" for line in lines).encode())
        return
    out = io.StringIO(newline="")
    table = (
        csv.writer(out)
        if file.suffix == ".csv"
        else csv.writer(
            out, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n"
        )
    )
    table.writerow(rows.column_names)
    table.writerows([_cell(value) for value in row.values()] for row in rows)
    write_atomic(file, out.getvalue().encode())


def _cell(value: Any) -> Any:
    """Return a value as a table holds it: labels with a bar between."""
    if isinstance(value, list):
        return "|".join(value)
    return "" if value is None else value
