"""Quality of students against their teacher: several seeds, dev for choices, test touched once.

Examples:
    python bench/quality.py --sets helpdesk
    python bench/quality.py --data DIR --sets sst2-sentences sst2 --seeds 0 1 2 --workers 2
    python bench/quality.py --data DIR --sets mrpc stsb cola banking77 --layers 3
    python bench/quality.py --data DIR --sets helpdesk-zh chnsenticorp waimai tnews tnews-labelled

DIR holds a folder for each set; bench/README.md says which, where to get them, how they are cut and
by which metric they are judged. A column such as ``test_student`` is that metric, ``metric`` its
name; figures of a second one end in its name. Where there is no test split, dev is all there is.
Interrupted, the same command goes on where it stopped; students that stand in bench/results
already, made with the same settings, are not made again (``--again`` makes them).
"""

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

import _jobs
from _encoder import DEPTH
from _sets import ENCODER_TEXT, SETS, digested, prepare
from _sets import settings as set_settings

HERE = Path(__file__).parent


def main() -> None:
    arguments = parse()
    if arguments.job:
        run_job(**json.loads(arguments.job))
        return
    if arguments.set and not arguments.name:
        sys.exit("other settings need a name for the results: --name")
    place_results(arguments)
    work = Path(arguments.work)
    for name in arguments.sets:
        source = prepare(name, arguments.data, work)
        students = missing(name, work, arguments)
        if students:
            make_encoder(name, work, arguments)
        seeds = list(dict.fromkeys(seed for seed, _ in students))
        for _ in make(name, source, seeds, students, work, arguments):
            write_results(name, source, work, arguments)
        write_results(name, source, work, arguments)


def make(
    name: str,
    source: str,
    seeds: list[int],
    students: list[tuple[int, int]],
    work: Path,
    arguments: argparse.Namespace,
) -> Iterator[None]:
    """Make the seeds' teachers, then students, by seed and layers; yield at each."""
    teachers = seeds if SETS[name].teachers or not seeds else [0]
    with ThreadPoolExecutor(arguments.workers) as pool:
        for jobs in ([(seed, 0) for seed in teachers], students):
            started = [pool.submit(start_job, name, source, *job, work, arguments) for job in jobs]
            for ended in as_completed(started):
                ended.result()
                yield


def missing(name: str, work: Path, arguments: argparse.Namespace) -> list[tuple[int, int]]:
    """Return seed and layers of the students that are not in the results yet."""
    from _results import read

    found = read(f"quality-{arguments.name or name}") or {"rows": []}
    layers = arguments.layers or list(SETS[name].epochs)
    wanted = [(seed, count) for seed in arguments.seeds for count in layers]
    if arguments.again:
        for seed, count in wanted:
            row_path(work, arguments.name or name, seed, count).unlink(missing_ok=True)
        return wanted
    for seed, count in wanted:
        path = row_path(work, arguments.name or name, seed, count)
        if path.is_file() and not same(name, json.loads(path.read_text()), arguments):
            sys.exit(f"{path.with_suffix('')} was made with other settings; remove it, and {path}")
    for row in found["rows"]:
        job = (row["seed"], row["layers"])
        if job in wanted and same(name, row, arguments):
            wanted.remove(job)
            path = row_path(work, arguments.name or name, *job)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row, indent=1), encoding="utf-8")
    return wanted


def same(name: str, row: dict[str, Any], arguments: argparse.Namespace) -> bool:
    """Whether a row's student was made with the epochs and settings that are asked for."""
    settings = row.get("settings") or {}
    return row.get("epochs") == epochs(name, row["layers"]) and settings == given(arguments)


def epochs(name: str, layers: int) -> list[float]:
    """Return the epochs of both stages; none where the recipe's hold."""
    return list(SETS[name].epochs.get(layers, ()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=["helpdesk"], choices=list(SETS))
    parser.add_argument("--layers", nargs="+", type=int, help="instead of the set's own")
    add_arguments(parser, "runs/quality")
    parser.add_argument("--name", help="name of the results with other settings")
    parser.add_argument("--again", action="store_true", help="make all students anew")
    return parser.parse_args()


def add_arguments(parser: argparse.ArgumentParser, work: str) -> None:
    """Add what the benchmarks that start jobs share."""
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--work", default=work, help="folder of the runs")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        help="other settings, as in layer_stage.attention=1",
    )
    parser.add_argument("--passages", type=int, default=16_000, help="for the Chinese encoder")
    parser.add_argument("--results", type=Path, help="folder of the results, for trials")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.set_defaults(name=None)


def place_results(arguments: argparse.Namespace) -> None:
    """Write results where the arguments say, if they do."""
    import _results

    _results.RESULTS = arguments.results or _results.RESULTS


