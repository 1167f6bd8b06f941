"""A student together with its teacher, which answers each batch as it comes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.distill.infer import has_types
from tinybert.distill.objective import Objective, teacher_columns
from tinybert.distill.recipe import Stage
from tinybert.errors import ConfigError
from tinybert.losses import relation_loss
from tinybert.observe import Observer

__all__ = ["OnlineLayers", "OnlineRelations"]


class OnlineLayers(nn.Module):
    """L = Σ_m (w_a·L_attn(m) + w_h·L_hidn(m)) + w_e·L_embd against a teacher that runs along.

    The teacher is in eval mode, gets no gradient and is no part of what is trained or saved.

    Args:
        student: The model that learns.
        teacher: Of any width; with an attention loss, of the student's number of heads.
        stage: The weights w.
        layer_map: Teacher layer of each student layer, g(1..M).

    Raises:
        ConfigError: All weights are zero, or the numbers of heads differ.

    Source: Jiao et al. 2020, section 3.2, general distillation: equations 7 to 9, no equation 10.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        stage: Stage,
        layer_map: tuple[int, ...],
    ) -> None:
        super().__init__()
        heads = [int(model.config.num_attention_heads) for model in (student, teacher)]
        if stage.attention and heads[0] != heads[1]:
            raise ConfigError(
                f"the student has {heads[0]} attention heads, the teacher {heads[1]}; give it as "
                "many, or set training.attention to 0 or training.losses to relations"
            )
        width = int(teacher.config.hidden_size)
        self.objective = Objective(student, stage, layer_map, width, task="classification")
        self._teacher = _Teacher(teacher)
        self._hidden, self._scores = teacher_columns(stage, layer_map)

    def forward(self, **inputs: Tensor) -> Mapping[str, Any]:
        """Return the loss of a batch and its parts (see ``Objective``)."""
        seen = self._teacher(inputs, hidden=self._hidden, scores=self._scores)
        columns = {f"hidden_{n}": seen.hidden(n) for n in self._hidden}
        columns |= {f"scores_{n}": seen.scores(n) for n in self._scores}
        found: Mapping[str, Any] = self.objective(**inputs, **columns)
        return found


class OnlineRelations(nn.Module):
    """L = 1/3·(L_rel(queries) + L_rel(keys) + L_rel(values)), the student's last layer against one.

    The teacher is in eval mode, gets no gradient and is no part of what is trained or saved.

    Args:
        student: The model that learns; its number of attention heads is free.
        teacher: Of any width and number of attention heads.
        layer: Teacher layer, 1..N; None takes the last.
        heads: Relation heads, a divisor of both widths.

    Raises:
        ConfigError: No such layer, or ``heads`` does not divide both widths.

    Source: Wang et al. 2021, "MiniLMv2", section 3.
    """

    def __init__(
        self, student: PreTrainedModel, teacher: PreTrainedModel, layer: int | None, heads: int
    ) -> None:
        super().__init__()
        count = int(teacher.config.num_hidden_layers)
        widths = [int(model.config.hidden_size) for model in (student, teacher)]
        problems = []
        if layer is not None and not 1 <= layer <= count:
            problems.append(f"training.relation_layer is {layer}; wanted 1 to {count}")
        if heads < 1 or any(width % heads for width in widths):
            common = [n for n in range(1, min(widths) + 1) if not any(w % n for w in widths)]
            problems.append(
                f"training.relation_heads is {heads}; wanted a divisor of the widths {widths[0]} "
                f"and {widths[1]}: {', '.join(map(str, common))}"
            )
        if problems:
            raise ConfigError("; ".join(problems))
        self.student = student
        self._teacher = _Teacher(teacher)
        self._layers = int(student.config.num_hidden_layers), layer or count
        self._heads = heads

    def forward(self, **inputs: Tensor) -> Mapping[str, Any]:
        """Return the loss of a batch and its parts.

        Args:
            inputs: ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64 (B, T).

        Returns:
            ``loss`` (scalar) and ``parts`` (the three relations, by name).
        """
        own, theirs = self._layers
        wanted = self._teacher(inputs, projections=(theirs,)).projections(theirs)
        with Observer(self.student, projections=(own,)) as seen:
            _run(self.student, inputs)
        pad_mask = inputs["attention_mask"] == 0
        parts = {
            f"relation/{name}": relation_loss(x.float(), y.float(), pad_mask, self._heads)
            for name, x, y in zip(
                ("query", "key", "value"), seen.projections(own), wanted, strict=True
            )
        }
        loss = torch.stack(list(parts.values())).mean()
        return {"loss": loss, "parts": {name: part.detach() for name, part in parts.items()}}


class _Teacher:
    """Runs a teacher for what is observed in it; no module, so that nobody trains or saves it."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval().requires_grad_(False)

    def __call__(self, inputs: Mapping[str, Tensor], **wanted: tuple[int, ...]) -> Observer:
        self._model.to(inputs["input_ids"].device)
        with torch.no_grad(), Observer(self._model, **wanted) as seen:
            _run(self._model, inputs)
        return seen


def _run(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> None:
    """Run a model on a batch."""
    kept = {k: v for k, v in inputs.items() if k != "token_type_ids" or has_types(model)}
    model(**kept)
