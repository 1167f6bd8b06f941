"""Other tools beside this one: the same teacher, data and seeds as bench/quality.py.

Examples:
    pip install -r requirements/bench.txt
    python bench/quality.py --data DIR --sets mrpc --layers 3
    python bench/peers.py --data DIR --sets mrpc --layers 3

``textbrewer``: its GeneralDistiller makes a student of the same layers, copied from the teacher as
ours are, in as many steps of the same batches as both of our stages have together; hidden states of
the mapped layers and logits at temperature 8, as its documentation shows (of values: their squared
error), all weights trained, in bfloat16 where our stages compute in it. ``textbrewer-random``
starts from random weights. ``model2vec``: static embeddings of the encoder that the teacher was,
with its own classifier on single texts and a linear model on pairs; it learns from the labels of
train alone. Each keeps what is best on dev; test is measured once. Work folder and teachers are
those of bench/quality.py; teachers that it did not make are made. Results: peers-SET.json.
"""

import argparse
import json
import math
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _jobs
import quality
from _sets import SETS, digested, prepare, settings

SYSTEMS = ("textbrewer", "textbrewer-random", "model2vec")


def main() -> None:
    arguments = parse()
    if arguments.job:
        run_job(**json.loads(arguments.job))
        return
    quality.place_results(arguments)
    work = Path(arguments.work)
    for name in arguments.sets:
        source = prepare(name, arguments.data, work)
        quality.make_encoder(name, work, arguments)
        taught = arguments.seeds if set(arguments.systems) - {"model2vec"} else []
        for _ in quality.make(name, source, taught, [], work, arguments):
            pass
        wanted = jobs(name, source, work, arguments)
        with ThreadPoolExecutor(arguments.workers) as pool:
            list(pool.map(start_job, wanted))
        write_results(name, source, wanted, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=["helpdesk"], choices=list(SETS))
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--layers", type=int, default=3, help="of TextBrewer's students")
    parser.add_argument("--rate", type=float, help="TextBrewer's; our prediction stage's if none")
    quality.add_arguments(parser, "runs/quality")
    return parser.parse_args()


