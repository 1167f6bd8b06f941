"""From a cold process to the first answer: the artifact against torch + transformers.

Examples:
    tinybert demo --out runs/demo --no-open
    python bench/cold.py --run runs/demo

Both load the same student: the artifact through ``tinybert.load``, the Hugging Face folder through
transformers on PyTorch. Each round starts one fresh process of each kind, one thread each; files
are in the system's cache. Timed from the start of the process to its first answer.
"""

import argparse
from pathlib import Path
from typing import Any

from _results import write
from tinybert.artifact import hash_file, read_card
from tinybert.data import load_saved
from tinybert.ship.measure import Figures, Subject, measure
from tinybert.ship.systems import open_run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a finished run")
    parser.add_argument("--rounds", type=int, default=11, help="processes of each kind")
    arguments = parser.parse_args()
    run, data = open_run(arguments.run), load_saved(arguments.run)
    rows = data.test or data.dev
    artifact = run.folder / "artifact"
    subjects = [
        Subject("artifact", "artifact", artifact),
        Subject("torch + transformers", "torch", run.folder / "student"),
    ]
    found = measure(
        subjects,
        list(rows["text"]),
        list(rows["text2"]) if data.pair else None,
        max_length=run.max_length,
        singles=50,
        batched=96,
        rounds=arguments.rounds,
    )
    results = [row(name, figures) for name, figures in found.items()]
    for result in results:
        print(result)
    command = f"python bench/cold.py --run runs/{arguments.run.name} --rounds {arguments.rounds}"
    path = write("cold", results, command, hash_file(artifact / read_card(artifact).model))
    print(f"wrote {path}")


def row(name: str, figures: Figures) -> dict[str, Any]:
    """Return one row, rounded to what the measurement can tell."""
    low, high = figures.load_range_s
    values = {
        "system": name,
        "first_answer_s": figures.load_s,
        "first_answer_s_min": low,
        "first_answer_s_max": high,
        "first_answer_mb": figures.first_mb,
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "texts_per_s": figures.texts_per_s,
        "peak_mb": figures.peak_mb,
        "rounds": figures.rounds,
    }
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}


if __name__ == "__main__":
    main()
