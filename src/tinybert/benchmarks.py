"""GLUE and CLUE tasks by name: where they are, which columns they have, how they are scored."""

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
        task: ``classification`` or ``regression``.
        label: Column of the label.
        dev: Split that serves as dev.
        ignored: Labels whose rows are left out (annotators did not agree).
    """

    hub: str
    text: str
    text2: str | None = None
    metric: str = "accuracy"
    task: str = "classification"
    label: str = "label"
    dev: str = "validation"
    ignored: tuple[str, ...] = ()


_GLUE, _CLUE = "nyu-mll/glue", "clue/clue"
_TASKS = {
    "glue/cola": Benchmark(f"{_GLUE}:cola", "sentence", metric="matthews"),
    "glue/sst2": Benchmark(f"{_GLUE}:sst2", "sentence"),
    "glue/mrpc": Benchmark(f"{_GLUE}:mrpc", "sentence1", "sentence2", "f1"),
    "glue/qqp": Benchmark(f"{_GLUE}:qqp", "question1", "question2", "f1"),
    "glue/stsb": Benchmark(f"{_GLUE}:stsb", "sentence1", "sentence2", "pearson", "regression"),
    "glue/mnli": Benchmark(f"{_GLUE}:mnli", "premise", "hypothesis", dev="validation_matched"),
    "glue/mnli-mm": Benchmark(
        f"{_GLUE}:mnli", "premise", "hypothesis", dev="validation_mismatched"
    ),
    "glue/qnli": Benchmark(f"{_GLUE}:qnli", "question", "sentence"),
    "glue/rte": Benchmark(f"{_GLUE}:rte", "sentence1", "sentence2"),
    "glue/wnli": Benchmark(f"{_GLUE}:wnli", "sentence1", "sentence2"),
    "clue/afqmc": Benchmark(f"{_CLUE}:afqmc", "sentence1", "sentence2"),
    "clue/tnews": Benchmark(f"{_CLUE}:tnews", "sentence"),
    "clue/iflytek": Benchmark(f"{_CLUE}:iflytek", "sentence"),
    "clue/cmnli": Benchmark(f"{_CLUE}:cmnli", "sentence1", "sentence2", ignored=("-",)),
    "clue/ocnli": Benchmark(f"{_CLUE}:ocnli", "sentence1", "sentence2", ignored=("-",)),
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
    if name not in _TASKS:
        raise DataError(
            f"no task `{name}`; wanted one of {', '.join(NAMES)}{near_miss(name, NAMES)}"
        )
    return _TASKS[name]
