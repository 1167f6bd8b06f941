"""Quality of students against their teacher: several seeds, dev for choices, test touched once.

Examples:
    python bench/quality.py --sets helpdesk
    python bench/quality.py --data DIR --sets sst2-sentences sst2 --seeds 0 1 2 --workers 2

DIR holds a folder ``sst2`` with train.tsv, dev.tsv and test.tsv (columns label, sentence): the
Stanford Sentiment Treebank as GLUE cuts it (Hugging Face id ``stanfordnlp/sst2``), with the test
labels of the original treebank. ``sst2-sentences`` keeps the train phrases that are no part of a
longer one. Interrupted, the same command goes on where it stopped; students that stand in
bench/results already, made with the same settings, are not made again (``--again`` makes them).
"""

import argparse
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import _jobs

HERE = Path(__file__).parent
# By set: the epochs of the layer and of the prediction stage for each number of layers (chosen on
# dev), and whether each seed has a teacher of its own or all learn from the first seed's.
SETS: dict[str, dict[str, Any]] = {
    "helpdesk": {"epochs": {3: (6, 4)}, "label_only": True, "teachers": True},
    "sst2-sentences": {
        "epochs": {4: (2, 2), 3: (6, 5), 2: (8, 6)},
        "label_only": False,
        "teachers": True,
    },
    "sst2": {
        "epochs": {4: (1, 0.5), 3: (2, 1), 2: (2, 2)},
        "label_only": False,
        "teachers": False,
    },
}


def main() -> None:
    arguments = parse()
    if arguments.job:
        run_job(**json.loads(arguments.job))
        return
    work = Path(arguments.work)
    for name in arguments.sets:
        source = prepare(name, arguments.data, work)
        students = missing(name, work, arguments)
        seeds = list(dict.fromkeys(seed for seed, _ in students))
        teachers = seeds if SETS[name]["teachers"] or not seeds else [0]
        with ThreadPoolExecutor(arguments.workers) as pool:
            for jobs in ([(seed, 0) for seed in teachers], students):
                started = [
                    pool.submit(start_job, name, source, *job, work, arguments) for job in jobs
                ]
                for ended in as_completed(started):
                    ended.result()
                    write_results(name, source, work, arguments)
        write_results(name, source, work, arguments)


def missing(name: str, work: Path, arguments: argparse.Namespace) -> list[tuple[int, int]]:
    """Return seed and layers of the students that are not in the results yet."""
    from _results import read

    found = read(f"quality-{arguments.name or name}") or {"rows": []}
    layers = arguments.layers or list(SETS[name]["epochs"])
    wanted = [(seed, count) for seed in arguments.seeds for count in layers]
    if arguments.again:
        for seed, count in wanted:
            row_path(work, arguments.name or name, seed, count).unlink(missing_ok=True)
        return wanted
    for seed, count in wanted:
        path = row_path(work, arguments.name or name, seed, count)
        if path.is_file() and json.loads(path.read_text())["epochs"] != epochs(name, count):
            sys.exit(f"{path.with_suffix('')} was made with other epochs; remove it, and {path}")
    for row in found["rows"]:
        job = (row["seed"], row["layers"])
        if job in wanted and row.get("epochs") == epochs(name, row["layers"]):
            wanted.remove(job)
            path = row_path(work, arguments.name or name, *job)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row, indent=1), encoding="utf-8")
    return wanted


