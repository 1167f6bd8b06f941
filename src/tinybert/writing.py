"""Commands for models that translate and summarize."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tinybert.console import complain, show_report, waits
from tinybert.errors import ConfigError
from tinybert.flags import seq2seq_flags

__all__ = ["WRITING", "seq2seq", "summarize", "translate"]

_TASKS = {"translate": "translation", "summarize": "summarization"}
ArtifactArgument = Annotated[Path, typer.Argument(help="Folder written by seq2seq.")]
TextsArgument = Annotated[list[str] | None, typer.Argument(help="Texts; else a file or stdin.")]
FileFlag = Annotated[str | None, typer.Option(help="CSV, TSV, JSONL, text; - for stdin.")]
FormatFlag = Annotated[str, typer.Option(help="plain, text, jsonl or csv.")]
TextFlag = Annotated[str | None, typer.Option(help="Column of the text; source, or text.")]
ThreadsFlag = Annotated[int | None, typer.Option(help="Threads; all cores if not given.")]
BeamsFlag = Annotated[int | None, typer.Option(help="1 takes the likeliest word each time.")]
PenaltyFlag = Annotated[float | None, typer.Option(help="Above 1 favors long answers.")]
RepeatFlag = Annotated[int | None, typer.Option(help="No run of so many tokens comes twice.")]
LongestFlag = Annotated[int | None, typer.Option(help="Longest answer for a piece, in tokens.")]
RepetitionFlag = Annotated[
    float | None, typer.Option(help="Above 1 makes words that were written less likely.")
]
TruncationFlag = Annotated[
    bool | None,
    typer.Option(
        "--truncation/--windows", help="Summarize what fits of a long text, or all of it."
    ),
]
StreamFlag = Annotated[bool, typer.Option("--stream", help="Show words as they are written.")]
BestFlag = Annotated[int | None, typer.Option(help="Show so many answers, scores before them.")]


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
        text: TextFlag = None,
        threads: ThreadsFlag = None,
        beams: BeamsFlag = None,
        length_penalty: PenaltyFlag = None,
        no_repeat: RepeatFlag = None,
        max_tokens: LongestFlag = None,
        repetition_penalty: RepetitionFlag = None,
        truncation: TruncationFlag = None,
        best: BestFlag = None,
        stream: StreamFlag = False,
    ) -> None:
        given = {"beams": beams, "length_penalty": length_penalty}
        given |= {"no_repeat": no_repeat, "max_tokens": max_tokens, "truncation": truncation}
        given |= {"repetition_penalty": repetition_penalty}
        decoding = {name: value for name, value in given.items() if value is not None}
        model = _open(task, artifact, threads)
        if not stream and best is None:
            _write(model, texts, file, format, text, decoding)
            return
        shown = "--stream" if stream else "--best"
        if file is not None or not texts or format != "plain":
            raise ConfigError(f"{shown} takes texts of the command line, and prints plain text")
        if stream and (best is not None or {"beams", "length_penalty"} & set(decoding)):
            raise ConfigError("--stream takes the likeliest word each time; it has no beams")
        for one in texts:
            _stream(model, one, decoding) if stream else _show_best(model, one, best, decoding)

    command.__name__, command.__doc__ = name, does
    return command


translate = _command(
    "translate", "Translate texts, line by line; `plain` prints translations alone."
)
summarize = _command("summarize", "Summarize texts, one a line; `plain` prints summaries alone.")


def _open(task: str, artifact: Path, threads: int | None) -> Any:
    """Load an artifact of the task."""
    from tinybert.artifact import read_card
    from tinybert.runtime import load

    if (own := read_card(artifact).task) != task:
        command = next((name for name, kind in _TASKS.items() if kind == own), "predict")
        raise ConfigError(
            f"{artifact} is for {own}; wanted {task}; its command is `tinybert {command}`"
        )
    return load(artifact, threads=threads)


def _stream(model: Any, text: str, decoding: dict[str, Any]) -> None:
    """Show an answer while it is written."""
    for piece in model.stream(text, **decoding):
        print(piece, end="", flush=True)
    print()


def _show_best(model: Any, text: str, best: int | None, decoding: dict[str, Any]) -> None:
    """Show the best answers, each behind its score."""
    (found,) = model.hypotheses([text], best, **decoding)
    for one in found:
        print(f"{one.score:.3f}\t{' '.join(one.text.split())}")


def _write(
    model: Any,
    texts: list[str] | None,
    file: str | None,
    format: str,
    text: str | None,
    decoding: dict[str, Any],
) -> None:
    """Answer texts, or the rows of a file or of standard input."""
    from tinybert.runtime import predict

    if not texts and file is None and waits():
        file = "-"
    broken = predict(
        model,
        texts or (),
        file=file,
        format=format,
        text_column=text or _column(file),
        decoding=decoding,
    )
    if broken:
        complain(f"{broken} rows could not be read; the others were answered")
        raise typer.Exit(1)


def _column(file: str | None) -> str | None:
    """Return which column of a table is read: ``source``, or ``text`` where that is missing."""
    from tinybert.runtime.rows import columns_of, holds_table

    if file is None or not holds_table(file):
        return None
    names = columns_of(file)
    return "text" if "text" in names and "source" not in names else "source"


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
        "tinybert translate runs/seq2seq/artifact 'Where is it?' --best 3",
    ),
    summarize: (
        "tinybert summarize runs/subjects/artifact 'my card was charged twice on Monday'",
        "tinybert summarize runs/subjects/artifact --file mail.jsonl --text body --format jsonl",
    ),
}
