"""The int8 peak of one core, and the share of it that the engine's matrix products reach.

Examples:
    python bench/peak.py
    python bench/peak.py --shape 4x312x12x1200 --show

``peak.cpp`` is compiled with the engine inside (g++ is wanted). The peak: instructions that
multiply and add bytes, on registers alone. The products: those of all layers, batch 32 of 25 tokens
each, on weights made up; *bare* leaves the sums as they fall, *products* applies scales and biases
as the engine does. Timed in turn, by the processor's own seconds; shares are medians of rounds.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from _results import write
from tinybert.engine import best_isa

SOURCE = Path(__file__).with_name("peak.cpp")
FLAGS = "-O3 -std=c++17 -pthread -ffp-contract=off -w"
# As the engine numbers them; the others have no peak here.
ISAS = {"avx2": 1, "avx512": 2}
ROWS = 32 * 25


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="3x384x12x1536", help="LAYERSxHIDDENxHEADSxINNER")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--show", action="store_true", help="print, write no file")
    arguments = parser.parse_args()
    if not shutil.which("g++"):
        raise SystemExit("no g++ here; it compiles what is measured")
    isas = [name for name in ISAS if best_isa() == "avx512" or name == best_isa()]
    if not isas:
        raise SystemExit(f"the engine runs as `{best_isa()}` here; wanted {' or '.join(ISAS)}")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        subprocess.run(["g++", *FLAGS.split(), str(SOURCE), "-o", str(program)], check=True)
        rows = [row(program, name, arguments.shape, arguments.rounds) for name in isas]
    print(*rows, sep="\n")
    if not arguments.show:
        command = f"python bench/peak.py --shape {arguments.shape} --rounds {arguments.rounds}"
        print(f"wrote {write('peak', rows, command)}")


def row(program: Path, isa: str, shape: str, rounds: int) -> dict[str, Any]:
    """Return an instruction set's speeds in 10^9 operations a second, and the shares."""
    layers, hidden, _, inner = shape.split("x")
    words = [str(ISAS[isa]), str(ROWS), layers, hidden, inner, str(rounds)]
    done = subprocess.run([str(program), *words], capture_output=True, text=True, check=True)
    found = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    peaks, bares, wholes = zip(*found, strict=True)
    return {
        "isa": isa,
        "shape": shape,
        "rows": ROWS,
        "rounds": rounds,
        "peak_gops": round(median(peaks), 1),
        "bare_gops": round(median(bares), 1),
        "products_gops": round(median(wholes), 1),
        "bare_share": round(median(b / p for b, p in zip(bares, peaks, strict=True)), 3),
        "products_share": round(median(w / p for w, p in zip(wholes, peaks, strict=True)), 3),
    }


if __name__ == "__main__":
    main()