def jobs(name: str, source: str, work: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a job for each system and seed."""
    return [
        {
            "name": name,
            "source": source,
            "seed": seed,
            "system": system,
            "layers": None if system == "model2vec" else arguments.layers,
            "rate": None if system == "model2vec" else arguments.rate,
            "settings": quality.given(arguments),
            "work": str(work),
        }
        for system in arguments.systems
        for seed in arguments.seeds
    ]


def run_folder(job: dict[str, Any]) -> Path:
    """Return where a job works; its row stands beside it."""
    parts = [f"seed-{job['seed']}", job["system"]]
    parts += [f"layers-{job['layers']}"] if job["layers"] else []
    parts += [f"rate-{job['rate']:g}"] if job["rate"] else []
    return Path(job["work"]) / f"{job['name']}-peers" / "-".join(parts)


def row_path(job: dict[str, Any]) -> Path:
    run = run_folder(job)
    return run.with_name(f"{run.name}.json")


def start_job(job: dict[str, Any]) -> None:
    run, what = run_folder(job), f"{job['name']} seed {job['seed']}: {job['system']}"
    _jobs.start(__file__, job, row_path(job), run.with_name(f"{run.name}.log"), what)


def run_job(**job: Any) -> None:
    """Let one system learn a set and write its row."""
    from tinybert import metrics
    from tinybert.distill.texts import load_data

    name, work = job["name"], Path(job["work"])
    given = {key: json.loads(value) for key, value in job["settings"].items()}
    recipe = load_recipe(job, given)
    data = load_data(recipe, print)
    row = {"set": name, "settings": job["settings"], "seed": job["seed"], "layers": job["layers"]}
    row |= {"system": job["system"], "metric": data.metric}
    started = time.monotonic()
    if job["system"] == "model2vec":
        answer, about = static(recipe, data, work)
    else:
        answer, about = distilled(job, recipe, data)
    about["seconds"] = time.monotonic() - started
    for split in data.splits():
        if split != "train":
            found = metrics.measure(data, split, answer(split))
            row[split] = found[data.metric]
            row |= {f"{split}_{other}": found[other] for other in SETS[name].also}
    path = row_path(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row | about, indent=1), encoding="utf-8")


def load_recipe(job: dict[str, Any], given: dict[str, Any]) -> Any:
    """Return the recipe that bench/quality.py follows for the same students."""
    name, own = job["name"], settings(job["name"], job["source"])
    if SETS[name].encoder:
        own["teacher.model"] = str(quality.encoder_folder(Path(job["work"])))
    names = ("layer_stage.epochs", "prediction_stage.epochs")
    if job["layers"]:
        own |= dict(zip(names, quality.epochs(name, job["layers"]), strict=False))
        own["student.layers"] = job["layers"]
    return quality.load_recipe(name, {**own, **given, "seed": job["seed"]})


def static(recipe: Any, data: Any, work: Path) -> tuple[Any, dict[str, Any]]:
    """Return what gives model2vec's logits of a split, and what to say about it."""
    from _static import logits, size_mb, static_model
    from tinybert.distill.infer import resolve

    encoder = resolve(recipe.teacher.model)
    place = work / f"model2vec-{Path(recipe.teacher.model).name}"
    answer = logits(static_model(encoder, place), data, recipe.seed)
    return answer, {"steps": None, "mb": size_mb(place)}


def distilled(job: dict[str, Any], recipe: Any, data: Any) -> tuple[Any, dict[str, Any]]:
    """Return what gives the logits of TextBrewer's student, and what to say about it."""
    from transformers import set_seed

    from _textbrewer import train
    from tinybert.distill.infer import load_classifier, predict_logits
    from tinybert.student import make_student
    from tinybert.text import Tokenizer

    folder = quality.teacher_folder(
        Path(job["work"]), job["name"], job["name"], job["seed"], job["settings"]
    )
    teacher = load_classifier(folder / "teacher")
    tokenizer = Tokenizer(folder / "teacher", max_length=recipe.max_length)
    set_seed(recipe.seed)
    random = job["system"] == "textbrewer-random"
    student = make_student(teacher, recipe.student.layers, random=random)
    texts = all_texts(job, recipe, data)
    count, rate = (
        steps(recipe, len(texts), len(data.train)),
        job["rate"] or recipe.prediction_stage.learning_rate,
    )
    run = run_folder(job)
    train(
        student,
        teacher,
        tokenizer,
        data,
        texts,
        recipe,
        steps=count,
        rate=rate,
        folder=run / "stages",
    )
    shutil.rmtree(run / "stages")
    student.save_pretrained(run / "student")
    size = (run / "student" / "model.safetensors").stat().st_size / 1e6

    def answer(split: str) -> Any:
        asked, length = data.texts(split), recipe.max_length
        return predict_logits(student, *asked, max_length=length, tokenizer=tokenizer)

    return answer, {"steps": count, "rate": rate, "mb": size}


def all_texts(job: dict[str, Any], recipe: Any, data: Any) -> Any:
    """Return the texts that our student learns from: train's, augmented and unlabelled ones."""
    from tinybert.distill.texts import extend
    from tinybert.tables import read_table

    texts = data.train
    if recipe.augment.wanted:
        runs = Path(job["work"]) / job["name"]
        made = sorted(runs.glob(f"seed-{job['seed']}-layers-*/augmented.jsonl"))
        if not made:
            sys.exit(f"{runs} has no augmented texts: run bench/quality.py for {job['name']} first")
        texts = extend(texts, read_table(made[0]))
    return texts if data.unlabelled is None else extend(texts, data.unlabelled)


def steps(recipe: Any, count: int, labelled: int) -> int:
    """Return the steps of both stages on so many texts, of which some are the data's own."""
    found = 0
    for stage in (recipe.layer_stage, recipe.prediction_stage):
        there = labelled if stage.texts == "labelled" else count
        batches = math.ceil(min(stage.rows or there, there) / stage.batch_size)
        found += math.ceil(stage.epochs * batches)
    return found


def write_results(
    name: str, source: str, done: list[dict[str, Any]], arguments: argparse.Namespace
) -> None:
    """Gather the rows into ``bench/results/peers-SET.json``."""
    from _results import write

    rows = [json.loads(row_path(job).read_text(encoding="utf-8")) for job in done]
    command = quality.command_line("peers", name, arguments)
    command += f" --layers {arguments.layers} --systems {' '.join(arguments.systems)}"
    command += f" --rate {arguments.rate:g}" if arguments.rate else ""
    digest = _jobs.digest([digested(name, source)])
    packages = ("textbrewer", "model2vec", "scikit-learn")
    print(f"wrote {write(f'peers-{name}', rows, command, digest, packages=packages)}")


if __name__ == "__main__":
    main()
