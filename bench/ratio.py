"""Texts a second of an artifact beside its teacher and a BERT-base in PyTorch, from text to label.

Examples:
    python bench/ratio.py --run runs/messages
    python bench/ratio.py --run runs/quality/banking77/seed-0-layers-2 --batches 1 32
    python bench/ratio.py --run runs/quality/banking77-plan

On one thread, each contestant tokenizing for itself: the artifact through ``tinybert.load``,
teacher and BERT-base (random weights, the teacher's vocabulary) through transformers, padded to the
longest of a batch. They take turns, round after round; a ratio is the median over rounds. Texts are
those of the run's test split as they come. Results: ratio-RUN.json.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from _results import write
from _turns import leads, turns
from tinybert.artifact import hash_file, read_card
from tinybert.ship.costs import folder_mb

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
TEXTS = {1: 24, 32: 64}

PLAN = "plan.json"

Answer = Callable[[Sequence[str]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a finished run, or a plan")
    parser.add_argument("--batches", type=int, nargs="+", default=list(TEXTS), help="texts a call")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--name", help="of the results; the run's folder's if not given")
    arguments = parser.parse_args()
    rows = measure(arguments.run, arguments.batches, arguments.rounds)
    for row in rows:
        print(row)
    name = arguments.name or arguments.run.name
    artifact = arguments.run / "artifact"
    command = f"python bench/ratio.py --run RUN --rounds {arguments.rounds} --name {name}"
    digest = hash_file(artifact / read_card(artifact).model)
    more = {"artifact_mb": round(folder_mb(artifact), 3)}
    print(f"wrote {write(f'ratio-{name}', rows, command, digest, more=more)}")


def measure(run: Path, batches: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Return a row for each size of a batch."""
    import torch

    from tinybert.data import load_saved

    torch.set_num_threads(1)
    data = load_saved(run / "shared" if (run / PLAN).is_file() else run)
    if data.pair:
        raise SystemExit(f"{run} labels pairs; wanted a run of single texts")
    texts = [row["text"] for row in (data.test or data.dev)]
    answers = contestants(run)
    return [
        {"batch": size, "texts": TEXTS.get(size, 2 * size)}
        | spent(answers, texts[: TEXTS.get(size, 2 * size)], size, rounds)
        for size in batches
    ]


def contestants(run: Path) -> dict[str, Answer]:
    """Return who labels a batch of texts, by name."""
    from transformers import BertConfig, BertForSequenceClassification

    from tinybert import runtime
    from tinybert.distill.infer import load_classifier

    model: Any = runtime.load(run / "artifact", threads=1)
    folder = teacher_of(run)
    teacher = load_classifier(folder)
    base = BertConfig(
        vocab_size=teacher.config.vocab_size, num_labels=teacher.config.num_labels, **BASE
    )
    longest = read_card(run / "artifact").max_length
    return {
        "artifact": lambda texts: model(list(texts)),
        "teacher": in_torch(teacher, folder, longest),
        "bert_base": in_torch(BertForSequenceClassification(base), folder, longest),
    }


def teacher_of(run: Path) -> str:
    """Return the teacher's folder of a run, or of a plan."""
    if (run / PLAN).is_file():
        about = json.loads((run / PLAN).read_text(encoding="utf-8"))["teacher"]
        return str(about["folder"])
    return str(json.loads((run / "run.json").read_text(encoding="utf-8"))["teacher"])


def in_torch(network: Any, folder: str, longest: int) -> Answer:
    """Return a function that labels texts as one does with transformers."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network.eval()

    def answer(texts: Sequence[str]) -> Any:
        batch = tokenizer(
            list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        with torch.inference_mode():
            return network(**batch).logits.argmax(dim=-1).tolist()

    return answer


def spent(
    answers: dict[str, Answer], texts: Sequence[str], size: int, rounds: int
) -> dict[str, float]:
    """Return texts a second of each, and how many times the artifact's those of the others are."""
    parts = [texts[i : i + size] for i in range(0, len(texts), size)]

    def whole(answer: Answer) -> Callable[[Any], Any]:
        return lambda given: [answer(part) for part in given]

    times = turns({name: whole(answer) for name, answer in answers.items()}, [parts] * rounds)
    found = {f"{name}_per_s": round(len(texts) / median(took), 1) for name, took in times.items()}
    return found | leads(times, "artifact")


if __name__ == "__main__":
    main()
