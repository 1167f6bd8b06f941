"""How the command line speaks: problems as one line, figures by name, reports as a table."""

import errno
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from tinybert.errors import ConfigError, MissingExtraError, TinyBertError

__all__ = [
    "Group",
    "complain",
    "examples",
    "read_data",
    "shipped_model",
    "show",
    "show_report",
    "show_signatures",
    "speak_utf8",
    "waits",
]

_RESUMED = ("demo", "teach", "distill", "general", "plan", "seq2seq")
_TRAINING = {
    "accelerate",
    "datasets",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxscript",
    "pydantic",
    "sacrebleu",
    "safetensors",
    "scipy",
    "seqeval",
    "sklearn",
    "torch",
    "transformers",
}


_PATHS = (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


class Group(TyperGroup):
    """Turns problems that a user can mend into one line on stderr and an exit code."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; ``distill`` of a student that writes texts is ``seq2seq``."""
        if args[0] == "distill" and _distills_writer(args[1:]):
            args = ["seq2seq", *args[1:]]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; 2 for a problem, 130 for Ctrl-C, 141 for a closed pipe."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except TinyBertError as error:
            complain(f"{type(error).__name__}: {error}")
            sys.exit(2)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _TRAINING and package != "ctranslate2":
                raise
            extra = "train" if package in _TRAINING else "seq2seq"
            missing = MissingExtraError(
                f"this command needs the package {package}, which is not installed; "
                f"run: pip install 'tinybert[{extra}]'"
            )
            complain(f"{type(missing).__name__}: {missing}")
            sys.exit(2)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except OSError as error:
            if not isinstance(error, _PATHS) and error.errno not in (errno.ENOSPC, errno.EROFS):
                raise
            complain(f"{error.filename or 'file'}: {error.strerror}")
            sys.exit(2)
        except KeyboardInterrupt:
            again = "; the same command goes on where it stopped"
            complain(f"interrupted{again if ctx.invoked_subcommand in _RESUMED else ''}")
            sys.exit(130)


def _distills_writer(args: Sequence[str]) -> bool:
    """Whether flags of ``distill`` are for a student that translates or summarizes."""
    given: dict[str, str] = {}
    for i, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name in ("--task", "--recipe"):
            given[name] = value if equals else "".join(args[i + 1 : i + 2])
        elif word.startswith("task="):
            given["--task"] = value.strip("\"'")
    if not given:
        return False
    from tinybert.distill.seq2seq_recipe import writes

    return writes(given.get("--recipe"), given.get("--task"))


def speak_utf8() -> None:
    """Write UTF-8 into files and pipes, whatever the system's own encoding is."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def waits() -> bool:
    """Whether standard input is a file or a pipe."""
    return sys.stdin is not None and not sys.stdin.isatty()


def examples(*commands: str) -> str:
    """Return examples as the last lines of a command's help."""
    return "\n\n".join(["Examples:", *(f"  {command}" for command in commands)])


def complain(message: str) -> None:
    """Write one line to stderr."""
    print(f"tinybert: {' '.join(message.split())}", file=sys.stderr, flush=True)


def show_report(path: Path, *, open_: bool) -> None:
    """Print the table and where the page is; open it where someone looks."""
    from tinybert.ship.table import print_table

    print_table(path)
    print(f"report: {path}")
    if open_ and sys.stdout.isatty() and path.is_file():
        typer.launch(path.resolve().as_uri())


def read_data(path: Path, given: str | None, **columns: Any) -> Any:
    """Load the data named by a flag, or those of the run that a folder lies in.

    Of a single file every row is taken, and the model says for what task and with which labels.
    """
    named = columns.pop("task", None)
    if task := _writes(path, named):
        return _read_pairs(path, given, task, columns)
    for name in ("source", "target"):
        columns.pop(name, None)
    from tinybert import data

    task, labels = _answers_of(path) if given or named else ("auto", ())
    task = _agreed(path, named or task, task)
    if given is not None and Path(given).is_file():
        names: dict[str, Any] = {name: columns.get(name) for name in ("text", "text2", "label")}
        names["label_separator"] = columns.get("label_separator", "|")
        rows = data.load_rows(given, task=task, labels=labels, **names)
        for note in rows.notes:
            print(note, file=sys.stderr)
        return rows
    if given is not None or "/" in task:
        return data.load(given, task=task, **columns)
    return data.load_saved(_run_of(path))


def _agreed(path: Path, named: str, own: str) -> str:
    """Return the task that was named, or refuse it: the model is for another.

    One of GLUE or CLUE stays; its data say what it is.
    """
    from tinybert.artifact import CARD
    from tinybert.heads import head_for

    if named == own or "/" in named:
        return named
    if (path / CARD).is_file() or head_for(named) != head_for(own):
        raise ConfigError(f"task is `{named}`; {path} is for {own}")
    return named


def _writes(path: Path, task: str | None) -> str | None:
    """Return the task of a model that writes texts; None for any other."""
    from tinybert.artifact import CARD, WRITTEN, read_card

    if (path / CARD).is_file():
        own = read_card(path).task
        if own in WRITTEN and task not in (None, own):
            raise ConfigError(f"task is `{task}`; {path} is for {own}")
        return own if own in WRITTEN else None
    if task is not None:
        return task if task in WRITTEN else None
    saved = path.resolve().parent / "data" / "pairs.json"
    return json.loads(saved.read_text(encoding="utf-8"))["task"] if saved.is_file() else None


def _read_pairs(path: Path, given: str | None, task: str, columns: Mapping[str, Any]) -> Any:
    """Load the pairs named by a flag, or those of the run that a folder lies in."""
    from tinybert.pairs import load_pairs, load_saved_pairs

    if given is None:
        return load_saved_pairs(_run_of(path))
    names: dict[str, Any] = {name: columns.get(name) for name in ("source", "target", "language")}
    return load_pairs(given, task=task, whole=Path(given).is_file(), **names)


def _embeds(path: Path) -> bool:
    """Whether an artifact gives vectors."""
    from tinybert.artifact import CARD, read_card

    return (path / CARD).is_file() and read_card(path).task == "embedding"


def _run_of(path: Path) -> Path:
    """Return the run that a folder lies in."""
    run = path.resolve().parent
    if not (run / "data").is_dir():
        if _embeds(path):
            raise ConfigError(
                f"{path} gives vectors, which are measured on pairs with a number; name such data "
                "with --data"
            )
        raise ConfigError(f"{path} lies in no run; name the data with --data")
    return run


def _answers_of(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return a model's task and its labels; ``auto`` and none where it does not say."""
    from tinybert.artifact import CARD, read_card

    if (path / CARD).is_file():
        card = read_card(path)
        return "regression" if card.task == "embedding" else card.task, card.labels
    from tinybert.distill.infer import resolve
    from tinybert.distill.published import read_config
    from tinybert.heads import claimed_head

    config = read_config(resolve(path))
    head = claimed_head(config)
    if head == "span":
        return "answering", ()
    if config.num_labels == 1 and head == "text":
        return "regression", ()
    several = config.problem_type == "multi_label_classification"
    names = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    nameless = all(name == f"LABEL_{i}" for i, name in enumerate(names))
    task = "multilabel" if several else "classification"
    return "tagging" if head == "word" else task, () if nameless else names


def shipped_model(artifact: Path) -> Path:
    """Return the folder of the model that an artifact inside a run was made of."""
    run = artifact.resolve().parent
    return run / "trimmed" if (run / "trimmed").is_dir() else run / "student"


def show(found: Mapping[str, Any], indent: str = "") -> None:
    """Print figures by name."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            print(f"{indent}{name}")
            show(value, indent + "  ")
        else:
            shown = f"{value:.4f}" if isinstance(value, float) else value
            print(f"{indent}{name:<{24 - len(indent)}} {shown}")


def show_signatures(rows: Any, split: str) -> None:
    """Print how BLEU and chrF of pairs were computed; of labelled texts nothing."""
    from tinybert import text_metrics
    from tinybert.pairs import PairData

    if isinstance(rows, PairData):
        show({"signatures": text_metrics.signatures(list(rows.splits()[split]["references"]))})
