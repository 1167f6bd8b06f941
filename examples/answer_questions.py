"""From questions about contexts to an artifact that finds answers, on data made here.

Example:
    python examples/answer_questions.py --out runs/answers
"""

import argparse
import json
from itertools import permutations
from pathlib import Path

import tinybert
from tinybert.distill import recipe
from tinybert.ship.pipeline import distill

PEOPLE = ("Ann", "Omar", "Eva", "Tom")
PLACES = ("Rome", "Oslo", "Lima", "Kyoto")
CONTEXT = "{} lives in {} . {} lives in {} ."


def questions() -> list[dict[str, object]]:
    """Return questions in SQuAD's columns; some have no answer in their context."""
    rows = []
    for (a, b, absent), (here, there) in (
        (people, places) for people in permutations(PEOPLE, 3) for places in permutations(PLACES, 2)
    ):
        context = CONTEXT.format(a, here, b, there)
        for person, answers in ((a, [here]), (b, [there]), (absent, [])):
            starts = [context.index(answer) for answer in answers]
            row = {"question": f"where is {person} ?", "context": context}
            rows.append(row | {"answers": {"text": answers, "answer_start": starts}})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--recipe", help="TOML with any other setting")
    parser.add_argument("--out", default="runs/answers")
    arguments = parser.parse_args()

    data = Path(arguments.out).with_name(f"{Path(arguments.out).name}.jsonl")
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text("\n".join(map(json.dumps, questions())) + "\n", encoding="utf-8")
    overrides = {
        "data.source": str(data),
        "data.task": "answering",
        "teacher.model": arguments.teacher,
        "out": arguments.out,
    }
    run = distill(recipe.load(arguments.recipe, overrides))

    model = tinybert.load(run / "artifact")
    for question in ("where is Ann ?", "where is Eva ?"):
        answer = model.ask(question, "Ann lives in Oslo . Tom lives in Lima .")
        print(f"{question}  {answer.text or '(no answer)'}  {answer.score:.2f}")


if __name__ == "__main__":
    main()
