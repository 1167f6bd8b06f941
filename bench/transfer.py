"""What unlabelled texts, and each source of augmented ones, are worth to a student.

Examples:
    python bench/transfer.py --data DIR --teacher bert-base-chinese --seeds 0 1 2
    python bench/transfer.py --data DIR --wordnet FOLDER --vectors FILE --copies 5

DIR holds TNEWS as FewCLUE cuts it (github.com/CLUEbenchmark/FewCLUE), headlines in 15 classes:
train.jsonl (about 1,200), dev.jsonl, test.jsonl and unlabeled.jsonl (20,000), with the columns
sentence and label_desc. For each seed a teacher is fine-tuned on train; each student has the same
size, start, teacher and number of steps and differs in its texts alone. Without --teacher the
teacher is made here: an encoder trained on masked words of all titles and then fine-tuned. It is a
weak one; its rows say `scratch`. Interrupted, the same command goes on where it stopped.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILES = ("train.jsonl", "dev.jsonl", "test.jsonl", "unlabeled.jsonl")
BATCH = 32


def main() -> None:
    arguments = parse()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    work = Path(arguments.work)
    teacher = arguments.teacher or str(encoder(arguments, work / "scratch"))
    rows = []
    for seed in arguments.seeds:
        taught = fine_tuned(arguments, work / f"seed-{seed}", teacher, seed)
        for name in conditions(arguments, own_mlm=arguments.teacher is None):
            rows.append(job(arguments, work / f"seed-{seed}", taught, teacher, name, seed))
            print(json.dumps(rows[-1]), flush=True)
    write_results(rows, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with TNEWS")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--teacher", help="Chinese encoder: folder or Hugging Face id")
    parser.add_argument("--mlm", help="masked language model; without --teacher the one made here")
    parser.add_argument("--vectors", help="file of Chinese word vectors")
    parser.add_argument("--wordnet", help="folder of a Chinese WordNet")
    parser.add_argument("--copies", type=int, default=10, help="augmented texts a title")
    parser.add_argument("--rows", type=int, help="unlabelled titles; all if not given")
    parser.add_argument("--layers", type=int, default=2, help="layers of the student")
    parser.add_argument("--steps", type=int, default=2000, help="steps of each stage")
    parser.add_argument("--teach-epochs", type=float, default=8)
    parser.add_argument("--scratch-epochs", type=float, default=20, help="on masked words")
    parser.add_argument("--scratch-width", type=int, default=256)
    parser.add_argument("--work", default="runs/transfer", help="folder of the runs")
    parser.add_argument("--results", type=Path, help="folder of transfer.json, for trials")
    return parser.parse_args()


def conditions(arguments: argparse.Namespace, *, own_mlm: bool) -> list[str]:
    """Return which sources of texts can be compared."""
    names = ["none", "crops", "unlabelled", "embeddings"]
    names += ["mlm"] if arguments.mlm or own_mlm else []
    names += [name for name in ("vectors", "wordnet") if getattr(arguments, name)]
    return names


def common(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return the settings that every run shares."""
    return {
        "data.source": str(arguments.data),
        "data.text": "sentence",
        "data.label": "label_desc",
        "data.drop_leaks": True,
        "max_length": 48,
        "seed": seed,
    }


def fine_tuned(arguments: argparse.Namespace, work: Path, teacher: str, seed: int) -> str:
    """Return the folder of a seed's teacher."""
    from tinybert.distill import recipe as recipes
    from tinybert.distill.task import teach

    settings = common(arguments, seed) | {"out": str(work / "teacher"), "teacher.model": teacher}
    settings |= {"teacher.epochs": arguments.teach_epochs, "teacher.teach": "always"}
    return str(teach(recipes.load(None, settings)))


