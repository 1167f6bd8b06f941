"""The command line: each command parses, calls the function of its name and prints."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tinybert import console
from tinybert._version import __version__
from tinybert.console import Group, complain, examples, read_data, shipped_model, show, show_report
from tinybert.flags import embed_flags, general_flags, recipe_flags
from tinybert.planning import PLANNING
from tinybert.shipping import EXPORT, export
from tinybert.writing import WRITING

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        print(f"tinybert {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Distil a BERT-like teacher into a tiny student that answers without PyTorch."""


DataFlag = Annotated[str | None, typer.Option("--data", help="File, folder, id or helpdesk.")]
TextFlag = Annotated[str | None, typer.Option("--text", help="Column of the text.")]
Text2Flag = Annotated[str | None, typer.Option("--text2", help="Column of the second text.")]
LabelFlag = Annotated[str | None, typer.Option("--label", help="Column of the label or target.")]
SeparatorFlag = Annotated[str, typer.Option(help="Between the labels of a text with several.")]
LanguageFlag = Annotated[str | None, typer.Option("--language", help="Language of helpdesk.")]
SourceFlag = Annotated[str | None, typer.Option("--source", help="Column of what is written from.")]
TargetFlag = Annotated[str | None, typer.Option("--target", help="Column of what is written.")]
OpenFlag = Annotated[
    bool, typer.Option("--open/--no-open", help="Open the report in a browser, at a terminal.")
]


@app.command(
    epilog=examples("tinybert demo", "tinybert demo --language zh --out runs/demo-zh --no-open")
)
def demo(
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
    out: Annotated[str, typer.Option(help="Folder of the run.")] = "runs/demo",
    seed: Annotated[int, typer.Option(help="Seeds everything that is drawn.")] = 0,
    open_: OpenFlag = True,
) -> None:
    """Distil a real teacher on embedded data, ship the student and show what was won and lost."""
    from tinybert.ship import pipeline

    run = pipeline.demo(language, out, seed=seed)
    show_report(run / "report.html", open_=open_)
    print("\nThree answers of the artifact, through tinybert.load:")
    for text, label, score in pipeline.examples(run):
        print(f"  {score:.2f}  {label:<24} {text}")


@app.command(
    epilog=examples(
        "tinybert teach --data messages.csv --text message --label intent",
        "tinybert teach --recipe recipes/helpdesk.toml --epochs 6",
    )
)
@recipe_flags("teach")
def teach(recipe: Any) -> None:
    """Fine-tune a pretrained encoder on labelled texts, to be the teacher."""
    from tinybert.distill.task import teach as run_teach

    print(f"teacher: {run_teach(recipe)}")


@app.command(
    epilog=examples(
        "tinybert distill --data messages.csv --layers 3 --out runs/messages",
        "tinybert distill --recipe recipes/helpdesk.toml --set student.layers=[0,5]",
        "tinybert distill --data messages.csv --layers 2 --embedding 96 --vocabulary texts",
        "tinybert distill --task glue/mrpc --data mrpc --layers 3 --out runs/mrpc",
        "tinybert distill --data messages.csv --unlabelled log.txt --set augment.source=embeddings",
        "tinybert distill --task tagging --data conll/ --layers 3 --out runs/entities",
        "tinybert distill --task answering --data squad/ --max-length 384 --out runs/answers",
        "tinybert distill --task translation --data pairs.tsv --source en --target de",
    )
)
@recipe_flags("distill")
def distill(recipe: Any) -> None:
    """Teach if needed, distil a student, ship it as an artifact and report.

    With --task translation or summarization it is `seq2seq`, whose flags it takes.
    """
    from tinybert.ship.pipeline import distill as run_distill

    run = run_distill(recipe)
    from tinybert.distill.processes import is_first

    if is_first():
        show_report(run / "report.html", open_=False)


@app.command(
    epilog=examples(
        "tinybert general --text wiki.txt.xz news/ --layers 4 --steps 5000 --out runs/general",
        "tinybert general --recipe recipes/general-4x312.toml --text wiki.txt.xz",
        "tinybert general --text pages.jsonl --column body --losses relations --layers 2",
        "tinybert distill --data messages.csv --student-from runs/general",
    )
)
@general_flags()
def general(recipe: Any) -> None:
    """Distil a teacher into an encoder on plain text, for students of any task to start from."""
    from tinybert.distill.general import general as run_general

    run_general(recipe)


