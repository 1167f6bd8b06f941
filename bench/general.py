"""What general distillation adds to students, at a given number of steps.

Examples:
    python bench/general.py --data DIR --sets helpdesk mrpc --steps 1200
    python bench/general.py --data DIR --sets stsb --losses relations --seeds 0

DIR holds plain text in a folder ``unlabelled_en`` (the figures: ``simple_english_wikipedia.txt.xz``
there, Simple English Wikipedia, a paragraph a line, a blank line between articles), and the sets'
folders (see bench/README.md).

Students of two shapes, ``2-layers`` (as wide as the teacher) and ``4x312`` (the paper's,
projected), start from the teacher's layers and from random weights, each without and with general
distillation from the pretrained encoder before the task. Teachers, epochs and everything else are
those of bench/quality.py, whose work folder is used. One encoder of a shape and a start serves all
sets and seeds. Interrupted, the same command goes on where it stopped. Results: general-SET.json,
of the other losses general-SET-relations.json.
"""

import argparse
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _jobs
import quality
from _sets import SETS, digested, prepare

TEXT = "unlabelled_en/simple_english_wikipedia.txt.xz"
TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
SHAPES: dict[str, dict[str, Any]] = {
    "2-layers": {"layers": 2},
    "4x312": {"layers": 4, "hidden": 312, "heads": 12, "intermediate": 1200},
}
STARTS = ("teacher", "random")
ENGLISH = [name for name, wanted in SETS.items() if not wanted.encoder]


def main() -> None:
    arguments = parse()
    if arguments.job:
        run_encoder(**json.loads(arguments.job))
        return
    quality.place_results(arguments)
    work = Path(arguments.work)
    encoders = encoder_jobs(work, arguments)
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(start_encoder, encoders.values()))
    for name in arguments.sets:
        source = prepare(name, arguments.data, work)
        for (shape, start), encoder in encoders.items():
            for base in (None, Path(encoder["out"])):
                started = student_arguments(name, shape, start, base, arguments)
                students = quality.missing(name, work, started)
                seeds = list(dict.fromkeys(seed for seed, _ in students))
                for _ in quality.make(name, source, seeds, students, work, started):
                    pass
                write_results(name, source, encoders, work, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, help=f"plain text; DIR/{TEXT} if not given")
    parser.add_argument("--steps", type=int, default=1200, help="of general distillation")
    parser.add_argument("--losses", default="layers", choices=["layers", "relations"])
    parser.add_argument("--sets", nargs="+", default=["helpdesk"], choices=ENGLISH)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=STARTS)
    quality.add_arguments(parser, "runs/quality")
    arguments = parser.parse_args()
    if not arguments.job and not text_path(arguments):
        parser.error(f"wanted --data DIR with {TEXT} in it, or --text FILE")
    return arguments


def text_path(arguments: argparse.Namespace) -> Path | None:
    """Return the plain text to distil on."""
    return arguments.text or (arguments.data / TEXT if arguments.data else None)


def encoder_jobs(
    work: Path, arguments: argparse.Namespace
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the job of the encoder of each shape and start."""
    common = {"text": str(text_path(arguments)), "steps": arguments.steps}
    common |= {"losses": arguments.losses}
    return {
        (shape, start): {
            **common, "shape": shape, "start": start,
            "out": str(work / f"general-{shape}-{start}-{arguments.losses}-{arguments.steps}"),
        }
        for shape, start in itertools.product(arguments.shapes, arguments.starts)
    }  # fmt: skip


def start_encoder(job: dict[str, Any]) -> None:
    out = Path(job["out"])
    _jobs.start(__file__, job, out / "general.json", out.with_name(f"{out.name}.log"), out.name)


def run_encoder(out: str, text: str, shape: str, start: str, steps: int, losses: str) -> None:
    """Distil the pretrained encoder on plain text; one seed for all students."""
    from tinybert.distill import general_recipe
    from tinybert.distill.general import general

    chosen = {f"student.{name}": value for name, value in SHAPES[shape].items()}
    chosen |= {"teacher": TEACHER, "out": out, "corpus.texts": [text], "student.start": start}
    chosen |= {"training.steps": steps, "training.losses": losses}
    general(general_recipe.load(None, chosen))


def title(name: str, shape: str, start: str, base: Path | None) -> str:
    """Return where the runs of such students are in the work folder."""
    return f"{name}-{base.name if base else f'general-{shape}-{start}-none'}"


def student_arguments(
    name: str, shape: str, start: str, base: Path | None, arguments: argparse.Namespace
) -> argparse.Namespace:
    """Return the arguments with which bench/quality.py makes such students."""
    layers = SHAPES[shape]["layers"]
    sizes = {f"student.{key}": value for key, value in SHAPES[shape].items() if key != "layers"}
    settings = {"student.base": str(base)} if base else sizes | {"student.start": start}
    settings["ship.baselines"] = False
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    own = {"layers": [layers], "set": arguments.set + pairs, "again": False}
    return argparse.Namespace(**vars(arguments) | own | {"name": title(name, shape, start, base)})


def write_results(
    name: str,
    source: str,
    encoders: dict[tuple[str, str], dict[str, Any]],
    work: Path,
    arguments: argparse.Namespace,
) -> None:
    """Gather the rows that there are into ``bench/results/general-SET.json``."""
    import _results

    rows = []
    for (shape, start), encoder in encoders.items():
        for base in (None, Path(encoder["out"])):
            about: dict[str, Any] = {"shape": shape, "start": start, "general_steps": 0}
            if base:
                made = json.loads((base / "general.json").read_text(encoding="utf-8"))
                about |= {"general_steps": made["steps"], "general_tokens": made["tokens"]}
                about |= {"general_losses": arguments.losses}
            place = title(name, shape, start, base)
            for seed in arguments.seeds:
                path = quality.row_path(work, place, seed, SHAPES[shape]["layers"])
                if path.is_file():
                    row = json.loads(path.read_text(encoding="utf-8"))
                    row["settings"].pop("student.base", None)
                    rows.append(about | row)
    if not rows:
        return
    command = quality.command_line("general", name, arguments)
    command = command.replace(" --sets", f" --steps {arguments.steps} --sets")
    command += f" --losses {arguments.losses} --shapes {' '.join(arguments.shapes)}"
    command += f" --starts {' '.join(arguments.starts)}"
    command += f" --text {arguments.text.name}" if arguments.text else ""
    text = text_path(arguments)
    assert text is not None
    digest = _jobs.digest([digested(name, source)], text)
    kind = "" if arguments.losses == "layers" else f"-{arguments.losses}"
    print(f"wrote {_results.write(f'general-{name}{kind}', rows, command, digest)}")


if __name__ == "__main__":
    main()
