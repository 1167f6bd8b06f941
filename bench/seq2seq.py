"""Written texts: captions to German (multi30k) and Chinese (3am), subject lines of messages.

Examples:
    python bench/seq2seq.py --data DIR --sets multi30k 3am --seeds 0
    python bench/seq2seq.py --sets helpdesk --set training.epochs=20

DIR holds a folder for each set but the two of ``helpdesk``, and the text that a small encoder for
the Chinese one learns from (see bench/README.md). For each set and seed: the teacher and the
student of the set's recipe; ``int8``, the artifact by ``tinybert.load``; ``alone``, a student of
the same start that learns from the references without the teacher's texts and distributions, in as
many steps (not of ``aeslc``, where it takes an hour); ``scratch``, of ``3am``, the same from random
weights; and what needs no model: of summaries the source's first sentence and its first eight words
(of Chinese, sixteen characters), of translations the source as it is. The teacher of a seed is
trained once. Dev chooses the epoch, test is measured once.
Interrupted, the same command goes on where it stopped. Results: seq2seq-SET.json.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _jobs
import quality

HERE = Path(__file__).parent
ALONE = {"targets.references": 1.0, "targets.word_level": 0.0, "augment.source": "none"}
ALONE |= {"training.hidden": 0.0, "training.cross_attention": 0.0}
STARTS = {"alone": "teacher", "scratch": "random"}


@dataclass(frozen=True)
class Written:
    """A set of pairs.

    Args:
        recipe: Name of its recipe.
        folder: Its folder in DIR; None: embedded.
        files: By setting, its files in the folder.
        without: Students that learn from the references alone, see ``STARTS``.
        encoder: Whether the teacher begins as an encoder that is made here (see ``_encoder``).
    """

    recipe: str
    folder: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ("alone",)
    encoder: bool = False


SETS = {
    "helpdesk": Written("summarize-helpdesk"),
    "helpdesk-zh": Written("summarize-helpdesk-zh", encoder=True),
    "multi30k": Written(
        "translate-multi30k",
        "multi30k",
        {"path": "train.tsv", "dev": "dev.tsv", "test": "test_2016_flickr.tsv"},
    ),
    "3am": Written(
        "translate-3am",
        "3am_en_zh",
        {"path": "train.tsv", "test": "dev.tsv"},
        without=("alone", "scratch"),
    ),
    "aeslc": Written(
        "summarize-aeslc",
        "aeslc",
        {"path": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
        without=(),
    ),
}


def main() -> None:
    arguments = parse()
    if arguments.job:
        run_job(**json.loads(arguments.job))
        return
    quality.place_results(arguments)
    for name in arguments.sets:
        done: list[dict[str, Any]] = []
        if SETS[name].encoder:
            quality.make_encoder(name, Path(arguments.work), arguments)
        whole = jobs(name, arguments)
        for wanted in filter(None, (whole, without_jobs(whole))):
            with ThreadPoolExecutor(arguments.workers) as pool:
                list(pool.map(start_job, wanted))
            done += wanted
            write_results(name, done, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=["helpdesk"])
    quality.add_arguments(parser, "runs/seq2seq-bench")
    return parser.parse_args()


def jobs(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a job for each seed."""
    wanted = SETS[name]
    about = {"recipe": str(HERE.parent / "recipes" / f"{wanted.recipe}.toml")}
    about |= {"settings": quality.given(arguments), "set": name, "data": ""}
    if wanted.encoder:
        about["bert"] = str(quality.encoder_folder(Path(arguments.work)))
    if wanted.folder:
        if arguments.data is None or not (arguments.data / wanted.folder).is_dir():
            sys.exit(f"{name} needs --data DIR with a folder {wanted.folder} in it")
        about["data"] = str(arguments.data / wanted.folder)
    work = Path(arguments.work)
    return [{**about, "seed": s, "run": str(work / f"{name}-{s}")} for s in arguments.seeds]


