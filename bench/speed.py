"""Texts a second of one artifact: the own engine against ONNX Runtime and PyTorch.

Examples:
    tinybert demo --out runs/demo --no-open
    python bench/speed.py --run runs/demo --texts sst2/dev.tsv

Everything is timed from texts to logits, tokenizing included, in one process. Each round runs
every contestant once on the same texts, one after another, so that what else the machine does meets
all of them; a ratio is the median over rounds of the engine's speed over a contestant's. ``mix``
rows take texts as they come, ``BxT`` rows take B texts of T tokens each.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

import tinybert
from _results import write
from tinybert.artifact import hash_file, read_card
from tinybert.text import Tokenizer, pad_batch

RECTANGLES = ((1, 25), (1, 128), (8, 25), (32, 25), (8, 128), (8, 256))
BATCHES = (1, 8, 32)
Answer = Callable[[Sequence[str]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a finished run")
    parser.add_argument("--texts", type=Path, required=True, help="a table, texts last in a row")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--show", action="store_true", help="print, write no file")
    arguments = parser.parse_args()
    lines = arguments.texts.read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[-1] for line in lines][:256]
    rows = []
    for threads in arguments.threads:
        contestants = opened(arguments.run, threads)
        for name, batches in loads(arguments.run, texts):
            rows.append({"load": name, "threads": threads} | timed(contestants, batches, arguments))
            print(rows[-1])
    if not arguments.show:
        artifact = arguments.run / "artifact"
        command = f"python bench/speed.py --run runs/{arguments.run.name} --texts sst2/dev.tsv"
        command += f" --rounds {arguments.rounds}"
        print(write("speed", rows, command, hash_file(artifact / read_card(artifact).model)))


def opened(run: Path, threads: int) -> dict[str, Answer]:
    """Return every contestant as a function of a batch of texts; the engine is the first."""
    torch.set_num_threads(threads)
    artifact = run / "artifact"
    models = {
        name: tinybert.load(artifact, threads=threads, engine=name) for name in ("native", "onnx")
    }
    network = AutoModelForSequenceClassification.from_pretrained(run / "student").eval()
    tokenizer = Tokenizer(artifact, max_length=read_card(artifact).max_length)

    def eager(texts: Sequence[str]) -> torch.Tensor:
        batch = pad_batch(*tokenizer.encode(texts, None), tokenizer.pad_id)
        with torch.inference_mode():
            logits: torch.Tensor = network(
                **{name: torch.from_numpy(values) for name, values in batch.items()}
            ).logits
        return logits

    return {name: model.logits for name, model in models.items()} | {"torch": eager}


def loads(run: Path, texts: Sequence[str]) -> list[tuple[str, list[list[str]]]]:
    """Return what is answered, by name: batches of texts."""
    limit = read_card(run / "artifact").max_length
    found = []
    for size in BATCHES:
        count = min(len(texts), 32 if size == 1 else 128)
        batches = [list(texts[i : i + size]) for i in range(0, count, size)]
        found.append((f"mix at {size}", batches))
    for size, tokens in RECTANGLES:
        if tokens <= limit:
            found.append((f"{size}x{tokens}", [[" ".join(["the"] * (tokens - 2))] * size]))
    return found


def timed(
    contestants: dict[str, Answer], batches: Sequence[list[str]], arguments: argparse.Namespace
) -> dict[str, float]:
    """Return milliseconds a text, and how many times the engine is faster than each other."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds + 1):
        for name, answer in contestants.items():
            start = perf_counter()
            for batch in batches:
                answer(batch)
            seconds[name].append(perf_counter() - start)
    count = sum(map(len, batches))
    row = {f"{name}_ms": round(1e3 * median(s[1:]) / count, 4) for name, s in seconds.items()}
    own = seconds["native"][1:]
    for name in [name for name in contestants if name != "native"]:
        ratios = [b / a for a, b in zip(own, seconds[name][1:], strict=True)]
        row[f"faster_than_{name}"] = round(median(ratios), 2)
    return row


if __name__ == "__main__":
    main()
