"""Sort texts by an artifact's answer and leave the unsure ones to people. Needs no PyTorch.

Example:
    python examples/predict.py runs/demo/artifact --at-least 0.8 < messages.txt
"""

import argparse
import sys
from collections import defaultdict

import tinybert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact")
    parser.add_argument("--at-least", type=float, default=0.8, help="probability to trust, 0 to 1")
    arguments = parser.parse_args()

    model = tinybert.load(arguments.artifact)
    texts = [line.strip() for line in sys.stdin if line.strip()]
    piles = defaultdict(list)
    for text, answer in zip(texts, model(texts), strict=True):
        sure = answer.score >= arguments.at_least
        piles[answer.label if sure else "(a person decides)"].append((answer.score, text))

    for label, pile in sorted(piles.items()):
        print(f"{label}: {len(pile)}")
        for score, text in sorted(pile, reverse=True):
            print(f"  {score:.2f}  {text}")


if __name__ == "__main__":
    main()
