"""Answers for a stream of rows: constant memory, bad rows named, good rows kept."""

import csv
import json
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np
import numpy.typing as npt

from tinybert.errors import ConfigError, DataError
from tinybert.runtime.classify import Classifier, Prediction
from tinybert.runtime.embed import Embedder
from tinybert.runtime.multilabel import LabelSet, MultiLabelClassifier
from tinybert.runtime.question import Answer, QuestionAnswerer
from tinybert.runtime.regress import Regressor
from tinybert.runtime.rerank import Reranker
from tinybert.runtime.rows import Row, holds_table, read_rows
from tinybert.runtime.summarize import Summarizer
from tinybert.runtime.tag import Entity, Tagger
from tinybert.runtime.translate import Translator

__all__ = ["FORMATS", "Labeler", "Model", "predict", "write_rows"]

FORMATS = ("text", "jsonl", "csv", "plain")
_CHUNK = 256
One = Answer | Prediction | LabelSet | Entity | npt.NDArray[np.float32] | str | float
_HEADERS: dict[type, list[str]] = {
    Classifier: ["line", "label", "score"],
    Embedder: ["line", "vector"],
    MultiLabelClassifier: ["line", "labels", "scores"],
    QuestionAnswerer: ["line", "start", "end", "score", "text"],
    Regressor: ["line", "value"],
    Reranker: ["line", "value"],
    Summarizer: ["line", "text"],
    Tagger: ["line", "start", "end", "label", "score", "text"],
    Translator: ["line", "text"],
}
Labeler = (
    Classifier | Embedder | MultiLabelClassifier | QuestionAnswerer | Regressor | Reranker | Tagger
)
Model = Labeler | Summarizer | Translator