def epochs(name: str, layers: int) -> list[float]:
    """Return the epochs of both stages; none where the recipe's hold."""
    return list(SETS[name]["epochs"].get(layers, ()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--sets", nargs="+", default=["helpdesk"], choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--layers", nargs="+", type=int, help="instead of the set's own")
    parser.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--work", default="runs/quality", help="folder of the runs")
    parser.add_argument(
        "--set", nargs="+", default=[], help="other settings, as in layer_stage.attention=1"
    )
    parser.add_argument("--name", help="name of the results with other settings")
    parser.add_argument("--again", action="store_true", help="make all students anew")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(name: str, data: Path | None, work: Path) -> str:
    """Return where a set's data are; cut the whole sentences out of SST-2's phrases."""
    if name == "helpdesk":
        return name
    if data is None:
        sys.exit(f"{name} needs --data DIR with a folder sst2 in it")
    source = data / "sst2"
    if name == "sst2":
        return str(source)
    target = work / "sst2-sentences-data"
    if not (target / "train.tsv").is_file():
        target.mkdir(parents=True, exist_ok=True)
        header, *rows = (source / "train.tsv").read_text(encoding="utf-8").splitlines()
        kept = whole_sentences(rows)
        (target / "train.tsv").write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
        for split in ("dev", "test"):
            shutil.copy(source / f"{split}.tsv", target)
    return str(target)


def whole_sentences(rows: list[str]) -> list[str]:
    """Return the rows whose phrase is no part of another row's, each phrase once."""
    phrases = {tuple(row.split("\t")[1].split()): row for row in reversed(rows)}
    inside = set()
    for words in phrases:
        count = len(words)
        spans = (words[a:b] for a in range(count) for b in range(a + 1, count + 1))
        inside |= {span for span in spans if len(span) < count and span in phrases}
    return [row for words, row in phrases.items() if words not in inside][::-1]


def start_job(
    name: str, source: str, seed: int, layers: int, work: Path, arguments: argparse.Namespace
) -> None:
    """Run one job in a process of its own: a student, or with 0 layers the seed's teacher."""
    title = arguments.name or name
    job = {"name": name, "source": source, "seed": seed, "layers": layers, "work": str(work)}
    job |= {"title": title, "settings": dict(pair.split("=", 1) for pair in arguments.set)}
    row = row_path(work, title, seed, layers) if layers else teacher_folder(work, name, seed)
    done = row if layers else row / "teacher" / "model.safetensors"
    what = f"{layers} layers" if layers else "teacher"
    _jobs.start(__file__, job, done, row.with_suffix(".log"), f"{name} seed {seed}: {what}")


def teacher_folder(work: Path, name: str, seed: int) -> Path:
    """Return the run of the teacher that a seed's students learn from."""
    return work / name / f"seed-{seed if SETS[name]['teachers'] else 0}-teacher"


def row_path(work: Path, name: str, seed: int, layers: int) -> Path:
    return work / name / f"seed-{seed}-layers-{layers}.json"


def run_job(
    name: str, title: str, source: str, seed: int, layers: int, work: str, settings: dict[str, str]
) -> None:
    """Distil and ship one student and write its row; with 0 layers, teach its teacher."""
    from tinybert.distill import recipe as recipes
    from tinybert.distill.task import distill, teach
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize
    from tinybert.ship.verify import verify

    chosen = {key: json.loads(value) for key, value in settings.items()}
    common = {"data.source": source, "data.drop_leaks": name != "helpdesk", "seed": seed}
    file = HERE.parent / "recipes" / f"{name}.toml"
    teacher = teacher_folder(Path(work), name, seed)
    if layers == 0:
        teach(recipes.load(file, {**common, "out": str(teacher)}))
        return
    if lengths := epochs(name, layers):
        common |= dict(zip(("layer_stage.epochs", "prediction_stage.epochs"), lengths, strict=True))
    run = Path(work) / title / f"seed-{seed}-layers-{layers}"
    overrides = {
        **common,
        **chosen,
        "out": str(run),
        "teacher.model": str(teacher / "teacher"),
        "student.layers": layers,
        "ship.baselines": SETS[name]["label_only"],
    }
    recipe = recipes.load(file, overrides)
    distill(recipe)
    artifact = run / "artifact"
    from tinybert.data import load_saved

    data = load_saved(run)
    export(run / "student", artifact, max_length=recipe.max_length)
    fp32 = (artifact / "onnx" / "model.onnx").stat().st_size
    quantize(artifact)
    parity = verify(artifact, run / "student", data, max_flips=1.0, max_drop=1.0)
    int8 = (artifact / "onnx" / "model_quantized.onnx").stat().st_size
    row = measure(run, teacher / "teacher", artifact, data, recipe.max_length)
    row = {
        "set": name,
        "settings": settings,
        "seed": seed,
        "layers": layers,
        "epochs": lengths,
        **row,
        "int8_mb": int8 / 1e6,
        "int8_of_fp32": int8 / fp32,
        "int8_dev_flips": parity["flip_rate"],
    }
    path = row_path(Path(work), title, seed, layers)
    path.write_text(json.dumps(row, indent=1), encoding="utf-8")


def measure(run: Path, teacher: Path, artifact: Path, data: Any, max_length: int) -> dict[str, Any]:
    """Return dev and test quality of the student and everything beside it."""
    import numpy as np

    from tinybert import baselines, metrics
    from tinybert.distill.infer import predict_logits
    from tinybert.ship.evaluate import evaluate

    row: dict[str, Any] = {}
    for split in ("dev", "test"):
        rows = data.splits()[split]
        targets = np.asarray(rows["label"])
        for system in ("teacher", "student", "label_only"):
            place = teacher if system == "teacher" else run / system
            if place.is_dir():
                logits = predict_logits(place, list(rows["text"]), max_length=max_length)
                row[f"{split}_{system}"] = metrics.compute(data.task, logits, targets)["accuracy"]
        row[f"{split}_int8"] = evaluate(artifact, data, split)["accuracy"]
        tfidf = baselines.tfidf(data, split)
        row[f"{split}_tfidf"] = metrics.compute(data.task, tfidf, targets)["accuracy"]
        row[f"{split}_majority"] = baselines.majority(data, split)["accuracy"]
    row["kept"] = row["test_student"] / row["test_teacher"]
    return row


def write_results(name: str, source: str, work: Path, arguments: argparse.Namespace) -> None:
    """Gather the rows that there are into ``bench/results``, so that an interruption loses none."""
    from _results import write

    layers = arguments.layers or SETS[name]["epochs"]
    title = arguments.name or name
    paths = [row_path(work, title, seed, count) for count in layers for seed in arguments.seeds]
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    if not rows:
        return
    folder = Path("src/tinybert/datasets/helpdesk") if name == "helpdesk" else Path(source)
    needs = "" if name == "helpdesk" else " --data DIR"
    seeds = " ".join(map(str, arguments.seeds))
    command = f"python bench/quality.py{needs} --sets {name} --seeds {seeds}"
    command += "".join(f" --set '{pair}'" for pair in arguments.set)
    command += f" --name {title}" if arguments.name else ""
    command += f" --layers {' '.join(map(str, layers))}" if arguments.layers else ""
    print(f"wrote {write(f'quality-{title}', rows, command, _jobs.digest([folder]))}")


if __name__ == "__main__":
    main()
