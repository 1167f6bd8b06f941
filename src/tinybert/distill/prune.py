"""Leaves out the attention heads and neurons that the distillation loss misses least."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.artifact import write_atomic
from tinybert.distill.crops import sample
from tinybert.distill.objective import Objective
from tinybert.distill.outputs import Collator
from tinybert.distill.processes import first_alone
from tinybert.distill.recipe import PruningSettings
from tinybert.errors import ConfigError
from tinybert.layout import layout_of
from tinybert.pruned import LEAST_NEURONS, head_width, keep_heads, keep_neurons

__all__ = ["Scores", "check_pruning", "keep_largest", "loss_scores", "prune"]

_BATCH = 16
_FILE = "kept.json"


@dataclass(frozen=True)
class Scores:
    """How much each head and each neuron is needed, the larger the more.

    Args:
        heads: For each layer float32 (H,).
        neurons: For each layer float32 (I,).
    """

    heads: list[Tensor]
    neurons: list[Tensor]


def check_pruning(settings: PruningSettings, config: Any) -> None:
    """Refuse sizes that prune nothing.

    Args:
        settings: What shall stay.
        config: The student's, before it is pruned.

    Raises:
        ConfigError: ``heads`` or ``intermediate`` is not below the student's.
    """
    problems = []
    for name, wanted, there in (
        ("heads", settings.heads, int(config.num_attention_heads)),
        (
            "intermediate",
            settings.intermediate,
            int(getattr(config, layout_of(config).intermediate)),
        ),
    ):
        if wanted is not None and wanted >= there:
            problems.append(
                f"pruning.{name} is {wanted}; wanted below {there}, the student's before it is "
                "pruned"
            )
    if problems:
        raise ConfigError("; ".join(problems))


def prune(
    objective: Objective,
    rows: Dataset,
    collate: Collator,
    settings: PruningSettings,
    place: Path,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Leave the objective's student, in place, with the heads and neurons that its loss needs most.

    Args:
        objective: The student and the loss of the layer stage; it is told which heads stay.
        rows: What it reads, from which some are drawn.
        collate: Turns rows into batches.
        settings: How much of each layer stays, and how many rows say which.
        place: Where which ones is written, so that a continued run keeps the same.
        seed: Seeds the draw.
        say: Told what stays, and its share of the scores.
    """
    path = place / _FILE
    with first_alone() as first:
        if first and not path.is_file():
            scores = loss_scores(objective, sample(rows, settings.rows, seed), collate)
            place.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(_choose(scores, settings)).encode())
    found = json.loads(path.read_text(encoding="utf-8"))
    if "heads" in found:
        objective.heads = found["heads"]["kept"]
    _keep(objective.student, {name: part["kept"] for name, part in found.items()})
    for name, part in found.items():
        counts = [len(layer) for layer in part["kept"]]
        span = " to ".join(map(str, sorted({min(counts), max(counts)})))
        say(
            f"pruning: {span} {name} of each layer stay, with {part['share']:.1%} of what the loss "
            "feels of them"
        )


