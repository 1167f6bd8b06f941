"""From pairs of texts to an artifact that translates, on data made here.

Example:
    python examples/translate_pairs.py --out runs/numbers
"""

import argparse
import random
from pathlib import Path

import tinybert
from tinybert.distill import seq2seq_recipe
from tinybert.ship.writing import seq2seq

WORDS = {"red": "rot", "blue": "blau", "cat": "Katze", "dog": "Hund", "and": "und", "12": "12"}
SMALL = {
    "task": "translation",
    "max_length": 24,
    "max_target": 24,
    "teacher.hidden": 32,
    "teacher.encoder_layers": 2,
    "teacher.decoder_layers": 2,
    "teacher.vocab_size": 340,
    "teaching.learning_rate": 5e-3,
    "teaching.batch_size": 16,
    "student.encoder_layers": 2,
    "student.decoder_layers": 1,
    "training.learning_rate": 5e-3,
    "training.batch_size": 16,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=600, help="pairs to make")
    parser.add_argument("--recipe", help="TOML with any other setting")
    parser.add_argument("--out", default="runs/numbers")
    arguments = parser.parse_args()

    pick = random.Random(0)
    texts = [pick.choices(list(WORDS), k=pick.randint(1, 5)) for _ in range(arguments.rows)]
    lines = [f"{' '.join(row)}\t{' '.join(WORDS[word] for word in row)}" for row in texts]
    data = Path(arguments.out).with_name(f"{Path(arguments.out).name}.tsv")
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text("\n".join(["source\ttarget", *lines]) + "\n", encoding="utf-8")

    settings = {} if arguments.recipe else SMALL
    paths = {"data.path": str(data), "out": arguments.out}
    run = seq2seq(seq2seq_recipe.load(arguments.recipe, {**settings, **paths}))

    model = tinybert.load(run / "artifact")
    text = "red cat and blue dog"
    print(f"{text} → {model([text])[0]}")
    print(f"report: {run / 'report.html'}")


if __name__ == "__main__":
    main()
