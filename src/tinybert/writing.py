"""Commands for models that translate and summarize."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tinybert.console import complain, show_report
from tinybert.errors import ConfigError
from tinybert.flags import seq2seq_flags

__all__ = ["WRITING", "seq2seq", "summarize", "translate"]

_TASKS = {"translate": "translation", "summarize": "summarization"}
ArtifactArgument = Annotated[Path, typer.Argument(help="Folder written by seq2seq.")]
TextsArgument = Annotated[list[str] | None, typer.Argument(help="Texts; else a file or stdin.")]
FileFlag = Annotated[str | None, typer.Option(help="CSV, TSV, JSONL, text; - for stdin.")]
FormatFlag = Annotated[str, typer.Option(help="plain, text, jsonl or csv.")]
TextFlag = Annotated[str, typer.Option(help="Column of the text.")]
ThreadsFlag = Annotated[int | None, typer.Option(help="Threads; all cores if not given.")]
BeamsFlag = Annotated[int | None, typer.Option(help="1 takes the likeliest word each time.")]
PenaltyFlag = Annotated[float | None, typer.Option(help="Above 1 favors long answers.")]
RepeatFlag = Annotated[int | None, typer.Option(help="No run of so many tokens comes twice.")]
LongestFlag = Annotated[int | None, typer.Option(help="Longest answer for a piece, in tokens.")]
StreamFlag = Annotated[bool, typer.Option("--stream", help="Show words as they are written.")]


@seq2seq_flags()
def seq2seq(recipe: Any) -> None:
    """Distil a student that translates or summarizes, and ship it."""
    from tinybert.ship.writing import seq2seq as run_seq2seq

    run = run_seq2seq(recipe)
    from tinybert.distill.processes import is_first

    if is_first():
        show_report(run / "report.html", open_=False)


def _command(name: str, does: str) -> Callable[..., None]:
    """Return the command that answers with artifacts of its task."""
    task = _TASKS[name]

    def command(
        artifact: ArtifactArgument,
        texts: TextsArgument = None,
        file: FileFlag = None,
        format: FormatFlag = "plain",
        text: TextFlag = "source",
        threads: ThreadsFlag = None,
        beams: BeamsFlag = None,
        length_penalty: PenaltyFlag = None,
        no_repeat: RepeatFlag = None,
        max_tokens: LongestFlag = None,
        stream: StreamFlag = False,
    ) -> None:
        decoding = {"beams": beams, "length_penalty": length_penalty}
        decoding |= {"no_repeat": no_repeat, "max_tokens": max_tokens}
        _write(task, artifact, texts, file, format, text, threads, decoding, stream)

    command.__name__, command.__doc__ = name, does
    return command


translate = _command(
    "translate", "Translate texts, line by line; `plain` prints translations alone."
)
summarize = _command("summarize", "Summarize texts, one a line; `plain` prints summaries alone.")


def _write(
    task: str,
    artifact: Path,
    texts: list[str] | None,
    file: str | None,
    format: str,
    text: str,
    threads: int | None,
    decoding: dict[str, Any],
    stream: bool,
) -> None:
    """Answer texts with an artifact of the task."""
    from tinybert.artifact import read_card
    from tinybert.runtime import load, predict

    if (own := read_card(artifact).task) != task:
        command = next((name for name, kind in _TASKS.items() if kind == own), "predict")
        raise ConfigError(
            f"{artifact} is for {own}; wanted {task}; its command is `tinybert {command}`"
        )
    model: Any = load(artifact, threads=threads)
    given = {name: value for name, value in decoding.items() if value is not None}
    if stream:
        if file is not None or not texts:
            raise ConfigError("--stream takes texts of the command line")
        for one in texts:
            for piece in model.stream(one, **given):
                print(piece, end="", flush=True)
            print()
        return
    if not texts and file is None and not sys.stdin.isatty():
        file = "-"
    broken = predict(model, texts or (), file=file, format=format, text_column=text, decoding=given)
    if broken:
        complain(f"{broken} rows could not be read; the others were answered")
        raise typer.Exit(1)


WRITING: dict[Callable[..., None], tuple[str, ...]] = {
    seq2seq: (
        "tinybert seq2seq --task translation --data pairs.tsv --source en --target de",
        "tinybert seq2seq --task summarization --data helpdesk --out runs/subjects",
        "tinybert seq2seq --data pairs.jsonl --teacher my-marian --decoder-layers 1",
    ),
    translate: (
        "tinybert translate runs/seq2seq/artifact 'Where is my parcel?'",
        "tinybert translate runs/seq2seq/artifact --file letter.txt > letter.de.txt",
        "tinybert translate runs/seq2seq/artifact 'A long story.' --stream",
    ),
    summarize: (
        "tinybert summarize runs/subjects/artifact 'my card was charged twice on Monday'",
        "tinybert summarize runs/subjects/artifact --file mail.jsonl --text body --format jsonl",
    ),
}