def loss_scores(objective: Objective, rows: Dataset, collate: Collator) -> Scores:
    """Say how much the loss would change, to the first order, without each head and each neuron.

    I = Σ_x |Σ_t a_t · ∂L/∂a_t| for the activations a_t of a neuron, or for all numbers that a head
    makes, at the tokens t of text x.

    Args:
        objective: Gives the loss; neither its weights nor their gradients change.
        rows: Texts with the teacher's outputs.
        collate: Turns rows into batches.

    Returns:
        The scores of all layers, the first one first.

    Source: Michel et al. 2019, "Are Sixteen Heads Really Better than One?", equation 2; Molchanov
        et al. 2017, "Pruning Convolutional Neural Networks for Resource Efficient Inference",
        section 2.2.
    Differs: both on the loss of the labels; here on that of the distillation.
    """
    student = objective.student.eval()
    layout, size = layout_of(student.config), head_width(student.config)
    layers = layout.layer_list(student)
    parts: list[Any] = [
        layer.get_submodule(name)
        for name in (layout.attention_out, layout.outer)
        for layer in layers
    ]
    seen: dict[int, Tensor] = {}

    def watch(index: int, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[index] = inputs[0]

    handles = [part.register_forward_pre_hook(partial(watch, i)) for i, part in enumerate(parts)]
    groups = [size] * len(layers) + [1] * len(layers)
    sums = [
        torch.zeros(part.in_features // group) for part, group in zip(parts, groups, strict=True)
    ]
    device = student.device
    objective.to(device)
    try:
        for start in range(0, len(rows), _BATCH):
            batch = collate([rows[i] for i in range(start, min(start + _BATCH, len(rows)))])
            loss = objective(**{name: value.to(device) for name, value in batch.items()})["loss"]
            inputs = [seen[i] for i in range(len(parts))]
            slopes = torch.autograd.grad(loss, inputs, allow_unused=True)
            for total, group, value, slope in zip(sums, groups, inputs, slopes, strict=True):
                if slope is None:
                    continue
                felt = (value * slope).detach().unflatten(-1, (-1, group)).sum(dim=(1, -1))
                total += felt.abs().sum(dim=0).float().cpu()
    finally:
        for handle in handles:
            handle.remove()
    return Scores(sums[: len(layers)], sums[len(layers) :])


def keep_largest(model: PreTrainedModel, settings: PruningSettings) -> None:
    """Leave a model that has no loss, in place, with its heads and neurons of largest weights.

    Args:
        model: Of a known layout.
        settings: How much of each layer stays; of layers that differ in what they need, nothing is
            known here.
    """
    layout, size = layout_of(model.config), head_width(model.config)

    def strengths(layer: nn.Module, inner: str, outer: str, group: int) -> Tensor:
        made: Any = layer.get_submodule(inner).weight
        read: Any = layer.get_submodule(outer).weight
        before = made.detach().unflatten(0, (-1, group)).flatten(1).norm(dim=1)
        after = read.detach().unflatten(1, (-1, group)).transpose(0, 1).flatten(1).norm(dim=1)
        found: Tensor = before * after
        return found

    layers = layout.layer_list(model)
    scores = Scores(
        [strengths(layer, layout.value, layout.attention_out, size) for layer in layers],
        [strengths(layer, layout.inner, layout.outer, 1) for layer in layers],
    )
    even = settings.model_copy(update={"uneven": False})
    _keep(model, {name: part["kept"] for name, part in _choose(scores, even).items()})


def _choose(scores: Scores, settings: PruningSettings) -> dict[str, Any]:
    """Return which heads and neurons of each layer stay, and their share of the scores."""
    found = {}
    for name, parts, count, least in (
        ("heads", scores.heads, settings.heads, 1),
        ("neurons", scores.neurons, settings.intermediate, LEAST_NEURONS),
    ):
        if count is None:
            continue
        kept = _uneven(parts, count, least) if settings.uneven else [_top(s, count) for s in parts]
        share = sum(float(s[k].sum()) for s, k in zip(parts, kept, strict=True))
        found[name] = {
            "kept": kept,
            "share": share / max(1e-30, sum(float(s.sum()) for s in parts)),
        }
    return found


def _keep(model: PreTrainedModel, kept: dict[str, list[list[int]]]) -> None:
    """Leave a model with what was chosen."""
    if "heads" in kept:
        keep_heads(model, kept["heads"])
    if "neurons" in kept:
        keep_neurons(model, kept["neurons"])


def _uneven(scores: list[Tensor], count: int, least: int) -> list[list[int]]:
    """Return the places of the largest scores of all layers, each layer's scaled to length 1.

    Source: Molchanov et al. 2017, section 2.2 (layer-wise l2 normalization).
    """
    scaled = [s / s.norm().clamp(min=1e-30) for s in scores]
    for layer in scaled:
        layer[_top(layer, min(least, count))] += 2.0
    best = torch.zeros(sum(map(len, scaled)), dtype=torch.bool)
    best[torch.cat(scaled).topk(count * len(scaled)).indices] = True
    return [part.nonzero().flatten().tolist() for part in best.split([len(s) for s in scaled])]


def _top(scores: Tensor, count: int) -> list[int]:
    """Return the places of the largest scores, in order."""
    found: list[int] = scores.topk(count).indices.sort().values.tolist()
    return found
