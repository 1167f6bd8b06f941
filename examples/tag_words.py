"""From words with tags to an artifact that finds entities in texts, on data made here.

Example:
    python examples/tag_words.py --out runs/entities
"""

import argparse
from itertools import product
from pathlib import Path

import tinybert
from tinybert.distill import recipe
from tinybert.ship.pipeline import distill

PEOPLE = ("Ann", "Li Wei", "Tom Reed", "Maria", "Omar Khan", "Eva")
PLACES = ("Rome", "New York", "Oslo", "Cape Town", "Kyoto", "Lima")
SENTENCES = ("{} moved to {} .", "in {1} we met {0} .", "{} likes {} , they say .", "it rained .")


def tagged(sentence: str, person: str, place: str) -> str:
    """Return a sentence with a word and its BIO tag a line."""
    lines = []
    kinds = {person: "PER", place: "LOC"}
    for part in sentence.replace("{}", "{0}", 1).replace("{}", "{1}").split():
        text = part.format(person, place)
        for i, word in enumerate(text.split()):
            begin = "I" if i else "B"
            lines.append(f"{word}\t{begin}-{kinds[text]}" if text in kinds else f"{word}\tO")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--recipe", help="TOML with any other setting")
    parser.add_argument("--out", default="runs/entities")
    arguments = parser.parse_args()

    data = Path(arguments.out).with_name(f"{Path(arguments.out).name}.conll")
    data.parent.mkdir(parents=True, exist_ok=True)
    texts = [tagged(*parts) for parts in product(SENTENCES, PEOPLE, PLACES)]
    data.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    overrides = {
        "data.source": str(data),
        "data.task": "tagging",
        "teacher.model": arguments.teacher,
        "out": arguments.out,
    }
    run = distill(recipe.load(arguments.recipe, overrides))

    text = "Tom Reed moved to Cape Town."
    for entity in tinybert.load(run / "artifact")(text):
        print(f"{entity.label}  {entity.text}  {entity.start}-{entity.end}  {entity.score:.2f}")
    print(f"report: {run / 'report.html'}")


if __name__ == "__main__":
    main()
