"""The student with what it is trained towards; the projections live here and never ship."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.artifact import VALUED
from tinybert.distill.aligned import pool_scores, pool_states
from tinybert.distill.infer import has_types
from tinybert.distill.outputs import NO_LABEL
from tinybert.distill.recipe import Stage
from tinybert.errors import ConfigError
from tinybert.first_token import first_token_only
from tinybert.heads import answers_of
from tinybert.losses import (
    attention_loss,
    embedding_loss,
    hidden_loss,
    multilabel_loss,
    place_loss,
    prediction_loss,
    regression_loss,
    span_loss,
    tag_loss,
    token_loss,
)
from tinybert.observe import Observer

__all__ = ["Objective", "teacher_columns"]


def teacher_columns(
    stage: Stage, layer_map: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which teacher layers a stage needs: those of hidden states and those of scores."""
    hidden = ((0,) if stage.embedding else ()) + (layer_map if stage.hidden else ())
    return hidden, layer_map if stage.attention else ()


class Objective(nn.Module):
    """L = Σ_m (w_a·L_attn(m) + w_h·L_hidn(m)) + w_e·L_embd + w_p·L_pred + w_y·L_labels.

    Args:
        student: The model that learns.
        stage: The weights w of the losses, and the temperature.
        layer_map: Teacher layer of each student layer, g(1..M).
        teacher_width: E.
        task: One of ``artifact.TASKS``: what answers are compared as.

    Attributes:
        heads: For each student layer which of the teacher's heads its own are compared with, once
            it has lost some; None: all.

    Raises:
        ConfigError: All weights are zero.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        stage: Stage,
        layer_map: tuple[int, ...],
        teacher_width: int,
        *,
        task: str,
    ) -> None:
        super().__init__()
        weights = (stage.attention, stage.hidden, stage.embedding, stage.prediction)
        if not any((*weights, stage.hard_labels)):
            raise ConfigError("every loss of the stage has weight 0; wanted at least one above 0")
        self.student = student
        self.heads: list[list[int]] | None = None
        self._stage = stage
        self._map = layer_map
        self._task = task
        self._takes_types = has_types(student)
        width = int(student.config.hidden_size)
        layers = [0, *range(1, len(layer_map) + 1)]
        needed = layers if width != teacher_width and (stage.hidden or stage.embedding) else []
        self.projections = nn.ParameterDict(
            {str(m): nn.Parameter(_start(width, teacher_width)) for m in needed}
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        labels: Tensor | None = None,
        word_mask: Tensor | None = None,
        span_mask: Tensor | None = None,
        words: Tensor | None = None,
        **teacher: Tensor,
    ) -> Mapping[str, Any]:
        """Return the loss of a batch and its parts.

        Args:
            input_ids: Int64 (B, T).
            attention_mask: Int64 (B, T), 1 on tokens.
            token_type_ids: Int64 (B, T).
            labels: Int64 (B,); float (B,) for values, float (B, C) in multilabel and of soft
                labels, int64 (B, T) in tagging, int64 (B, 2) in answering; ``NO_LABEL``, or NaN: it
                has none.
            word_mask: Bool (B, T), True on the first token of each word; in tagging alone.
            span_mask: Bool (B, T), True where an answer may start or end; in answering alone.
            words: Int64 (B, T), the word of each token, −1 for none; where the teacher cuts words
                into other pieces, whose outputs below are then for W words instead of T tokens.
            teacher: ``teacher_logits`` (B, C), in tagging (B, T, C), in answering (B, T, 2),
                ``hidden_N`` (B, T, E), ``scores_N`` (B, H, T, T).

        Returns:
            ``loss`` (scalar), ``logits`` (B, C) or (B, T, C), ``parts`` (each loss before its
            weight, by name).
        """
        stage, count = self._stage, len(self._map)
        hidden = ([0] if stage.embedding else []) + (
            list(range(1, count + 1)) if stage.hidden else []
        )
        scores = range(1, count + 1) if stage.attention else ()
        types = {"token_type_ids": token_type_ids} if self._takes_types else {}
        shortcut = nullcontext() if hidden or scores else first_token_only(self.student)
        with shortcut, Observer(self.student, hidden=hidden, scores=scores) as seen:
            outputs = self.student(input_ids=input_ids, attention_mask=attention_mask, **types)
            logits = answers_of(outputs).float()
        weighted = self._layer_parts(seen, teacher, attention_mask == 0, words)
        weighted |= self._answer_parts(logits, labels, word_mask, span_mask, teacher)
        loss = torch.stack([weight * part for weight, part in weighted.values()]).sum()
        parts = {name: part.detach() for name, (_, part) in weighted.items()}
        return {"loss": loss, "logits": logits, "parts": parts}

    def _layer_parts(
        self,
        seen: Observer,
        teacher: Mapping[str, Tensor],
        pad_mask: Tensor,
        words: Tensor | None,
    ) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of the losses inside the network."""
        stage = self._stage
        parts: dict[str, tuple[float, Tensor]] = {}
        if words is not None:
            pad_mask = ~F.one_hot(words + 1)[..., 1:].any(dim=1)

        def hidden(m: int) -> Tensor:
            states = seen.hidden(m).float()
            return states if words is None else pool_states(states, words)

        def scores(m: int) -> Tensor:
            found = seen.scores(m).float()
            return found if words is None else pool_scores(found, words)

        if stage.embedding:
            loss = embedding_loss(hidden(0), teacher["hidden_0"], pad_mask, self._projection(0))
            parts["embedding"] = (stage.embedding, loss)
        for m, n in enumerate(self._map, start=1):
            if stage.hidden:
                loss = hidden_loss(hidden(m), teacher[f"hidden_{n}"], pad_mask, self._projection(m))
                parts[f"hidden/{m}"] = (stage.hidden, loss)
            if stage.attention:
                wanted = teacher[f"scores_{n}"]
                wanted = wanted if self.heads is None else wanted[:, self.heads[m - 1]]
                loss = attention_loss(scores(m), wanted, pad_mask)
                parts[f"attention/{m}"] = (stage.attention, loss)
        return parts

    def _answer_parts(
        self,
        logits: Tensor,
        labels: Tensor | None,
        word_mask: Tensor | None,
        span_mask: Tensor | None,
        teacher: Mapping[str, Tensor],
    ) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of the losses on the answers."""
        stage = self._stage
        parts: dict[str, tuple[float, Tensor]] = {}
        if stage.prediction:
            target = teacher["teacher_logits"]
            if self._task in VALUED:
                loss = regression_loss(logits, target)
            elif self._task == "multilabel":
                loss = multilabel_loss(logits, target, stage.temperature)
            elif word_mask is not None:
                loss = token_loss(logits, target, word_mask, stage.temperature)
            elif span_mask is not None:
                loss = span_loss(logits, target, span_mask, stage.temperature)
            else:
                loss = prediction_loss(logits, target, stage.temperature)
            parts["prediction"] = (stage.prediction, loss)
        if stage.hard_labels:
            if labels is None:
                raise ConfigError("hard_labels is above 0 but the data have no labels")
            if word_mask is not None:
                loss = tag_loss(logits, labels, word_mask, NO_LABEL)
            elif span_mask is not None:
                loss = place_loss(logits, labels, span_mask, NO_LABEL)
            else:
                loss = self._labels_loss(logits, labels)
            parts["labels"] = (stage.hard_labels, loss)
        return parts

    def _labels_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch; a row without a label adds nothing to it."""
        if self._task in VALUED:
            known = ~labels.isnan()
            values, wanted = logits[known, 0], labels[known].float()
            total = (
                F.mse_loss(values, wanted, reduction="sum")
                if self._task == "regression"
                else F.binary_cross_entropy_with_logits(values, wanted, reduction="sum")
            )
        elif self._task == "multilabel":
            known = ~labels.isnan().any(dim=1)
            each = F.binary_cross_entropy_with_logits(
                logits[known], labels[known], reduction="none"
            )
            total = each.mean(dim=1).sum()
        elif labels.is_floating_point():
            known = ~labels.isnan().any(dim=1)
            total = F.cross_entropy(logits[known], labels[known].float(), reduction="sum")
        else:
            total = F.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum")
        return total / len(labels)

    def _projection(self, layer: int) -> Tensor | None:
        """Return W of a layer, or None where the widths agree."""
        return dict(self.projections.items()).get(str(layer))


def _start(width: int, teacher_width: int) -> Tensor:
    """Return a projection to start from: orthogonal rows."""
    weight = torch.empty(width, teacher_width)
    nn.init.orthogonal_(weight)
    return weight
