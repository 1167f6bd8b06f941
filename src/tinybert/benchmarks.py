"""GLUE and CLUE tasks by name: where they are, which columns they have, how they are scored."""

from collections.abc import Collection
from dataclasses import dataclass

from tinybert.errors import DataError, near_miss

__all__ = ["NAMES", "Benchmark", "find"]


@dataclass(frozen=True)
class Benchmark:
    """A published task.

    Args:
        hub: Hugging Face id and configuration.
        text: Column of the text.
        text2: Column of the second text; None for single texts.
        metric: The official metric, by its name in ``metrics.compute``.
        task: ``classification``, ``regression`` or ``answering``.
        label: Column of the label.
        dev: Split that serves as dev.
        ignored: Labels whose rows are left out (annotators did not agree).
        files: Text, second text and label as GLUE's own files call them, where they do otherwise.
        header: Columns of files that are published without a first line of names.
        mend: Whether its answers are known to stand elsewhere than it says.
    """

    hub: str
    text: str
    text2: str | None = None
    metric: str = "accuracy"
    task: str = "classification"
    label: str = "label"
    dev: str = "validation"
    ignored: tuple[str, ...] = ()
    files: tuple[str, str, str] | None = None
    header: tuple[str, ...] = ()
    mend: bool = False

    def columns(self, names: Collection[str]) -> tuple[str, str | None, str]:
        """Return text, second text and label: the hub's, or those of the files if all are there."""
        if self.files is not None and set(self.files) <= set(names):
            return self.files
        return self.text, self.text2, self.label


_GLUE, _CLUE = "nyu-mll/glue", "clue/clue"
_MRPC = "#1 String", "#2 String", "Quality"
_QQP = "question1", "question2", "is_duplicate"
_STSB = "sentence1", "sentence2", "score"
_MNLI = "sentence1", "sentence2", "gold_label"
_COLA = "source", "label", "mark", "sentence"
_ASKED = "question", "context", "answer_f1", "answering", "answers"
_TASKS = {
    "glue/cola": Benchmark(f"{_GLUE}:cola", "sentence", metric="matthews", header=_COLA),
    "glue/sst2": Benchmark(f"{_GLUE}:sst2", "sentence"),
    "glue/mrpc": Benchmark(f"{_GLUE}:mrpc", "sentence1", "sentence2", "f1", files=_MRPC),
    "glue/qqp": Benchmark(f"{_GLUE}:qqp", "question1", "question2", "f1", files=_QQP),
    "glue/stsb": Benchmark(
        f"{_GLUE}:stsb", "sentence1", "sentence2", "pearson", "regression", files=_STSB
    ),
    "glue/mnli": Benchmark(
        f"{_GLUE}:mnli", "premise", "hypothesis", dev="validation_matched", files=_MNLI
    ),
    "glue/mnli-mm": Benchmark(
        f"{_GLUE}:mnli", "premise", "hypothesis", dev="validation_mismatched", files=_MNLI
    ),
    "glue/qnli": Benchmark(f"{_GLUE}:qnli", "question", "sentence"),
    "glue/rte": Benchmark(f"{_GLUE}:rte", "sentence1", "sentence2"),
    "glue/wnli": Benchmark(f"{_GLUE}:wnli", "sentence1", "sentence2"),
    "clue/afqmc": Benchmark(f"{_CLUE}:afqmc", "sentence1", "sentence2"),
    "clue/tnews": Benchmark(f"{_CLUE}:tnews", "sentence"),
    "clue/iflytek": Benchmark(f"{_CLUE}:iflytek", "sentence"),
    "clue/cmnli": Benchmark(f"{_CLUE}:cmnli", "sentence1", "sentence2", ignored=("-",)),
    "clue/ocnli": Benchmark(f"{_CLUE}:ocnli", "sentence1", "sentence2", ignored=("-",)),
    "clue/cmrc2018": Benchmark(f"{_CLUE}:cmrc2018", *_ASKED, mend=True),
    "clue/drcd": Benchmark(f"{_CLUE}:drcd", *_ASKED),
}
NAMES = tuple(_TASKS)


def find(name: str) -> Benchmark:
    """Return a task by its name.

    Args:
        name: Such as ``glue/mrpc`` or ``clue/tnews``.

    Raises:
        DataError: No such task; the nearest is named.

    >>> find("glue/cola").metric
    'matthews'
    """
    if name.lower() not in _TASKS:
        raise DataError(
            f"no task `{name}`; wanted one of {', '.join(NAMES)}{near_miss(name.lower(), NAMES)}"
        )
    return _TASKS[name.lower()]
