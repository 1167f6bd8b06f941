"""Fine-tunes an encoder into a teacher, and checks a teacher before anyone learns from it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tinybert import baselines, metrics
from tinybert.answer_metrics import choose_threshold
from tinybert.artifact import VALUED, new_folder
from tinybert.data import TaskData
from tinybert.distill.infer import (
    longest_input,
    predict_logits,
    resolve,
    save_tokenizer,
)
from tinybert.distill.objective import Objective
from tinybert.distill.outputs import Collator, tokenize
from tinybert.distill.processes import first_alone
from tinybert.distill.published import holds_classifier, read_config, weight_names
from tinybert.distill.recipe import Recipe, Stage
from tinybert.distill.trainer import run_stage, schedule_of
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.heads import claimed_head
from tinybert.layout import layout_of
from tinybert.pruned import widened
from tinybert.quiet import no_bars
from tinybert.text import Tokenizer

__all__ = ["check_teacher", "dev_metrics", "fine_tune", "freeze", "has_head", "save_model"]


_PROBLEMS = {
    "answering": None,
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "tagging": None,
}


_FLOOR = "the majority class alone"
_FLOORS = {"answering": "answering without reading the question"}


def has_head(model: str | Path, *, head: str = "text") -> bool:
    """Whether a folder or hub id holds a fine-tuned classifier rather than a bare encoder.

    Its config must say so, or say nothing; in a folder the head's weights must be there as well.
    Of a head for tokens or spans (see ``heads.auto_class``) the config must say so.

    Raises:
        UnsupportedModelError: No such model, or its config cannot be read.
    """
    place = resolve(model)
    config = read_config(place)
    if head != "text":
        return claimed_head(config) == head
    claims = any("SequenceClassification" in name for name in config.architectures or [])
    try:
        return holds_classifier(config, weight_names(place)) if Path(place).is_dir() else claims
    except UnsupportedModelError:
        return claims


def fine_tune(
    start: PreTrainedModel,
    tokenizer: Tokenizer,
    data: TaskData,
    folder: str | Path,
    *,
    stage: Stage,
    recipe: Recipe,
    keep_best: bool = True,
) -> PreTrainedModel:
    """Train a classifier on the labels alone.

    Args:
        start: The model to train, in place.
        tokenizer: Its tokenizer.
        data: Labelled splits; dev decides which epoch is kept.
        folder: The stage's folder (checkpoints, log); an interrupted call goes on from there.
        stage: Length and rate.
        recipe: Seed and precision.
        keep_best: Take the epoch that is best on dev rather than the last.

    Returns:
        The trained model, in eval mode.
    """
    labelled = stage.model_copy(update={"hard_labels": 1.0})
    objective = Objective(start, labelled, (), int(start.config.hidden_size), task=data.task)
    run_stage(
        folder,
        objective,
        tokenize(data.train, tokenizer, data),
        Collator(tokenizer.pad_id),
        schedule_of(stage, recipe),
        evaluate=dev_metrics(start, tokenizer, data),
        keep_best=data.metric if keep_best else None,
    )
    start.eval()
    if data.unanswerable:
        dev_metrics(start, tokenizer, data)()
    return start


def freeze(model: PreTrainedModel, layers: int) -> None:
    """Keep a classifier's embeddings and its lowest layers from learning.

    Args:
        model: The classifier.
        layers: How many layers; 0 freezes the embeddings alone.

    Raises:
        ConfigError: It has no layer above them.
        UnsupportedModelError: An architecture whose layers are not known.
    """
    layout = layout_of(model.config)
    stack = layout.layer_list(model)
    if layers >= len(stack):
        raise ConfigError(f"teacher.freeze is {layers}; the model has {len(stack)} layers")
    table = layout.encoder(model).get_submodule("embeddings")
    for part in (table, layout.embedding(model), *stack[:layers]):
        part.requires_grad_(False)


def dev_metrics(
    model: PreTrainedModel, tokenizer: Tokenizer, data: TaskData
) -> Callable[[], dict[str, float]]:
    """Return a function that measures a model on dev.

    Where questions may have no answer, it also chooses the threshold of no answer that is best on
    dev, and leaves it in the model's config as ``no_answer_threshold``; None where all have one.
    """
    texts, second = data.texts("dev")
    limit, outside = tokenizer.max_length, data.outside
    config: Any = model.config

    def measure() -> dict[str, float]:
        if data.task == "answering":
            config.no_answer_threshold = 0.0 if data.unanswerable else None
        logits = predict_logits(
            model,
            texts,
            second,
            max_length=limit,
            tokenizer=tokenizer,
            outside=outside,
            reading=data.reading,
        )
        if data.unanswerable:
            config.no_answer_threshold = choose_threshold(data.dev, logits)
            logits[:, 3] -= config.no_answer_threshold
        return metrics.measure(data, "dev", logits)

    return measure


def settings_for(data: TaskData) -> dict[str, Any]:
    """Return the config values of a head for this task."""
    if data.task in VALUED:
        return {"num_labels": 1, "problem_type": "regression"}
    if data.task == "answering":
        return {"num_labels": 2}
    names = dict(enumerate(data.labels))
    return {
        "num_labels": len(names),
        "id2label": names,
        "label2id": {name: i for i, name in names.items()},
        "problem_type": _PROBLEMS[data.task],
    }


def check_teacher(
    model: PreTrainedModel, name: str, tokenizer: Tokenizer, data: TaskData, max_length: int
) -> dict[str, float]:
    """Refuse a teacher that a student could only learn nonsense from; say every reason at once.

    Args:
        model: The fine-tuned teacher.
        name: What to call it.
        tokenizer: Its tokenizer.
        data: The task; dev is used.
        max_length: Longest input in tokens.

    Returns:
        The teacher's dev metrics.

    Raises:
        ConfigError: Labels or their order differ from the data's, the tokenizer knows ids that the
            model lacks, inputs are longer than the model takes, or the teacher is no better on dev
            than the majority class (in answering: than
            ``answer_baselines.unread``).
    """
    problems = []
    vocabulary = int(model.config.vocab_size)
    if tokenizer.vocab_size > vocabulary:
        problems.append(
            f"its tokenizer has {tokenizer.vocab_size:,} pieces, its embeddings {vocabulary:,} rows"
        )
    if max_length > longest_input(model.config):
        problems.append(
            f"max_length is {max_length}, it takes {longest_input(model.config)} tokens"
        )
    problems += _label_problems(model, data)
    found: dict[str, float] = {}
    if not problems:
        found = dev_metrics(model, tokenizer, data)()
        main = data.metric
        floor = baselines.majority(data, "dev")[main]
        if found[main] <= floor:
            problems.append(
                f"its dev {main} is {found[main]:.3f}, {_FLOORS.get(data.task, _FLOOR)} has "
                f"{floor:.3f}; fine-tune it first (`tinybert teach`) or, where it was just "
                "taught, for more teacher.epochs"
            )
    if problems:
        raise ConfigError(f"teacher {name} cannot teach {data.name}: {'; '.join(problems)}")
    return found


def _label_problems(model: PreTrainedModel, data: TaskData) -> list[str]:
    """Compare the teacher's labels, and their order, with the data's."""
    config: Any = model.config
    count = int(config.num_labels)
    wanted = 2 if data.task == "answering" else len(data.labels) or 1
    if count != wanted:
        return [f"it gives {count} logits, the data need {wanted}"]
    if not data.labels:
        return []
    names = tuple(str(config.id2label[i]) for i in range(count))
    if names == data.labels or all(n == f"LABEL_{i}" for i, n in enumerate(names)):
        return []
    if sorted(names) == sorted(data.labels):
        return [
            f"its labels stand in another order: {list(names)}, the data have {list(data.labels)}"
        ]
    return [f"its labels are {list(names)}, the data have {list(data.labels)}"]


def save_model(model: PreTrainedModel, tokenizer_from: str | Path, folder: str | Path) -> None:
    """Write a plain Hugging Face folder; the old one stays until the new one is whole.

    Args:
        model: The model; heads and neurons that its layers lack are written as zeros.
        tokenizer_from: A model's folder or hub id, or a folder of a tokenizer alone.
        folder: The folder to write.
    """
    with first_alone() as first:
        if first:
            _save_model(model, tokenizer_from, Path(folder))


def _save_model(model: PreTrainedModel, tokenizer_from: str | Path, place: Path) -> None:
    """Write the folder under another name, then rename it."""
    with new_folder(place) as partial:
        with no_bars():
            widened(model).save_pretrained(partial)
        alone = Path(tokenizer_from) / "tokenizer.json"
        if alone.is_file() and not alone.with_name("config.json").is_file():
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copyfile(alone.with_name(name), partial / name)
        else:
            save_tokenizer(tokenizer_from, partial)
