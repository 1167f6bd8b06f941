"""What general distillation adds to students, at a given number of steps.

Examples:
    python bench/general.py --data DIR --steps 3000
    python bench/general.py --data DIR --steps 3000 --sets helpdesk --seeds 0 --losses relations

DIR holds plain text in a folder ``unlabelled_en`` (the figures: ``simple_english_wikipedia.txt.xz``
there, Simple English Wikipedia, a paragraph a line, a blank line between articles), and, for the
sets of those names, a folder ``sst2`` (see ``quality.py``) and a folder ``mrpc`` with train.tsv,
dev.tsv and test.tsv (columns label, sentence1, sentence2; Hugging Face id ``nyu-mll/glue:mrpc``).

Two shapes of students, ``4x312`` (projected) and ``3-copied`` (three of the teacher's layers), each
from the teacher's layers and at random, each with and without general distillation from the
pretrained encoder before the task. Dev chooses the epoch; test is measured once. Interrupted, the
same command goes on where it stopped.
"""

import argparse
import itertools
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _jobs
from _sets import digested, prepare

HERE = Path(__file__).parent
TEXT = "simple_english_wikipedia.txt.xz"
SHAPES: dict[str, dict[str, Any]] = {
    "4x312": {"layers": 4, "hidden": 312, "heads": 12, "intermediate": 1200},
    "3-copied": {"layers": 3},
}
STARTS = ("teacher", "random")
# Settings that begin so are the encoders', all others the tasks'.
GENERAL = ("training.", "corpus.")
# By set: its recipe, and settings over it.
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "helpdesk": ("helpdesk", {}),
    "sst2-sentences": ("sst2-sentences", {"data.drop_leaks": True}),
    "mrpc": (
        "sst2-sentences",
        {
            "data.text": "sentence1",
            "data.text2": "sentence2",
            "max_length": 128,
            "layer_stage.epochs": 6,
            "prediction_stage.epochs": 6,
        },
    ),
}


