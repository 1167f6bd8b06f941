"""Leaves out the feed-forward neurons that the distillation loss misses least."""

import json
from collections.abc import Callable
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

__all__ = ["check_pruning", "keep_neurons", "largest_neurons", "neuron_scores", "prune"]

_BATCH = 16


def check_pruning(settings: PruningSettings, config: Any) -> None:
    """Refuse sizes that no plain Hugging Face model has, or that prune nothing.

    Args:
        settings: What shall stay.
        config: The student's, before it is pruned.

    Raises:
        ConfigError: ``heads`` is given, or ``intermediate`` is not below the student's.
    """
    problems = []
    if settings.heads is not None:
        width, heads = config.hidden_size, config.num_attention_heads
        problems.append(
            f"pruning.heads is {settings.heads}, but a Hugging Face BERT or ELECTRA computes the "
            f"size of a head as hidden size / heads: fewer than {heads} heads would each be wider "
            f"than the {width // heads} they have, so no weights are saved; set student.heads or "
            "student.hidden instead"
        )
    inner = int(getattr(config, layout_of(config).intermediate))
    if settings.intermediate is not None and settings.intermediate >= inner:
        problems.append(
            f"pruning.intermediate is {settings.intermediate}; wanted below {inner}, the student's "
            "before it is pruned"
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
    """Leave the objective's student, in place, with the neurons that its loss needs most.

    Args:
        objective: The student and the loss of the layer stage.
        rows: What it reads, from which some are drawn.
        collate: Turns rows into batches.
        settings: How many neurons of each layer stay, and how many rows say which.
        place: Where which ones is written, so that a continued run keeps the same.
        seed: Seeds the draw.
        say: Told what share of the scores stays.
    """
    assert settings.intermediate is not None
    path = place / "neurons.json"
    with first_alone() as first:
        if first and not path.is_file():
            scores = neuron_scores(objective, sample(rows, settings.rows, seed), collate)
            kept = [_top(layer, settings.intermediate) for layer in scores]
            share = sum(float(s[k].sum()) for s, k in zip(scores, kept, strict=True))
            place.mkdir(parents=True, exist_ok=True)
            found = {"kept": kept, "share": share / sum(float(s.sum()) for s in scores)}
            write_atomic(path, json.dumps(found).encode())
    found = json.loads(path.read_text(encoding="utf-8"))
    keep_neurons(objective.student, found["kept"])
    say(
        f"pruning: {settings.intermediate} neurons of each layer stay, with {found['share']:.1%} "
        "of what the loss feels of them"
    )


def neuron_scores(objective: Objective, rows: Dataset, collate: Collator) -> list[Tensor]:
    """Say how much the loss would change, to the first order, without each neuron.

    I_j = Σ_x |Σ_t a_tj · ∂L/∂a_tj| for the activation a of neuron j at token t of text x.

    Args:
        objective: Gives the loss; neither its weights nor their gradients change.
        rows: Texts with the teacher's outputs.
        collate: Turns rows into batches.

    Returns:
        For each layer float32 (I,), the larger the more it is needed.

    Source: Molchanov et al. 2017, "Pruning Convolutional Neural Networks for Resource Efficient
        Inference", section 2.2; Michel et al. 2019, "Are Sixteen Heads Really Better than One?",
        equation 2, which takes the absolute value of each text's sum.
    Differs: both on the loss of the labels; here on that of the distillation.
    """
    student = objective.student.eval()
    layout = layout_of(student.config)
    outer: list[Any] = [layer.get_submodule(layout.outer) for layer in layout.layer_list(student)]
    seen: dict[int, Tensor] = {}

    def watch(index: int, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[index] = inputs[0]

    handles = [part.register_forward_pre_hook(partial(watch, i)) for i, part in enumerate(outer)]
    sums = [torch.zeros(part.in_features) for part in outer]
    device = student.device
    objective.to(device)
    try:
        for start in range(0, len(rows), _BATCH):
            batch = collate([rows[i] for i in range(start, min(start + _BATCH, len(rows)))])
            loss = objective(**{name: value.to(device) for name, value in batch.items()})["loss"]
            inputs = [seen[i] for i in range(len(outer))]
            slopes = torch.autograd.grad(loss, inputs)
            for total, value, slope in zip(sums, inputs, slopes, strict=True):
                total += (value * slope).detach().sum(dim=1).abs().sum(dim=0).float().cpu()
    finally:
        for handle in handles:
            handle.remove()
    return sums


def largest_neurons(model: PreTrainedModel, count: int) -> list[list[int]]:
    """Return the neurons with the largest weights in each layer, for a model that has no loss."""
    layout = layout_of(model.config)
    found = []
    for layer in layout.layer_list(model):
        inner, outer = (layer.get_submodule(name) for name in (layout.inner, layout.outer))
        weights: list[Any] = [inner.weight, outer.weight]
        found.append(_top(weights[0].norm(dim=1) * weights[1].norm(dim=0), count))
    return found


def keep_neurons(model: PreTrainedModel, kept: list[list[int]]) -> None:
    """Leave a model, in place, with some of its feed-forward neurons.

    Args:
        model: Of a known layout; its config is changed with it.
        kept: For each layer which neurons stay, as many in every layer.
    """
    layout = layout_of(model.config)
    for layer, neurons in zip(layout.layer_list(model), kept, strict=True):
        inner: Any = layer.get_submodule(layout.inner)
        outer: Any = layer.get_submodule(layout.outer)
        inner.weight = nn.Parameter(inner.weight.detach()[neurons].clone())
        inner.bias = nn.Parameter(inner.bias.detach()[neurons].clone())
        outer.weight = nn.Parameter(outer.weight.detach()[:, neurons].clone())
        inner.out_features = outer.in_features = len(neurons)
    setattr(model.config, layout.intermediate, len(kept[0]))


def _top(scores: Tensor, count: int) -> list[int]:
    """Return the places of the largest scores, in order."""
    found: list[int] = scores.topk(count).indices.sort().values.tolist()
    return found
