"""The command that turns trained models into what is shipped."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tinybert.artifact import WRITTEN, Card, card_beside
from tinybert.console import show
from tinybert.errors import ConfigError

__all__ = ["EXPORT", "export"]

EXPORT = (
    "tinybert export runs/messages/student --to artifact",
    "tinybert export runs/pairs/student --to artifact --pair --max-length 96",
    "tinybert export my-marian --to artifact --task translation",
    "tinybert export runs/en-de/student --to web --onnx",
)


def export(
    model: Annotated[str, typer.Argument(help="Hugging Face folder of a fine-tuned model.")],
    to: Annotated[Path, typer.Option(help="Folder to write.")],
    max_length: Annotated[
        int | None, typer.Option(help="Longest input in tokens; that of its run, or 128.")
    ] = None,
    pair: Annotated[bool, typer.Option("--pair", help="An input is two texts.")] = False,
    task: Annotated[
        str | None,
        typer.Option(help="Of a model that writes: translation or summarization; or ranking."),
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Of one that writes: ONNX files for transformers.js.")
    ] = False,
    target_token: Annotated[
        str | None, typer.Option(help="What every written answer begins with, as deu_Latn.")
    ] = None,
) -> None:
    """Turn a fine-tuned model into an artifact that answers without PyTorch.

    It may label texts, tag words or find answers in contexts; with --task it translates or
    summarizes. --onnx writes such a one for transformers.js and Optimum instead. A model of a run
    answers as the run's artifact does.
    """
    from tinybert.distill.writers import writes_texts

    own = card_beside(model)
    length = max_length or (own.max_length if own else 128)
    if writes_texts(model):
        _export_writer(model, to, length, task, onnx, target_token, own)
        return
    if onnx or target_token or task in WRITTEN:
        raise ConfigError(
            f"{model} writes no texts; --onnx, --target-token and --task {' and '.join(WRITTEN)} "
            "are for models that do"
        )
    from tinybert.ship.export import export as run_export
    from tinybert.spans import Reading

    about: dict[str, Any] = {"pair": pair, "task": task}
    if own is not None and own.task not in WRITTEN:
        about = {"pair": pair or own.pair, "task": task or own.task, "teacher": own.teacher}
        about |= {"labels": own.labels or None, "outside": own.outside or None}
        about |= {"reading": Reading.of(own.reading)}
    print(f"artifact: {run_export(model, to, max_length=length, **about)}")


def _export_writer(
    model: str,
    to: Path,
    max_length: int,
    task: str | None,
    onnx: bool,
    token: str | None,
    own: Card | None,
) -> None:
    """Ship a model that translates or summarizes; ``own`` is the card of its run."""
    if onnx:
        from tinybert.ship.writer_onnx import export_writer_onnx, texts_for

        texts = texts_for(model)
        place = export_writer_onnx(
            model, to, texts=texts, max_length=max_length, target_token=token
        )
        print(f"onnx: {place}")
        show(json.loads((place / "parity.json").read_text(encoding="utf-8")))
        return
    task = task or (own.task if own else None)
    if task not in WRITTEN:
        raise ConfigError(
            f"{model} writes texts; wanted --task translation or summarization, for an artifact, "
            "or --onnx"
        )
    from tinybert.runtime.generation import Decoding
    from tinybert.ship.writer import export_writer

    about: dict[str, Any] = {}
    if own is not None and own.task == task:
        about = {"decoding": Decoding().over(**own.decoding()), "teacher": own.teacher}
        about["split"] = own.generation["split"]
        about["carried"] = bool(own.generation.get("carried"))
    place = export_writer(model, to, task=task, max_length=max_length, target_token=token, **about)
    print(f"artifact: {place}")
