"""How long the demonstration takes on this machine, all its cores, and what each stage took.

Examples:
    python bench/demo.py
    python bench/demo.py --rounds 3

Each round is `tinybert demo` in a process of its own, with an empty folder and an empty cache of
teacher outputs: what `make demo` does once everything is installed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _results import write


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1, help="demonstrations, one after another")
    rounds = parser.parse_args().rounds
    rows = []
    for number in range(1, rounds + 1):
        rows.append({"round": number, **run()})
        print(rows[-1], flush=True)
    command = f"python bench/demo.py --rounds {rounds}"
    print(f"wrote {write('demo', rows, command, threads=os.cpu_count() or 1)}")


def run() -> dict[str, Any]:
    """Return the seconds of one demonstration and of its stages, and its accuracies on dev."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        started = time.monotonic()
        subprocess.run(
            [Path(sys.executable).with_name("tinybert"), "demo", "--no-open", "--out", out],
            check=True,
            env={**os.environ, "TINYBERT_CACHE": f"{folder}/cache"},
            stdout=subprocess.DEVNULL,
        )
        seconds = time.monotonic() - started
        about = json.loads((out / "run.json").read_text(encoding="utf-8"))
    stages = {f"{name}_s": round(value, 1) for name, value in about["stages"].items()}
    dev = {f"dev_{name}": round(found["accuracy"], 4) for name, found in about["dev"].items()}
    return {"seconds": round(seconds, 1), **stages, **dev}


if __name__ == "__main__":
    main()
