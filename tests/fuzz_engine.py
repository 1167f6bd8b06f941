"""Feeds damaged files and wild ids to the engine under AddressSanitizer and UBSan.

Example: python tests/fuzz_engine.py --rounds 3000

Needs g++ with its sanitizers. Ends with 0 where each round gave an answer or an error of ours.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).parents[1] / "src" / "tinybert" / "engine" / "engine.cpp"
FLAGS = "-O1 -g -std=c++17 -pthread -ffp-contract=off -fPIC -shared -w -fno-omit-frame-pointer"
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        fuzz(Path(arguments.folder), arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        found = subprocess.run(
            ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
        )
        env = os.environ | {"LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
        again = [sys.executable, __file__, "--folder", name, "--rounds", str(arguments.rounds)]
        sys.exit(subprocess.run(again, env=env, check=False).returncode)


def prepare(folder: Path) -> None:
    """Write int8 files of a tagger and three classifiers, and the library with its sanitizers."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    from tiny_models import save_model
    from tinybert.artifact import INT8
    from tinybert.pruned import keep_heads, keep_neurons, widened
    from tinybert.ship import quantize as quantize_room
    from tinybert.ship.export import export

    quantize_room.SMALL = 2000
    for name in ("classifier", "tagger", "roberta", "pruned"):
        head = "word" if name == "tagger" else "text"
        names = ("B-PER", "I-PER", "O") if head == "word" else ("a", "b", "c")
        place = folder / name
        save_model(place / "model", 3, 1, 0, names, spread=0.2, width=128, head=head)
        if name == "roberta":
            torch.manual_seed(0)
            config = RobertaConfig(
                vocab_size=16, hidden_size=128, num_hidden_layers=1, num_attention_heads=2,
                intermediate_size=256, max_position_embeddings=34, num_labels=3, type_vocab_size=1,
            )  # fmt: skip
            RobertaForSequenceClassification(config).save_pretrained(place / "model")
        if name == "pruned":
            model = AutoModelForSequenceClassification.from_pretrained(place / "model")
            keep_heads(model, [[1]])
            keep_neurons(model, [list(range(40))])
            widened(model).save_pretrained(place / "model")
        export(place / "model", place / "artifact", max_length=32)
        quantize_room.quantize(place / "artifact")
        (place / "artifact" / INT8).rename(folder / f"{name}.onnx")
    library = str(folder / "_engine.so")
    command = ["g++", *FLAGS.split(), *SANITIZE.split(), str(SOURCE), "-o", library]
    subprocess.run(command, check=True)


def fuzz(folder: Path, rounds: int) -> None:
    """Damage the files, draw ids, run; anything but an answer or our own error ends the process."""
    from tinybert.engine import Engine, UnknownGraphError, native
    from tinybert.errors import ArtifactError

    native.__file__ = str(folder / "native.py")
    random = np.random.default_rng(0)
    whole = [path.read_bytes() for path in sorted(folder.glob("*.onnx"))]
    isas = [name for name in ("plain", "avx2", "avx512", "neon") if runs(native, name)]
    counts = {"answered": 0, "refused": 0}
    path = folder / "damaged"
    for number in range(rounds):
        content = bytearray(whole[number % len(whole)])
        damage(content, number // len(whole) % 4, random)
        path.write_bytes(content)
        lengths = random.integers(0, 40, random.integers(1, 6))
        high = 16 if number % 3 else 2**31 - 1
        ids = [random.integers(-2 if number % 5 == 0 else 0, high, n).tolist() for n in lengths]
        types = [random.integers(0, 2 if number % 7 else 9, n).tolist() for n in lengths]
        try:
            engine = Engine(path, max_length=32, isa=isas[number % len(isas)])
            engine.run(ids, types, threads=1 + number % 3)
            counts["answered"] += 1
        except (ArtifactError, UnknownGraphError):
            counts["refused"] += 1
    print(f"{rounds:,} rounds on {', '.join(isas)}: {counts}")


def runs(native, name: str) -> bool:
    """Whether this processor has an instruction set."""
    return bool(native._library().tinybert_runs(native._ISAS[name]))


def damage(content: bytearray, kind: int, random: np.random.Generator) -> None:
    """Leave a file whole, cut it short, or change some of its bytes, often near its end."""
    if kind == 1:
        del content[random.integers(len(content)) :]
    elif kind > 1:
        near = len(content) if kind == 2 else min(30_000, len(content))
        for at in random.integers(0, near, 8):
            content[-at - 1] = random.integers(256)


if __name__ == "__main__":
    main()