def without_jobs(whole: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the jobs of students that learn from the references alone."""
    return [
        {**job, "run": f"{job['run']}-{name}", "teacher": f"{job['run']}/teacher", "called": name}
        for name in STARTS
        for job in whole
        if name in SETS[job["set"]].without
    ]


def row_path(job: dict[str, Any]) -> Path:
    return Path(f"{job['run']}.json")


def start_job(job: dict[str, Any]) -> None:
    _jobs.start(__file__, job, row_path(job), Path(f"{job['run']}.log"), Path(job["run"]).name)


def run_job(**job: Any) -> None:
    """Distil a student; a job with ``called`` learns without the teacher's texts."""
    from tinybert.distill import seq2seq_recipe
    from tinybert.ship.writing import seq2seq

    chosen = {key: json.loads(value) for key, value in job["settings"].items()}
    about: dict[str, Any] = {"seed": job["seed"], "out": job["run"]}
    if "bert" in job:
        about["teacher.bert"] = job["bert"]
    if job["data"]:
        files = SETS[job["set"]].files
        about |= {f"data.{key}": str(Path(job["data"]) / file) for key, file in files.items()}
    recipe = seq2seq_recipe.load(job["recipe"], {**about, **chosen})
    if "called" not in job:
        rows = measured(seq2seq(recipe), job)
    else:
        taught = {"teacher.bert": None, "teacher.model": job["teacher"], **ALONE}
        taught["student.start"] = STARTS[job["called"]]
        taught["training.epochs"] = recipe.training.epochs * targets_of_a_pair(recipe, job)
        alone = seq2seq_recipe.load(job["recipe"], {**about, **chosen, **taught})
        rows = measured(seq2seq(alone), job, only="student", called=job["called"])
    row_path(job).write_text(json.dumps(rows, indent=1), encoding="utf-8")


def targets_of_a_pair(recipe: Any, job: dict[str, Any]) -> float:
    """Return how many targets the seed's student learned from for each pair of train."""
    from tinybert.pairs import load_saved_pairs

    run = Path(job["teacher"]).parent
    rows = json.loads((run / "run.json").read_text(encoding="utf-8"))["rows"]
    pairs = len(load_saved_pairs(run).train)
    both = 0 < recipe.targets.references < 1
    return float(rows + pairs * both) / pairs


def measured(
    run: Path, job: dict[str, Any], *, only: str | None = None, called: str | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a run's report; ``dev`` is what its artifact was checked by."""
    from tinybert.artifact import read_card

    parity = read_card(run / "artifact").parity
    dev = {"student": parity["torch"], "artifact": parity["artifact"]}
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    about = {"set": job["set"], "seed": job["seed"], "settings": job["settings"]}
    about |= {"metric": report["metric"], "signatures": report["signatures"]}
    names = {"artifact": "int8"}
    return [
        about
        | {"system": called or names.get(row["system"], row["system"])}
        | {"mb": row["file_mb"] or 0.0, "dev": dev.get(row["system"])}
        | row["quality"]
        for row in report["systems"]
        if only in (None, row["system"])
    ]


def write_results(name: str, done: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Gather the rows into ``bench/results/seq2seq-SET.json``."""
    from _results import write

    rows = [row for job in done for row in json.loads(row_path(job).read_text(encoding="utf-8"))]
    where = "--data DIR " if done[0]["data"] or "bert" in done[0] else ""
    seeds = " ".join(map(str, arguments.seeds))
    command = f"python bench/seq2seq.py {where}--sets {name} --seeds {seeds}"
    command += "".join(f" --set '{pair}'" for pair in arguments.set)
    digest = _jobs.digest([Path(done[0]["data"])]) if done[0]["data"] else None
    packages = ("ctranslate2", "sacrebleu")
    print(f"wrote {write(f'seq2seq-{name}', rows, command, digest, packages=packages)}")


if __name__ == "__main__":
    main()
