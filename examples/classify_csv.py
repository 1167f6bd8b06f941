"""From a CSV of labelled texts to an artifact, in Python.

Example:
    python examples/classify_csv.py messages.csv --text message --label intent --out runs/messages
"""

import argparse

import tinybert
from tinybert.distill import recipe
from tinybert.ship.pipeline import distill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--teacher", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--recipe", help="TOML with any other setting")
    parser.add_argument("--out", default="runs/csv")
    arguments = parser.parse_args()

    settings = recipe.load(
        arguments.recipe,
        {
            "data.source": arguments.csv,
            "data.text": arguments.text,
            "data.label": arguments.label,
            "teacher.model": arguments.teacher,
            "student.layers": arguments.layers,
            "out": arguments.out,
        },
    )
    run = distill(settings)

    model = tinybert.load(run / "artifact")
    for text in ("where is my parcel?", "I want my money back"):
        (answer,) = model([text])
        print(f"{answer.score:.2f}  {answer.label}  {text}")
    print(f"report: {run / 'report.html'}")


if __name__ == "__main__":
    main()