@app.command(
    epilog=examples(
        "tinybert embed --text sentences.txt --layers 3 --out runs/embeddings",
        "tinybert embed --text faq.csv --column question --dev sts.csv --epochs 5",
        "tinybert predict runs/embeddings/artifact 'where is my parcel?' --format jsonl",
    )
)
@embed_flags()
def embed(recipe: Any) -> None:
    """Distil a sentence encoder: vectors of texts, near each other where texts mean the same."""
    from tinybert.ship.embedder import embed as run_embed

    run_embed(recipe)


@app.command(
    epilog=examples(
        "tinybert augment --data messages.csv --teacher runs/messages/teacher --to more.jsonl",
        "tinybert augment --data zh.csv --teacher my-teacher --to more.csv --source wordnet "
        "--wordnet wn",
    )
)
@recipe_flags("augment")
def augment(recipe: Any, to: Annotated[Path, typer.Option(help="JSONL, CSV or TSV file.")]) -> None:
    """Replace words of the training texts and let the teacher label the new texts."""
    from tinybert.distill.augment import augment as run_augment

    run_augment(recipe, to)


@app.command(
    epilog=examples(
        "tinybert report runs/demo",
        "tinybert report runs/demo --split dev --open",
    )
)
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    split: Annotated[str | None, typer.Option(help="Split to measure on: test or dev.")] = None,
    open_: OpenFlag = False,
) -> None:
    """Compare teacher, student and artifact with baselines; write report.html and report.json."""
    if (run / "data" / "pairs.json").is_file():
        from tinybert.ship.writing import report_writing as write_report
    else:
        from tinybert.ship.report import report as write_report
    show_report(write_report(run, split=split), open_=open_)


app.command(epilog=examples(*EXPORT))(export)