def predict(
    artifact: str | Path | Model,
    texts: Sequence[str] = (),
    *,
    file: str | Path | None = None,
    out: TextIO | None = None,
    format: str = "text",
    text_column: str | None = None,
    text2_column: str | None = None,
    threads: int | None = None,
    batch_size: int = 32,
    precision: str | None = None,
    threshold: float | None = None,
    decoding: Mapping[str, Any] | None = None,
    complain: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> int:
    """Answer texts given here, or rows of a file or of standard input, and write the answers.

    A ``.jsonl``, ``.csv`` or ``.tsv`` file is read by its columns, any other as one text a line
    (for a pair model: two texts with a tab between). A row that cannot be read is named by its line
    and the others are answered.

    Args:
        artifact: The shipped folder, or a model from ``load``.
        texts: Texts to answer; for a pair model they are taken two by two.
        file: A file instead, or ``-`` for standard input.
        out: Where answers go; standard output if None.
        format: ``text`` (tab-separated), ``jsonl`` or ``csv``; each answer carries its line. A
            written text is one line in ``text`` and ``csv`` and as it is in ``jsonl``; ``plain``
            is for such texts, which then stand alone, a line each (those given here with the lines
            they have). Of a model that tags, ``text`` and ``csv`` have a line for each entity, and
            none for a text without any.
        text_column, text2_column: Columns of a table; None takes ``text`` and ``text2``, of a model
            that finds answers ``question`` and ``context``.
        threads, batch_size, precision: As for ``load``.
        threshold: Probability above which a label is given, for a model that gives several.
        decoding: Settings of ``Decoding``, for a model that writes texts.
        complain: Told of each bad row.

    Returns:
        How many rows could not be read.

    Raises:
        ConfigError: Both or neither of texts and file, one text instead of a list, an unknown
            format, or a threshold for a model that has none.
        DataError: No such file, or a table without the column.
        ArtifactError: The folder cannot be used.
    """
    _check_request(texts, file, format)
    named = text_column or text2_column
    if named and (file is None or not holds_table(file)):
        raise ConfigError(
            f"the column `{named}` is named, and {file or 'the argument'} has no columns; wanted a "
            ".csv, .tsv or .jsonl file"
        )
    model = _loaded(artifact, threads, precision, batch_size)
    _check_plain(model, format)
    answer = _with_settings(model, threshold, decoding or {})
    usual = ("question", "context") if isinstance(model, QuestionAnswerer) else ("text", "text2")
    columns = (text_column or usual[0], text2_column or usual[1])[: 1 + model.card.pair]
    with ExitStack() as stack:
        if file is None:
            rows = _given(texts, model.card.pair)
        else:
            stream: IO[bytes] = (
                sys.stdin.buffer if str(file) == "-" else stack.enter_context(_open(file))
            )
            rows = read_rows(stream, str(file), columns)
        name = str(file or "argument")
        to = out or sys.stdout
        return write_rows(model, rows, to, format, name, complain, answer, whole=file is None)


def _check_request(texts: Sequence[str], file: str | Path | None, format: str) -> None:
    """Refuse what cannot be read or written."""
    if format not in FORMATS:
        raise ConfigError(f"format is `{format}`; wanted one of {', '.join(FORMATS)}")
    if isinstance(texts, str):
        raise ConfigError(f"one text was given; wanted a list: [{reprlib.repr(texts)}]")
    if bool(texts) == (file is not None):
        raise ConfigError("give either texts or a file (`-` for standard input)")


def _check_plain(model: Model, format: str) -> None:
    """Refuse to write labels alone."""
    if format == "plain" and not isinstance(model, Summarizer | Translator):
        raise ConfigError(
            f"format is `plain`; the model's task is {model.card.task}, wanted translation or "
            "summarization"
        )


def write_rows(
    model: Model,
    rows: Iterable[Row],
    out: TextIO,
    format: str,
    name: str,
    complain: Callable[[str], None],
    answer: Callable[[list[Any]], Iterable[Any]] | None = None,
    *,
    whole: bool = False,
) -> int:
    """Answer rows in chunks and write each answer as soon as its chunk is done.

    ``answer`` stands for a call of the model with settings of its own. ``whole`` leaves the lines
    of written texts as they are in ``plain``.

    Returns:
        How many rows were bad.
    """
    bad = 0
    source = iter(rows)
    write = _writer(model, out, format, whole=whole)
    while chunk := list(islice(source, _CHUNK)):
        good = [row for row in chunk if row.value is not None]
        ask: Callable[[list[Any]], Iterable[Any]] = answer or model
        answers = iter(ask([row.value for row in good if row.value is not None]))
        for row in chunk:
            if row.value is None:
                bad += 1
                complain(f"{name} line {row.line}: {row.problem}")
                if format == "plain":
                    out.write("\n")
            else:
                write(row, next(answers))
        out.flush()
    return bad


def _loaded(
    artifact: str | Path | Model, threads: int | None, precision: str | None, batch_size: int
) -> Model:
    """Return a loaded model."""
    if isinstance(artifact, Model):
        return artifact
    from tinybert.runtime import load

    return load(artifact, threads=threads, precision=precision, batch_size=batch_size)


def _with_settings(
    model: Model, threshold: float | None, decoding: Mapping[str, Any]
) -> Callable[[list[Any]], Iterable[Any]]:
    """Return what answers a list of inputs."""
    if decoding:
        if not isinstance(model, Summarizer | Translator):
            raise ConfigError(
                f"{', '.join(decoding)} given; the model's task is {model.card.task}, wanted "
                "translation or summarization"
            )
        model.decoding.over(**decoding)
        return partial(model, **decoding)
    if threshold is None:
        return model
    if not isinstance(model, MultiLabelClassifier):
        raise ConfigError(
            f"threshold is {threshold}; the model's task is {model.card.task}, wanted multilabel"
        )
    return partial(model, threshold=threshold)


def _open(file: str | Path) -> IO[bytes]:
    """Open a file for reading."""
    try:
        return open(file, "rb")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def _given(texts: Sequence[str], pair: bool) -> Iterator[Row]:
    """Turn texts of the command line into rows."""
    if not pair:
        yield from (Row(i, text) for i, text in enumerate(texts, start=1))
        return
    if len(texts) % 2:
        raise ConfigError(f"{len(texts)} texts were given; a pair model takes them two by two")
    for i in range(0, len(texts), 2):
        yield Row(i // 2 + 1, (texts[i], texts[i + 1]))


def _writer(model: Model, out: TextIO, format: str, *, whole: bool) -> Callable[[Row, Any], None]:
    """Return what writes one answer."""
    if format == "csv":
        table = csv.writer(out, lineterminator="\n")
        table.writerow(_HEADERS[type(model)])

    def write(row: Row, answer: Any) -> None:
        if format == "jsonl":
            record = {"line": row.line, **_record(answer)}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
            return
        if format == "plain":
            out.write((answer if whole else " ".join(answer.splitlines())) + "\n")
            return
        for cells in map(_cells, answer if isinstance(answer, list) else [answer]):
            if format == "csv":
                table.writerow([row.line, *cells])
            else:
                out.write("\t".join([str(row.line), *cells]) + "\n")

    return write


def _cells(answer: One) -> list[str]:
    """Return an answer as the cells of a table; several labels have a bar between."""
    if isinstance(answer, Answer):
        place = [str(answer.start), str(answer.end)]
        return [*place, f"{answer.score:.4f}", " ".join(answer.text.split())]
    if isinstance(answer, Entity):
        place = [str(answer.start), str(answer.end)]
        return [*place, answer.label, f"{answer.score:.4f}", " ".join(answer.text.split())]
    if isinstance(answer, str):
        return [" ".join(answer.split())]
    if isinstance(answer, np.ndarray):
        return [" ".join(f"{number:.6g}" for number in answer)]
    if isinstance(answer, Prediction):
        return [answer.label, f"{answer.score:.4f}"]
    if isinstance(answer, LabelSet):
        scores = [f"{answer.scores[label]:.4f}" for label in answer.labels]
        return ["|".join(answer.labels), "|".join(scores)]
    return [f"{answer:.6g}"]


def _record(answer: One | list[Entity]) -> dict[str, Any]:
    """Return an answer as a JSON object."""
    if isinstance(answer, Answer):
        return asdict(answer)
    if isinstance(answer, str):
        return {"text": answer}
    if isinstance(answer, np.ndarray):
        return {"vector": [float(number) for number in answer]}
    if isinstance(answer, Prediction):
        return {"label": answer.label, "score": answer.score, "scores": answer.scores}
    if isinstance(answer, LabelSet):
        return {"labels": list(answer.labels), "scores": answer.scores}
    if isinstance(answer, list):
        return {"entities": [asdict(entity) for entity in answer]}
    return {"value": answer}
