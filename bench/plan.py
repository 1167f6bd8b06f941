"""A plan of real size, run to its end: what it tried, what it chose, and that one's test figure.

Examples:
    python bench/plan.py --sets helpdesk --max-mb 4 --max-ms 0.5 --keep 0.98 --minutes 30
    python bench/plan.py --data DIR --sets banking77 --max-mb 4 --max-ms 0.5 --keep 0.98

The candidates are ``tinybert plan``'s own, and word embeddings of 4 bits beside those of 8; recipe,
data and the teacher of seed 0 are those of bench/quality.py. The choice is made on dev; test is
measured once, on the artifact that was chosen. Interrupted, the same command goes on where it
stopped. Results: plan-SET.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import _jobs
import quality
from _results import write
from _sets import SETS, digested, prepare, settings

SPACE = {"ship.table_bits": [8, 4]}
TOLD = ("verdict", "chosen", "limits", "metric", "test", "parameters")
KEPT = ("name", "mb", "ms", "measured", "quality", "artifact", "state")


def main() -> None:
    arguments = parse()
    quality.place_results(arguments)
    for name in arguments.sets:
        plan_set(name, Path(arguments.work), arguments)


def plan_set(name: str, work: Path, arguments: argparse.Namespace) -> None:
    """Plan a student for a set and write its results."""
    source = prepare(name, arguments.data, work)
    quality.make_encoder(name, work, arguments)
    for _ in quality.make(name, source, [0], [], work, arguments):
        pass
    about = planned(name, source, work, arguments)
    shown = [one for one in about["candidates"] if one["quality"]]
    states = [one["state"] for one in about["candidates"]]
    more = {key: about[key] for key in TOLD}
    more["states"] = {state: states.count(state) for state in sorted(set(states))}
    rows = [{"set": name, "seed": 0} | {key: one[key] for key in KEPT} for one in shown]
    digest = _jobs.digest([digested(name, source)])
    command = command_line(name, arguments)
    print(f"wrote {write(f'plan-{name}', rows, command, digest, more=more)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=["helpdesk"], choices=list(SETS))
    parser.add_argument("--max-mb", type=float)
    parser.add_argument("--max-ms", type=float)
    parser.add_argument("--keep", type=float)
    parser.add_argument("--minutes", type=float)
    quality.add_arguments(parser, "runs/quality")
    return parser.parse_args()


def planned(name: str, source: str, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what ``plan.json`` holds, and what the chosen artifact answers on test."""
    from tinybert.artifact import read_card
    from tinybert.data import load_saved
    from tinybert.ship.evaluate import evaluate
    from tinybert.ship.planner import plan

    out = work / f"{name}-plan"
    teacher = quality.teacher_folder(work, name, name, 0, {}) / "teacher"
    given = {key: json.loads(value) for key, value in quality.given(arguments).items()}
    common = {**settings(name, source), **given, "seed": 0}
    recipe = quality.load_recipe(name, {**common, "out": str(out), "teacher.model": str(teacher)})
    limits = {key: getattr(arguments, key) for key in ("max_mb", "max_ms", "keep", "minutes")}
    plan(recipe, **limits, space=SPACE, say=lambda line: print(line, flush=True))
    about = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    data, artifact = load_saved(out / "shared"), out / "artifact"
    judge = list(data.splits())[-1]
    about["test"] = {"split": judge, **evaluate(artifact, data, judge)}
    about["parameters"] = read_card(artifact).parameters
    return dict(about)


def command_line(name: str, arguments: argparse.Namespace) -> str:
    """Return what was typed."""
    needs = " --data DIR" if SETS[name].folder else ""
    pairs = (("--max-mb", "max_mb"), ("--max-ms", "max_ms"), ("--keep", "keep"))
    pairs += (("--minutes", "minutes"),)
    given = "".join(
        f" {flag} {getattr(arguments, key):g}" for flag, key in pairs if getattr(arguments, key)
    )
    command = f"python bench/plan.py{needs} --sets {name}{given}"
    return command + "".join(f" --set '{pair}'" for pair in arguments.set)


if __name__ == "__main__":
    main()