def main() -> None:
    arguments = parse()
    if arguments.job:
        job = json.loads(arguments.job)
        {"encoder": run_encoder, "teacher": run_teacher, "student": run_student}[job.pop("kind")](
            **job
        )
        return
    work = arguments.work
    given = dict(pair.split("=", 1) for pair in arguments.set)
    of_encoder = {key: value for key, value in given.items() if key.startswith(GENERAL)}
    settings = {key: value for key, value in given.items() if key not in of_encoder}
    sources = {name: prepare(name, arguments.data, work) for name in arguments.sets}
    encoders = {
        (shape, start): encoder_folder(work, shape, start, arguments)
        for shape, start in itertools.product(SHAPES, STARTS)
    }
    text = text_path(arguments)
    first = [
        {"kind": "encoder", "out": str(out), "text": str(text), "shape": shape, "start": start,
         "steps": arguments.steps, "losses": arguments.losses, "settings": of_encoder}
        for (shape, start), out in encoders.items()
    ]  # fmt: skip
    first += [
        {"kind": "teacher", "out": str(teacher_folder(work, name, seed)), "name": name,
         "source": sources[name], "seed": seed, "settings": settings}
        for name, seed in itertools.product(arguments.sets, arguments.seeds)
    ]  # fmt: skip
    students = [
        {"kind": "student", "out": str(student_folder(work, name, shape, start, base, seed)),
         "name": name, "source": sources[name], "seed": seed, "shape": shape, "start": start,
         "base": str(base) if base else None, "settings": settings,
         "teacher": str(teacher_folder(work, name, seed) / "teacher")}
        for name, (shape, start), seed in itertools.product(
            arguments.sets, encoders, arguments.seeds
        )
        for base in (None, encoders[shape, start])
    ]  # fmt: skip
    run_all(first, arguments.workers)
    run_all(students, arguments.workers)
    write_results(students, sources, text, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--text", type=Path, help=f"plain text; {TEXT} if not given")
    parser.add_argument("--steps", type=int, default=3000, help="of general distillation")
    parser.add_argument("--losses", default="layers", choices=["layers", "relations"])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--work", type=Path, default=Path("runs/general-bench"), help="runs")
    parser.add_argument("--results", type=Path, help="folder of the results; bench/results")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        help="other settings, as in layer_stage.epochs=1 or training.batch_size=16",
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.job and not text_path(arguments):
        parser.error("wanted --data DIR with a folder unlabelled_en in it, or --text FILE")
    return arguments


def text_path(arguments: argparse.Namespace) -> Path | None:
    """Return the plain text to distil on."""
    folder = arguments.data / "unlabelled_en" / TEXT if arguments.data else None
    return arguments.text or folder


def encoder_folder(work: Path, shape: str, start: str, arguments: argparse.Namespace) -> Path:
    return work / f"encoder-{shape}-{start}-{arguments.losses}-{arguments.steps}"


def teacher_folder(work: Path, name: str, seed: int) -> Path:
    return work / name / f"seed-{seed}-teacher"


def student_folder(
    work: Path, name: str, shape: str, start: str, base: Path | None, seed: int
) -> Path:
    before = base.name.removeprefix("encoder-") if base else f"{shape}-{start}-none"
    return work / name / f"seed-{seed}-{before}"


def run_all(jobs: Iterable[dict[str, Any]], workers: int) -> None:
    """Run jobs that are not done yet, each in a process of its own."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(start_job, jobs))


def start_job(job: dict[str, Any]) -> None:
    out = Path(job["out"])
    done = {
        "encoder": out / "general.json",
        "teacher": out / "teacher" / "model.safetensors",
        "student": row_path(out),
    }
    log, what = out.with_name(f"{out.name}.log"), f"{job['kind']} {out.name}"
    _jobs.start(__file__, job, done[job["kind"]], log, what)


def row_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def run_encoder(
    out: str,
    text: str,
    shape: str,
    start: str,
    steps: int,
    losses: str,
    settings: dict[str, str],
) -> None:
    """Distil the pretrained encoder on plain text; one seed for all students."""
    from tinybert.distill import general_recipe
    from tinybert.distill.general import general

    chosen = {f"student.{name}": value for name, value in SHAPES[shape].items()}
    chosen |= {"out": out, "corpus.texts": [text], "student.start": start}
    chosen |= {"training.steps": steps, "training.losses": losses}
    given = {key: json.loads(value) for key, value in settings.items()}
    general(general_recipe.load(None, chosen | given))


def run_teacher(out: str, name: str, source: str, seed: int, settings: dict[str, str]) -> None:
    """Fine-tune the pretrained encoder on a set."""
    from tinybert.distill.task import teach

    teach(recipe(name, source, seed, out, settings))


def recipe(name: str, source: str, seed: int, out: str, settings: dict[str, str]) -> Any:
    """Return the recipe of a set."""
    from tinybert.distill import recipe as recipes

    file, own = SETS[name]
    given = {key: json.loads(value) for key, value in settings.items()}
    common = {"data.source": source, "seed": seed, "out": out, "ship.baselines": False}
    return recipes.load(HERE.parent / "recipes" / f"{file}.toml", {**common, **own, **given})


def run_student(
    out: str,
    name: str,
    source: str,
    seed: int,
    shape: str,
    start: str,
    base: str | None,
    settings: dict[str, str],
    teacher: str,
) -> None:
    """Distil one student of a task and write its row."""
    from tinybert.data import load_saved
    from tinybert.distill.task import distill

    sizes: dict[str, Any] = {"student.base": base}
    if base is None:
        sizes = {f"student.{key}": value for key, value in SHAPES[shape].items()}
        sizes["student.start"] = start
    given = settings | {key: json.dumps(value) for key, value in sizes.items()}
    given["teacher.model"] = json.dumps(teacher)
    made = recipe(name, source, seed, out, given)
    distill(made)
    row = {"set": name, "shape": shape, "start": start, "seed": seed}
    row |= {"general_steps": 0, "general_losses": None}
    if base is not None:
        about = json.loads((Path(base) / "general.json").read_text(encoding="utf-8"))
        losses = Path(base).name.split("-")[-2]
        row |= {"general_steps": about["steps"], "general_losses": losses}
        row |= {"general_tokens": about["tokens"], "general_loss": about["loss"]}
    row |= measure(Path(out), teacher, load_saved(out), made.max_length)
    row_path(Path(out)).write_text(json.dumps(row, indent=1), encoding="utf-8")


def measure(run: Path, teacher: str, data: Any, max_length: int) -> dict[str, float]:
    """Return dev and test quality of student and teacher."""
    import numpy as np

    from tinybert import metrics
    from tinybert.distill.infer import predict_logits

    row: dict[str, float] = {}
    for split in ("dev", "test"):
        rows = data.splits()[split]
        targets = np.asarray(rows["label"])
        texts2 = list(rows["text2"]) if data.pair else None
        for system, place in (("teacher", teacher), ("student", str(run / "student"))):
            logits = predict_logits(place, list(rows["text"]), texts2, max_length=max_length)
            found = metrics.compute(data.task, logits, targets)
            row |= {f"{split}_{system}_{kind}": float(value) for kind, value in found.items()}
    return row


def write_results(
    jobs: list[dict[str, Any]], sources: dict[str, str], text: Path, arguments: argparse.Namespace
) -> None:
    """Gather the rows into ``bench/results/general.json``."""
    import _results

    if arguments.results:
        _results.RESULTS = arguments.results
    rows = [json.loads(row_path(Path(job["out"])).read_text(encoding="utf-8")) for job in jobs]
    digest = _jobs.digest([digested(name, place) for name, place in sources.items()], text)
    command = f"python bench/general.py --data DIR --steps {arguments.steps}"
    command += f" --text {arguments.text.name}" if arguments.text else ""
    command += f" --losses {arguments.losses} --sets {' '.join(arguments.sets)}"
    command += f" --seeds {' '.join(map(str, arguments.seeds))}"
    command += "".join(f" --set '{pair}'" for pair in arguments.set)
    print(f"wrote {_results.write('general', rows, command, digest)}")


if __name__ == "__main__":
    main()
