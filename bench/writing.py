"""A writer's artifact beside PyTorch: milliseconds a sentence, and whether its answers change.

Examples:
    python bench/seq2seq.py --data DIR --sets multi30k --seeds 0
    python bench/writing.py --run runs/seq2seq-bench/multi30k-0

Each of the test split's sentences of about ``--words`` words is answered alone by the artifact, by
the same student in PyTorch and by its teacher in PyTorch, one after another on one thread; a ratio
is the median over sentences of PyTorch's time over the artifact's. The whole split is then answered
in batches and text by text, by int8 and by the student in float32. Results: writing-RUN.json.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from _results import write
from _turns import leads, turns
from tinybert.artifact import hash_file, read_card

SEARCHES = (1, 4)
ROUNDS = 3

Answer = Callable[[str], Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a finished run of seq2seq")
    parser.add_argument("--words", type=int, default=15, help="of the sentences that are timed")
    parser.add_argument("--sentences", type=int, default=24, help="at most")
    arguments = parser.parse_args()
    measured = measure(arguments.run, arguments.words, arguments.sentences)
    for row in measured["rows"]:
        print(row)
    print(measured["sameness"])
    name = arguments.run.name
    artifact = arguments.run / "artifact"
    path = write(
        f"writing-{name}",
        measured.pop("rows"),
        f"python bench/writing.py --run RUNS/{name} --words {arguments.words}",
        hash_file(artifact / read_card(artifact).model),
        packages=("ctranslate2", "sacrebleu"),
        more=measured,
    )
    print(f"wrote {path}")


def measure(run: Path, words: int, most: int) -> dict[str, Any]:
    """Return a row for each search, and how the artifact's answers differ.

    Raises:
        SystemExit: The split has no sentence of that length.
    """
    import torch

    from tinybert import runtime
    from tinybert.pairs import load_saved_pairs
    from tinybert.text_metrics import words_of

    torch.set_num_threads(1)
    data = load_saved_pairs(run)
    rows = data.test or data.dev
    texts = [text for text in rows["source"] if abs(len(words_of(text)) - words) <= 1][:most]
    if not texts:
        raise SystemExit(f"{run} has no test sentence of about {words} words; see --words")
    written: Any = runtime.load(run / "artifact", threads=1)
    with tempfile.TemporaryDirectory() as place:
        writers = torch_writers(run, written.card, Path(place))
        timed = [
            {"beams": beams, "sentences": len(texts)}
            | spent(contestants(written, writers, beams), texts)
            for beams in SEARCHES
        ]
    return {"rows": timed, "sameness": sameness(run, written, data)}


def torch_writers(run: Path, card: Any, place: Path) -> dict[str, Any]:
    """Return teacher and student as PyTorch runs them."""
    from tinybert.distill.generated import TorchWriter
    from tinybert.distill.seq2seq_recipe import load
    from tinybert.distill.writers import copy_vocabulary, load_writer, open_vocabulary

    teacher = load(run / "recipe.toml").teacher.model or str(run / "teacher")
    found = {}
    for name, folder in (("student", str(run / "student")), ("teacher", teacher)):
        network = load_writer(folder, any_layout=True).eval()
        copy_vocabulary(folder, place / name)
        source, target = open_vocabulary(place / name, (card.max_length, card.max_length))
        found[name] = TorchWriter(network, source, target=target)
    return found


def contestants(written: Any, writers: Mapping[str, Any], beams: int) -> dict[str, Answer]:
    """Return who answers a text, by name."""
    decoding = written.decoding.over(beams=beams)
    found: dict[str, Answer] = {"artifact": lambda text: written([text], beams=beams)}
    for name, writer in writers.items():
        found[f"{name}_torch"] = lambda text, writer=writer: writer([text], decoding)
    return found


def spent(answers: Mapping[str, Answer], texts: list[str]) -> dict[str, float]:
    """Return each contestant's median milliseconds a text, and the artifact's lead."""
    times = turns(answers, texts * ROUNDS)
    found = {f"{name}_ms": round(1e3 * median(values), 2) for name, values in times.items()}
    return found | leads(times, "artifact")


def sameness(run: Path, written: Any, data: Any) -> dict[str, Any]:
    """Return how int8 differs from float32, and a text alone from one in a batch."""
    from tinybert import text_metrics
    from tinybert.ship.writer import answers_of

    split = "test" if data.test is not None else "dev"
    rows = data.splits()[split]
    sources, references = list(rows["source"]), list(rows["references"])
    int8 = written(sources)
    card = written.card
    fp32 = answers_of(run / "student", data, split, max_length=card.max_length, like=card)
    metric = text_metrics.MAIN[data.task]
    scores = [
        text_metrics.measure(data.task, found, references, sources)[metric]
        for found in (fp32, int8)
    ]
    alone = [written([source])[0] for source in sources]
    return {
        "texts": len(sources),
        "metric": metric,
        "fp32": scores[0],
        "int8": scores[1],
        "alone_differs": sum(map(str.__ne__, alone, int8)),
        "unlike_fp32": sum(map(str.__ne__, fp32, int8)),
    }


if __name__ == "__main__":
    main()