@app.command(
    epilog=examples(
        "hf download huawei-noah/TinyBERT_General_4L_312D --local-dir tinybert-4l",
        "tinybert convert tinybert-4l --to models/tinybert-4l",
        "tinybert distill --data messages.csv --teacher models/tinybert-4l --layers 2",
    )
)
def convert(
    folder: Annotated[Path, typer.Argument(help="Downloaded checkpoint.")],
    to: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Turn a published checkpoint, pytorch_model.bin or old names, into a model of today.

    Tensors are read without running any code that a pickle may hold.
    """
    from tinybert.distill.convert import convert as run_convert

    print(f"model: {run_convert(folder, to)}")


@app.command(
    epilog=examples(
        "tinybert trim runs/messages/student --to smaller",
        "tinybert trim my-model --to smaller --text messages.jsonl --column body",
        "tinybert export smaller --to artifact",
    )
)
def trim(
    model: Annotated[Path, typer.Argument(help="Hugging Face folder; inside a run, its texts.")],
    to: Annotated[Path, typer.Option(help="Folder to write.")],
    text: Annotated[list[str] | None, typer.Option(help="More texts: files, hub ids.")] = None,
    column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
) -> None:
    """Leave out the word embeddings that a model's texts do not need."""
    from tinybert.distill.trim import trim as run_trim

    print(f"model: {run_trim(model, to, text=text or (), column=column)}")


@app.command(
    epilog=examples(
        "tinybert quantize artifact",
        "tinybert quantize artifact --keep-fp32",
        "tinybert quantize artifact --table-bits 4",
    )
)
def quantize(
    artifact: Annotated[Path, typer.Argument(help="Folder written by export.")],
    keep_fp32: Annotated[bool, typer.Option("--keep-fp32", help="Keep the fp32 model.")] = False,
    table_bits: Annotated[int, typer.Option(help="Of the word embeddings: 8 or 4.")] = 8,
) -> None:
    """Turn an artifact's weights into int8."""
    from tinybert.ship.quantize import quantize as run_quantize

    print(f"int8: {run_quantize(artifact, keep_fp32=keep_fp32, table_bits=table_bits)}")


@app.command(
    epilog=examples(
        "tinybert verify runs/messages/artifact",
        "tinybert verify artifact --model runs/messages/student --data messages.csv",
    )
)
def verify(
    artifact: Annotated[Path, typer.Argument(help="Folder written by export.")],
    model: Annotated[Path | None, typer.Option(help="PyTorch model; the run's student.")] = None,
    data: DataFlag = None,
    text: TextFlag = None,
    text2: Text2Flag = None,
    label: LabelFlag = None,
    language: LanguageFlag = None,
    source: SourceFlag = None,
    target: TargetFlag = None,
    max_flips: Annotated[
        float | None, typer.Option(help="Most changed answers, 0 to 1; 0.005 if not given.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Most quality lost, 0 to 1; 0.003, of texts written 0.01.")
    ] = None,
) -> None:
    """Compare an artifact with its PyTorch model on dev texts; refuse past the limits.

    An artifact inside a run finds model and data there.
    """
    from tinybert.ship.verify import verify as run_verify

    columns = {"text": text, "text2": text2, "label": label, "language": language}
    rows = read_data(artifact, data, **columns, source=source, target=target)
    student = model or shipped_model(artifact)
    show(run_verify(artifact, student, rows, max_flips=max_flips, max_drop=max_drop))


@app.command(
    epilog=examples(
        "tinybert evaluate runs/messages/artifact --split dev",
        "tinybert evaluate artifact --data messages.csv --label intent",
    )
)
def evaluate(
    path: Annotated[Path, typer.Argument(help="Artifact, or Hugging Face folder.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    data: DataFlag = None,
    text: TextFlag = None,
    text2: Text2Flag = None,
    label: LabelFlag = None,
    label_separator: SeparatorFlag = "|",
    language: LanguageFlag = None,
    source: SourceFlag = None,
    target: TargetFlag = None,
    task: Annotated[
        str | None,
        typer.Option(help="Such as glue/mrpc; of a folder that writes, what it does."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Of a folder: longest input in tokens; that of its run.")
    ] = None,
    target_token: Annotated[
        str | None, typer.Option(help="Of a folder that writes: first token of every answer.")
    ] = None,
) -> None:
    """Measure the quality of an artifact or a model on a split.

    One inside a run finds the data there, and keeps the figures in its card; those on other data
    are printed alone.
    """
    from tinybert.ship.evaluate import evaluate as run_evaluate

    columns = {"text": text, "text2": text2, "label": label, "language": language}
    columns["label_separator"] = label_separator
    rows = read_data(path, data, **columns, source=source, target=target, task=task)
    about: dict[str, Any] = {"max_length": max_length, "target_token": target_token}
    show(run_evaluate(path, rows, split, **about, record=data is None))
    console.show_signatures(rows, split)


@app.command(
    epilog=examples(
        'tinybert predict artifact "my card was charged twice"',
        "tinybert predict artifact --file messages.csv --text message --format jsonl",
        'tinybert predict runs/answers/artifact "who won?" "Ann won the race."',
        "cut -f2 log.tsv | tinybert predict artifact --format csv > labels.csv",
    )
)
def predict(
    artifact: Annotated[Path, typer.Argument(help="Folder written by export.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; else a file or stdin.")] = None,
    file: Annotated[str | None, typer.Option(help="CSV, TSV, JSONL, text; - for stdin.")] = None,
    format: Annotated[str, typer.Option(help="text, jsonl or csv.")] = "text",
    text: Annotated[
        str | None, typer.Option(help="Column of the text; `text`, or `question`.")
    ] = None,
    text2: Annotated[
        str | None, typer.Option(help="Column of the second text; `text2`, or `context`.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; all cores if not given.")] = None,
    batch_size: Annotated[int, typer.Option(help="Texts run together.")] = 32,
    threshold: Annotated[
        float | None, typer.Option(help="Least probability, where texts carry several labels.")
    ] = None,
) -> None:
    """Answer texts with an artifact, line by line; bad rows are named and cost exit code 1."""
    from tinybert.runtime import predict as run_predict

    if not texts and file is None and console.waits():
        file = "-"
    broken = run_predict(
        artifact,
        texts or (),
        file=file,
        format=format,
        text_column=text,
        text2_column=text2,
        threads=threads,
        batch_size=batch_size,
        threshold=threshold,
    )
    if broken:
        complain(f"{broken} rows could not be read; the others were answered")
        raise typer.Exit(1)


@app.command(
    epilog=examples(
        "tinybert info runs/demo",
        "tinybert info runs/demo/artifact --json",
    )
)
def info(
    path: Annotated[Path, typer.Argument(help="Artifact, Hugging Face folder or run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a folder holds: sizes, shapes, labels, parity."""
    from tinybert.ship.info import info as run_info

    found = run_info(path)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show(found)


for _command, _shown in (PLANNING | WRITING).items():
    app.command(epilog=examples(*_shown))(_command)


def main() -> None:
    """Run the command line."""
    console.speak_utf8()
    app()


if __name__ == "__main__":
    main()