def job(
    arguments: argparse.Namespace, work: Path, taught: str, encoder: str, name: str, seed: int
) -> dict[str, Any]:
    """Distil one student and return its row.

    Augmented texts are written first and then read as unlabelled ones, so that the number of texts,
    and with it the epochs that make up the steps, is known before the run.
    """
    from tinybert.distill import recipe as recipes
    from tinybert.distill.augment import augment
    from tinybert.distill.task import distill

    path = work / f"{name}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    settings = common(arguments, seed) | {"teacher.model": taught, "teacher.teach": "never"}
    if name == "unlabelled":
        settings["data.unlabelled"] = str(arguments.data / "unlabeled.jsonl")
        settings["data.unlabelled_rows"] = arguments.rows
    elif name not in ("none", "crops"):
        made = work / f"{name}.jsonl"
        more = {"augment.source": name, "augment.copies": arguments.copies}
        if name != "embeddings":
            more[f"augment.{name}"] = getattr(arguments, name) or encoder
        if not made.is_file():
            augment(recipes.load(None, settings | more), made)
        settings["data.unlabelled"] = str(made)
    settings |= {"student.layers": arguments.layers, "student.crops": 4 if name == "crops" else 0}
    count = texts(settings)
    epochs = arguments.steps * BATCH / count
    run = work / name
    settings |= {"layer_stage.epochs": epochs, "prediction_stage.epochs": epochs}
    settings |= {"out": str(run), "ship.baselines": False}
    distill(recipes.load(None, settings))
    row = {"texts": name, "seed": seed, "count": count, "steps": arguments.steps}
    row |= {"layers": arguments.layers, "teacher": teacher_name(arguments)}
    row |= measure(run, taught)
    path.write_text(json.dumps(row, indent=1), encoding="utf-8")
    return row


def texts(settings: dict[str, Any]) -> int:
    """Return how many texts a run will learn from."""
    from tinybert.distill import recipe as recipes
    from tinybert.distill.crops import add_crops
    from tinybert.distill.texts import load_data

    recipe = recipes.load(None, settings)
    data = load_data(recipe, lambda _: None)
    rows = add_crops(data.train, recipe.student.crops, seed=recipe.seed)
    return len(rows) + len(data.unlabelled or ())


def measure(run: Path, taught: str) -> dict[str, float]:
    """Return accuracy of student and teacher, and how often they agree, on dev and test."""
    import numpy as np

    from tinybert.data import load_saved
    from tinybert.distill.infer import predict_logits

    row: dict[str, float] = {}
    for split, rows in load_saved(run).splits().items():
        if split == "train":
            continue
        asked = list(rows["text"])
        targets = np.asarray(rows["label"])
        student, teacher = (
            predict_logits(model, asked, max_length=48).argmax(axis=1)
            for model in (run / "student", taught)
        )
        row[f"{split}_student"] = float((student == targets).mean())
        row[f"{split}_teacher"] = float((teacher == targets).mean())
        row[f"{split}_agree"] = float((student == teacher).mean())
    return row


def encoder(arguments: argparse.Namespace, folder: Path) -> Path:
    """Train an encoder on masked words of the titles; return its folder."""
    from _encoder import train

    print("no --teacher: an encoder from scratch, on masked words", flush=True)
    titles = [
        json.loads(line)["sentence"]
        for name in ("train.jsonl", "unlabeled.jsonl")
        for line in (arguments.data / name).read_text(encoding="utf-8").splitlines()
    ]
    width, epochs = arguments.scratch_width, arguments.scratch_epochs
    return train(titles[: arguments.rows], folder, epochs=epochs, width=width, cut=48)


def teacher_name(arguments: argparse.Namespace) -> str:
    """Return what the rows call the teacher."""
    return Path(arguments.teacher).name if arguments.teacher else "scratch"


def write_results(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Write ``bench/results/transfer.json``."""
    import _results

    if arguments.results:
        _results.RESULTS = arguments.results
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((arguments.data / name).read_bytes())
    command = f"python bench/transfer.py --data DIR --seeds {' '.join(map(str, arguments.seeds))}"
    given = {name: getattr(arguments, name) for name in ("teacher", "mlm", "vectors", "wordnet")}
    command += "".join(f" --{name} {Path(path).name}" for name, path in given.items() if path)
    numbers = (
        "copies",
        "rows",
        "layers",
        "steps",
        "teach_epochs",
        "scratch_epochs",
        "scratch_width",
    )
    for name in numbers:
        if getattr(arguments, name) is not None:
            command += f" --{name.replace('_', '-')} {getattr(arguments, name):g}"
    print(f"wrote {_results.write('transfer', rows, command, digest.hexdigest())}")


if __name__ == "__main__":
    main()