def given(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the other settings, values as JSON."""
    return dict(pair.split("=", 1) for pair in arguments.set)


def make_encoder(name: str, work: Path, arguments: argparse.Namespace) -> None:
    """Train the encoder that the teachers of a Chinese set start from, unless another is named."""
    if not SETS[name].encoder or {"teacher.model", "teacher.bert"} & given(arguments).keys():
        return
    text = arguments.data / ENCODER_TEXT if arguments.data else None
    if text is None or not text.is_file():
        sys.exit(f"{name} needs --data DIR with {ENCODER_TEXT} in it, or --set of a teacher")
    out = encoder_folder(work)
    job = {"data": str(arguments.data), "work": str(work), "out": str(out), "text": str(text)}
    job |= {"passages": arguments.passages, "epochs": 1}
    done, log = out / "model.safetensors", out.with_suffix(".log")
    _jobs.start(str(HERE / "_encoder.py"), job, done, log, "encoder of the Chinese sets")


def encoder_folder(work: Path) -> Path:
    return work / "encoder-zh"


def start_job(
    name: str, source: str, seed: int, layers: int, work: Path, arguments: argparse.Namespace
) -> None:
    """Run one job in a process of its own: a student, or with 0 layers the seed's teacher."""
    title, settings = arguments.name or name, given(arguments)
    job = {"name": name, "source": source, "seed": seed, "layers": layers, "work": str(work)}
    job |= {"title": title, "settings": settings}
    if layers == 0:
        job |= teacher_job(name, title, settings)
    teacher = teacher_folder(work, name, title, seed, settings)
    row = row_path(work, title, seed, layers) if layers else teacher
    done = row if layers else row / "teacher" / "model.safetensors"
    what = f"{layers} layers" if layers else "teacher"
    _jobs.start(
        str(HERE / "quality.py"), job, done, row.with_suffix(".log"), f"{title} seed {seed}: {what}"
    )


def teacher_job(name: str, title: str, settings: dict[str, str]) -> dict[str, Any]:
    """Return what decides a teacher: students of several names and settings may learn from it."""
    own = {key: value for key, value in settings.items() if key.startswith("teacher.")}
    first = SETS[name].taught_as or name
    return {"name": first, "title": title if own else first, "settings": own}


def teacher_folder(work: Path, name: str, title: str, seed: int, settings: dict[str, str]) -> Path:
    """Return the run of the teacher that a seed's students learn from."""
    own = any(key.startswith("teacher.") for key in settings)
    if own and title == name:
        sys.exit("other settings of the teacher need a name for the results: --name")
    folder = title if own else SETS[name].taught_as or name
    return work / folder / f"seed-{seed if SETS[name].teachers else 0}-teacher"


def row_path(work: Path, name: str, seed: int, layers: int) -> Path:
    return work / name / f"seed-{seed}-layers-{layers}.json"


def load_recipe(name: str, settings: dict[str, Any]) -> Any:
    """Return a set's recipe with settings over it."""
    from tinybert.distill import recipe as recipes

    return recipes.load(HERE.parent / "recipes" / f"{SETS[name].recipe or name}.toml", settings)


def run_job(
    name: str, title: str, source: str, seed: int, layers: int, work: str, settings: dict[str, str]
) -> None:
    """Distil and ship one student and write its row; with 0 layers, teach its teacher."""
    from tinybert.distill.task import distill, teach

    chosen = {key: json.loads(value) for key, value in settings.items()}
    common = {**set_settings(name, source), "seed": seed}
    teacher = teacher_folder(Path(work), name, title, seed, settings)
    made_here = SETS[name].encoder and "teacher.model" not in chosen
    if layers == 0:
        common.pop("data.unlabelled", None)
        if made_here:
            common["teacher.model"] = str(encoder_folder(Path(work)))
            common |= {"teacher.pooling": "mean", "teacher.learning_rate": 5e-4}
        about = {key: value for key, value in chosen.items() if key.startswith("teacher.")}
        teach(load_recipe(name, {**common, **about, "out": str(teacher)}))
        return
    if lengths := epochs(name, layers):
        common |= dict(zip(("layer_stage.epochs", "prediction_stage.epochs"), lengths, strict=True))
    run = Path(work) / title / f"seed-{seed}-layers-{layers}"
    overrides = {
        **(below_mean(layers) if made_here else {"student.layers": layers}),
        "ship.baselines": SETS[name].label_only,
        **common,
        **chosen,
        "out": str(run),
        "teacher.model": str(teacher / "teacher"),
    }
    recipe = load_recipe(name, overrides)
    distill(recipe)
    row = {"set": name, "settings": settings, "seed": seed, "layers": layers, "epochs": lengths}
    row |= measure(name, run, teacher / "teacher", recipe)
    path = row_path(Path(work), title, seed, layers)
    path.write_text(json.dumps(row, indent=1), encoding="utf-8")


def below_mean(layers: int) -> dict[str, Any]:
    """Return a student of the layers below a teacher's mean; its last one learns that."""
    from tinybert.mapping import even_layers

    picked = even_layers(layers, DEPTH)
    return {"student.layers": picked, "student.mapping": (*(n + 1 for n in picked[:-1]), DEPTH + 1)}


def measure(name: str, run: Path, teacher: Path, recipe: Any) -> dict[str, Any]:
    """Ship a run's student; return dev and test quality of it and everything beside it."""
    from tinybert.artifact import read_card
    from tinybert.data import load_saved
    from tinybert.errors import ArtifactError
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize
    from tinybert.ship.verify import verify

    data, artifact = load_saved(run), run / "artifact"
    export(
        run / "student",
        artifact,
        max_length=recipe.max_length,
        pair=data.pair,
        labels=data.labels,
        task=data.task,
    )
    fp32 = (artifact / "onnx" / "model.onnx").stat().st_size
    quantize(artifact, table_bits=recipe.ship.table_bits)
    with suppress(ArtifactError):
        verify(artifact, run / "student", data, max_flips=1.0, max_drop=1.0)
    parity = read_card(artifact).parity
    int8 = (artifact / "onnx" / "model_quantized.onnx").stat().st_size
    found = {
        split: qualities(run, teacher, artifact, data, split, recipe.max_length)
        for split in data.splits()
        if split != "train"
    }
    row = figures(data.metric, SETS[name].also, found)
    row |= {"int8_mb": int8 / 1e6, "int8_of_fp32": int8 / fp32}
    row |= {"int8_dev_flips": parity["flip_rate"], "int8_passed": parity["passed"]}
    row["seconds"] = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
    return row


def figures(
    metric: str, also: tuple[str, ...], found: dict[str, dict[str, dict[str, float]]]
) -> dict[str, Any]:
    """Return a row's figures out of metrics by split and system; the last split is the judge."""
    row: dict[str, Any] = {"metric": metric}
    for split, systems in found.items():
        for system, metrics in systems.items():
            row[f"{split}_{system}"] = metrics[metric]
            row |= {f"{split}_{system}_{other}": metrics[other] for other in also}
    judge = list(found)[-1]
    teacher = row[f"{judge}_teacher"]
    row["kept"] = row[f"{judge}_student"] / teacher if teacher > 0 else None
    row["kept_on"] = judge
    return row


def qualities(
    run: Path, teacher: Path, artifact: Path, data: Any, split: str, max_length: int
) -> dict[str, dict[str, float]]:
    """Return the metrics of every system on a split."""
    from tinybert import baselines, metrics
    from tinybert.distill.infer import predict_logits
    from tinybert.ship.evaluate import evaluate

    found = {}
    places = {"teacher": teacher, "student": run / "student", "label_only": run / "label_only"}
    for system, place in places.items():
        if place.is_dir():
            logits = predict_logits(place, *data.texts(split), max_length=max_length)
            found[system] = metrics.measure(data, split, logits)
    found["int8"] = evaluate(artifact, data, split)
    found["tfidf"] = metrics.measure(data, split, baselines.tfidf(data, split))
    found["majority"] = baselines.majority(data, split)
    return found


def write_results(name: str, source: str, work: Path, arguments: argparse.Namespace) -> None:
    """Gather the rows that there are into ``bench/results``, so that an interruption loses none."""
    from _results import write

    layers = arguments.layers or SETS[name].epochs
    title = arguments.name or name
    paths = [row_path(work, title, seed, count) for count in layers for seed in arguments.seeds]
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    if not rows:
        return
    command = command_line("quality", name, arguments)
    command += f" --name {title}" if arguments.name else ""
    command += f" --layers {' '.join(map(str, layers))}" if arguments.layers else ""
    digest = _jobs.digest([digested(name, source)])
    print(f"wrote {write(f'quality-{title}', rows, command, digest)}")


def command_line(script: str, name: str, arguments: argparse.Namespace) -> str:
    """Return what was typed, as far as the benchmarks that start jobs share it."""
    needs = " --data DIR" if arguments.data else ""
    seeds = " ".join(map(str, arguments.seeds))
    command = f"python bench/{script}.py{needs} --sets {name} --seeds {seeds}"
    command += f" --passages {arguments.passages}" if SETS[name].encoder else ""
    return command + "".join(f" --set '{pair}'" for pair in arguments.set)


if __name__ == "__main__":
    main()
