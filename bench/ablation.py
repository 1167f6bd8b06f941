"""What each part of the distillation is worth: the same students with one part changed.

Examples:
    python bench/ablation.py --data DIR --sets mrpc --seeds 0 1 2
    python bench/ablation.py --data DIR --sets stsb --layers 3 --variants whole no-layer-stage

``whole`` is the student of bench/quality.py, whose work folder and teachers are used. The others
differ from it in one thing each: without the layer stage; without the prediction stage; without
augmented texts (where the recipe has some); attention scores and embeddings learned in the layer
stage too, as in the paper; random weights to start from; the student's layers learn from the
teacher's last ones, or its first ones, copied from where they always are. A stage that is left out
is not made up for by more steps. Interrupted, the same command goes on where it stopped. Results:
ablation-SET.json.
"""

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import _jobs
import quality
from _sets import SETS, digested, prepare

WHOLE = "whole"


def main() -> None:
    arguments = parse()
    quality.place_results(arguments)
    work = Path(arguments.work)
    for name in arguments.sets:
        source = prepare(name, arguments.data, work)
        layers = arguments.layers or min(SETS[name].epochs)
        wanted = chosen(name, layers, arguments)
        restore(name, work, wanted)
        quality.make_encoder(name, work, arguments)
        for variant, settings in wanted.items():
            started = variant_arguments(name, variant, settings, layers, arguments)
            students = quality.missing(name, work, started)
            seeds = list(dict.fromkeys(seed for seed, _ in students))
            for _ in quality.make(name, source, seeds, students, work, started):
                write_results(name, source, layers, work, wanted, arguments)
        write_results(name, source, layers, work, wanted, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=["helpdesk"], choices=list(SETS))
    parser.add_argument("--layers", type=int, help="of the students; the set's smallest if none")
    parser.add_argument("--variants", nargs="+", help="these alone; all if none")
    quality.add_arguments(parser, "runs/quality")
    return parser.parse_args()


def chosen(name: str, layers: int, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the variants that were asked for, by name, with their settings."""
    found = variants(name, layers)
    asked = arguments.variants or list(found)
    if unknown := sorted(set(asked) - set(found)):
        raise SystemExit(f"{name} has no variant {unknown[0]}; it has {', '.join(found)}")
    return {variant: found[variant] for variant in found if variant in asked}


def variants(name: str, layers: int) -> dict[str, dict[str, Any]]:
    """Return what each variant of a set changes."""
    file = quality.HERE.parent / "recipes" / f"{SETS[name].recipe or name}.toml"
    augments = tomllib.loads(file.read_text(encoding="utf-8")).get("augment", {})
    found: dict[str, dict[str, Any]] = {
        WHOLE: {},
        "no-layer-stage": {"layer_stage.epochs": 0},
        "no-prediction-stage": {"prediction_stage.epochs": 0},
    }
    if augments.get("source", "none") != "none" or augments.get("pairs"):
        found["no-augmentation"] = {"augment.source": "none", "augment.pairs": 0}
    found["paper-losses"] = {"layer_stage.attention": 1, "layer_stage.embedding": 1}
    found["random-start"] = {"student.start": "random"}
    found["last-layers"] = {"student.mapping": "last"}
    found["first-layers"] = {"student.mapping": list(range(1, layers + 1))}
    return found


def title(name: str, variant: str) -> str:
    """Return where a variant's runs are in the work folder."""
    return f"{name}-ablation-{variant}"


def variant_arguments(
    name: str, variant: str, settings: dict[str, Any], layers: int, arguments: argparse.Namespace
) -> argparse.Namespace:
    """Return the arguments with which bench/quality.py makes a variant's students."""
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    pairs.append("ship.baselines=false")
    own = {"layers": [layers], "set": arguments.set + pairs, "again": False}
    return argparse.Namespace(**vars(arguments) | own | {"name": title(name, variant)})


def restore(name: str, work: Path, wanted: dict[str, dict[str, Any]]) -> None:
    """Put the rows of earlier results where those of finished students are.

    Of a seed all that are wanted or none: a teacher that is taught anew is another one.
    """
    from _results import read

    found: dict[int, dict[str, Any]] = {}
    for row in (read(f"ablation-{name}") or {"rows": []})["rows"]:
        if row["epochs"] == quality.epochs(name, row["layers"]):
            found.setdefault(row["seed"], {})[row["variant"]] = row
    for rows in found.values():
        for variant in wanted if set(wanted) <= set(rows) else ():
            row = rows[variant]
            path = quality.row_path(work, title(name, variant), row["seed"], row["layers"])
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(row, indent=1), encoding="utf-8")


def write_results(
    name: str,
    source: str,
    layers: int,
    work: Path,
    wanted: dict[str, dict[str, Any]],
    arguments: argparse.Namespace,
) -> None:
    """Gather the rows that there are into ``bench/results/ablation-SET.json``."""
    from _results import write

    rows = []
    for variant in wanted:
        for seed in arguments.seeds:
            path = quality.row_path(work, title(name, variant), seed, layers)
            if path.is_file():
                rows.append({"variant": variant, **json.loads(path.read_text(encoding="utf-8"))})
    if not rows:
        return
    command = quality.command_line("ablation", name, arguments) + f" --layers {layers}"
    command += f" --variants {' '.join(arguments.variants)}" if arguments.variants else ""
    digest = _jobs.digest([digested(name, source)])
    print(f"wrote {write(f'ablation-{name}', rows, command, digest)}")


if __name__ == "__main__":
    main()
