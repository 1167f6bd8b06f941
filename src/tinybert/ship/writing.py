"""The whole way to an artifact that translates or summarizes, and its report."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tinybert import text_baselines, text_metrics
from tinybert.artifact import read_card, write_atomic
from tinybert.distill import seq2seq as training
from tinybert.distill.processes import is_first
from tinybert.distill.seq2seq_recipe import Seq2SeqRecipe, load
from tinybert.errors import ConfigError
from tinybert.pairs import PairData, load_saved_pairs
from tinybert.runtime.generation import Decoding
from tinybert.ship import plots
from tinybert.ship.systems import stage_logs
from tinybert.ship.table import written_headline, written_table
from tinybert.ship.templates import open_template
from tinybert.ship.writer import answers_of, choose_truncation, export_writer, verify_writer

__all__ = ["is_writing_run", "report_writing", "seq2seq"]

_EXAMPLES = 30
_NAMES = {"teacher": "Teacher", "student": "Student", "artifact": "int8"}
_STAGES = {"teaching": "Teaching the teacher", "writing": "Teaching the student"}
_UNWRITTEN = {
    "source": "Source unchanged",
    "first sentence": "First sentence",
    "first 8 words": "First 8 words, 16 characters",
}
_NO_COST = {"file_mb": None, "texts_per_second": None}

Say = Callable[[str], None]


def seq2seq(recipe: Seq2SeqRecipe, say: Say = print) -> Path:
    """Distil a student that writes texts, ship it and report; called again, it goes on.

    Args:
        recipe: Every setting.
        say: Told of each step.

    Returns:
        The run's folder; its ``artifact`` is what ``tinybert.load`` reads.

    Raises:
        TinyBertError: Data, teacher or settings cannot be used, or the artifact does not answer as
            the student does.
    """
    run = training.seq2seq(recipe, say)
    if not is_first():
        return run
    data = load_saved_pairs(run)
    student, artifact = run / "student", run / "artifact"
    say("exporting the student to CTranslate2, int8")
    search = recipe.search.model_dump(exclude_none=True) | {"max_tokens": recipe.max_target}
    export_writer(
        student,
        artifact,
        task=recipe.task,
        max_length=recipe.max_length,
        decoding=Decoding(**search),
        split="sentence" if training.splits_sentences(data) else "length",
        carried=recipe.data.carried,
        teacher=recipe.teacher.model or "",
    )
    if recipe.task == "summarization" and recipe.search.truncation is None:
        _say_truncation(choose_truncation(artifact, data), data.task, say)
    parity = verify_writer(artifact, student, data, max_drop=recipe.ship.max_drop)
    size = (artifact / read_card(artifact).model).stat().st_size
    say(
        f"artifact: {artifact}, {size / 1e6:.1f} MB, {parity['metric']} on dev "
        f"{parity['torch']:.2f} in float32, {parity['artifact']:.2f} in int8"
    )
    report_writing(run)
    return run


def _say_truncation(found: Mapping[bool, float], task: str, say: Say) -> None:
    """Say what is read of long sources, if there are any."""
    if found:
        read = "what fits is" if found[True] > found[False] else "all windows are"
        say(
            f"of long sources {read} read: {text_metrics.MAIN[task]} on those of dev "
            f"{found[True]:.2f} with truncation, {found[False]:.2f} with windows"
        )


def is_writing_run(run: str | Path) -> bool:
    """Whether a folder is a run of ``seq2seq``."""
    return (Path(run) / "data" / "pairs.json").is_file()


def report_writing(run: str | Path, *, split: str | None = None) -> Path:
    """Compare teacher, student, artifact and what needs no model, in figures and side by side.

    Args:
        run: Folder of a finished run.
        split: Split to measure on; None takes test if there is one, else dev.

    Returns:
        ``report.html`` in the run's folder; ``report.json`` beside it holds the same figures.

    Raises:
        ArtifactError: The folder holds no finished run, or a model in it cannot be loaded.
        ConfigError: The data have no such split.
    """
    place = Path(run)
    data = load_saved_pairs(place)
    chosen = _split(data, split)
    recipe = load(place / "recipe.toml")
    about = json.loads((place / "run.json").read_text(encoding="utf-8"))
    folders = {
        "teacher": about["teacher"] if recipe.teacher.model else str(place / "teacher"),
        "student": str(place / "student"),
        "artifact": str(place / "artifact"),
    }
    rows = data.splits()[chosen]
    sources, references = list(rows["source"]), list(rows["references"])
    systems: list[dict[str, Any]] = []
    answers, card = {}, read_card(folders["artifact"])
    for name, folder in folders.items():
        started = time.perf_counter()
        wanted = ("target_token", "prefix") if name == "teacher" else ()
        asked = {key: getattr(recipe.teacher, key) for key in wanted}
        answers[name] = answers_of(
            folder, data, chosen, max_length=recipe.max_length, like=card, **asked
        )
        seconds = time.perf_counter() - started
        figures = text_metrics.measure(data.task, answers[name], references, sources)
        systems.append(
            {"system": name, "name": _NAMES[name], "file_mb": _megabytes(Path(folder))}
            | {"texts_per_second": len(sources) / seconds, "quality": figures}
        )
    for name, texts in text_baselines.unwritten(data.task, sources).items():
        figures = text_metrics.measure(data.task, texts, references, sources)
        systems.append({"system": name, "name": _UNWRITTEN[name], "quality": figures} | _NO_COST)
    main = text_metrics.MAIN[data.task]
    best = systems[0]["quality"][main]
    for row in systems:
        row["kept"] = row["quality"][main] / best if best else None
    found = {
        "data": {"name": data.name, "task": data.task, "split": chosen, "rows": len(rows)},
        "metric": main,
        "signatures": text_metrics.signatures(references),
        "systems": systems,
        "parity": dict(card.parity),
        "examples": _examples(sources, references, answers),
    }
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    write_atomic(place / "report.json", text.encode())
    write_atomic(place / "report.html", _page(found, stage_logs(place, _STAGES)).encode())
    return place / "report.html"


def _examples(
    sources: list[str], references: list[list[str]], answers: Mapping[str, list[str]]
) -> list[dict[str, str]]:
    """Return rows spread over the split, side by side."""
    count = min(_EXAMPLES, len(sources))
    picked = [i * len(sources) // count for i in range(count)]
    return [
        {"source": sources[i], "reference": references[i][0]}
        | {name: texts[i] for name, texts in answers.items()}
        for i in picked
    ]


def _split(data: PairData, split: str | None) -> str:
    """Choose the split to measure on."""
    there = data.splits()
    if split is None:
        return "test" if "test" in there else "dev"
    if split not in there:
        raise ConfigError(f"split is `{split}`; {data.name} has {', '.join(there)}")
    return split


def _megabytes(folder: Path) -> float | None:
    """Return the size of a model's weights in MB; None where they are not here."""
    files = [*folder.glob("*.safetensors"), *folder.glob("ctranslate2/model.bin")]
    return sum(file.stat().st_size for file in files) / 1e6 or None


def _page(report: Mapping[str, Any], logs: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return the page."""
    header, lines = written_table(report)
    curves = {stage: plots.losses(history, stage=stage) for stage, history in logs.items()}
    return open_template("writing").render(
        report=report,
        headline=written_headline(report),
        header=header,
        lines=lines,
        names=_NAMES,
        sizes=Markup(_sizes(report)),
        losses=[(_STAGES[stage], Markup(svg)) for stage, svg in curves.items() if svg],
    )


def _sizes(report: Mapping[str, Any]) -> str:
    """Draw quality against the size of the weights, the best answers without a model as a line."""
    metric = report["metric"]
    rows = [(row, row["quality"][metric] / 100) for row in report["systems"]]
    points = [(r["system"], r["name"], r["file_mb"], value) for r, value in rows if r["file_mb"]]
    plain = [(r["system"], r["name"], value) for r, value in rows if r["system"] in _UNWRITTEN]
    best = max(plain, key=lambda row: row[2])
    return plots.quality_against(points, unit="weights, MB", metric=metric, reference=best)
