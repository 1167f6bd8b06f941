"""From a Hugging Face folder to an artifact with an ONNX model."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert._version import __version__
from tinybert.artifact import FP32, VALUED, Card, check_target, hash_file, new_folder, write_card
from tinybert.distill.infer import has_types, load_whole, longest_input, save_tokenizer
from tinybert.errors import ConfigError
from tinybert.first_token import first_token_only
from tinybert.heads import answers_of, head_for, head_of
from tinybert.pruned import drop_zeros
from tinybert.ship.compact import compact_json, cut_positions, limit_length
from tinybert.ship.model_card import write_model_card
from tinybert.spans import READING, Reading
from tinybert.tags import OUTSIDE, odd_tag

__all__ = ["OPSET", "build", "export", "refresh_card"]

OPSET = 20
_GIVES = {
    "text": "gives each text one answer",
    "word": "gives each word a tag",
    "span": "finds answers in contexts",
}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def export(
    model: str | Path,
    to: str | Path,
    *,
    max_length: int = 128,
    pair: bool = False,
    labels: Sequence[str] | None = None,
    task: str | None = None,
    teacher: str = "",
    outside: str | None = None,
    reading: Reading = READING,
) -> Path:
    """Write an artifact whose ONNX model takes any batch and any length up to ``max_length``.

    The folder is built beside ``to`` and renamed when it is whole: an interrupted export leaves the
    old artifact as it was.

    Args:
        model: Folder or hub id of a classifier of texts, of tokens or of spans.
        to: The artifact's folder; an older artifact there is replaced.
        max_length: Longest input in tokens that the artifact accepts.
        pair: Whether an input is two texts; in answering it always is.
        labels: Label names in logit order; None takes the model's own.
        task: One of ``artifact.TASKS``; None follows the model's config
            (one logit without more: regression; an answer for each token: tagging; start and end:
            answering).
        teacher: Name of the teacher, for the card.
        outside: In tagging, the tag of words past ``max_length``; None takes ``O``, or the first
            tag where there is no ``O``.
        reading: In answering, how long windows and answers are; the threshold of no answer is that
            of the model's config.

    Returns:
        The artifact's folder.

    Raises:
        ConfigError: ``max_length`` is below 4 or exceeds the model's positions, the labels do not
            fit the logits, are not all different or mix schemes of tags, the task is not one of
            such a model, or ``to`` holds something that is no artifact.
        UnsupportedModelError: The model cannot be loaded.
    """
    check_target(to)
    network = load_whole(model)
    card = _card(network, max_length, pair, labels, task, teacher)
    if card.task == "tagging":
        usual = OUTSIDE if OUTSIDE in card.labels else card.labels[0]
        card = replace(card, outside=outside or usual)
    if card.task == "answering":
        threshold = getattr(network.config, "no_answer_threshold", None)
        card = replace(card, reading=asdict(reading) | {"threshold": threshold})
    with first_token_only(network):
        return build(_Logits(network), network, card, model, to)


def build(
    graph: nn.Module,
    network: PreTrainedModel,
    card: Card,
    source: str | Path,
    to: str | Path,
    *,
    output: str = "logits",
) -> Path:
    """Write an artifact's folder, whole or not at all.

    Args:
        graph: Takes ``input_ids``, ``attention_mask`` and, where the network has segments,
            ``token_type_ids``; gives one tensor.
        network: The model inside; its positions past the card's ``max_length`` are left out, and so
            are heads and neurons that nothing reads.
        card: The card without hashes.
        source: Where the tokenizer is.
        to: The folder; an older artifact there is replaced.
        output: Name of the graph's output.

    Returns:
        The folder.
    """
    with new_folder(to) as partial:
        (partial / FP32).parent.mkdir()
        cut_positions(network, card.max_length)
        drop_zeros(network)
        card = replace(card, parameters=sum(p.numel() for p in network.parameters()))
        network.config.save_pretrained(partial)
        save_tokenizer(source, partial)
        compact_json(partial / "tokenizer.json")
        limit_length(partial, card.max_length)
        _write_onnx(graph.eval(), partial / FP32, types=has_types(network), output=output)
        write_card(partial, refresh_card(partial, card))
        write_model_card(partial)
    return Path(to)


def refresh_card(folder: Path, card: Card) -> Card:
    """Return the card with the hashes of the files that are there now."""
    models = sorted(folder.glob("onnx/*.onnx"))
    names = [*_TOKENIZER, *(path.relative_to(folder).as_posix() for path in models)]
    return replace(card, files={name: hash_file(folder / name) for name in names})


class _Logits(nn.Module):
    """The model as the graph sees it: tensors in, logits out."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network, self.types = network, has_types(network)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return logits (B, C), or (B, T, C) of one that tags or finds answers."""
        types = {"token_type_ids": token_type_ids} if self.types else {}
        outputs = self.network(input_ids=input_ids, attention_mask=attention_mask, **types)
        return answers_of(outputs)


def _card(
    network: PreTrainedModel,
    max_length: int,
    pair: bool,
    labels: Sequence[str] | None,
    task: str | None,
    teacher: str,
) -> Card:
    """Return the card of a model, its settings checked."""
    config: Any = network.config
    count = int(config.num_labels)
    several = config.problem_type == "multi_label_classification"
    head = head_of(network)
    if task is None:
        task = {"word": "tagging", "span": "answering"}.get(head)
        task = task or ("multilabel" if several else "classification")
        task = "regression" if count == 1 and task == "classification" else task
    if head != head_for(task) or (head == "word" and pair):
        kind = _GIVES[head]
        raise ConfigError(f"the model {kind}; task {task}{' of pairs' if pair else ''} is another")
    if head == "span":
        return _plain_card(network, task, (), True, max_length, teacher)
    names = labels or [str(config.id2label[i]) for i in range(count)]
    if task in VALUED:
        names = []
    if (len(names) or 1) != count:
        raise ConfigError(f"{len(names)} labels were given, the model has {count} logits")
    if head == "word" and (odd := odd_tag(names)) is not None:
        raise ConfigError(f"tag `{odd}` of the model does not fit the scheme of its other tags")
    if len(set(names)) < len(names):
        raise ConfigError(f"labels are {', '.join(names)}; wanted each only once")
    return _plain_card(network, task, tuple(names), pair, max_length, teacher)


def _plain_card(
    network: PreTrainedModel,
    task: str,
    labels: tuple[str, ...],
    pair: bool,
    max_length: int,
    teacher: str,
) -> Card:
    """Return a card with what every task has; refuse a length that the model does not take."""
    config: Any = network.config
    if not 4 <= max_length <= longest_input(config):
        raise ConfigError(
            f"max_length is {max_length}; the model takes 4 to {longest_input(config)}"
        )
    return Card(
        task=task,
        labels=labels,
        pair=pair,
        max_length=max_length,
        parameters=sum(p.numel() for p in network.parameters()),
        teacher=teacher,
        tinybert=__version__,
    )


def _write_onnx(graph: nn.Module, path: Path, *, types: bool, output: str) -> None:
    """Trace the model with a padded batch and write the graph."""
    ids = torch.full((3, 7), 5, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    inputs = (ids, mask, *((torch.zeros_like(ids),) if types else ()))
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    shapes = tuple(dict(axes) for _ in inputs)
    quiet = io.StringIO()
    level = logging.getLogger().level
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(quiet),
        torch.inference_mode(),
    ):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            inputs,
            input_names=names,
            output_names=[output],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
        assert program is not None
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()
        program.save(str(path), external_data=False)
    logging.getLogger().setLevel(level)
