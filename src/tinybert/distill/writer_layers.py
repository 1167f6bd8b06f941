"""Layer distillation of encoder-decoders: hidden states of both, and cross-attention."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.distill.forward import encode_once
from tinybert.errors import ConfigError
from tinybert.losses.cross_attention import cross_attention_loss
from tinybert.losses.hidden import hidden_loss
from tinybert.mapping import layer_map

__all__ = ["WriterLayers"]

_PARTS = ("encoder", "decoder")


class WriterLayers:
    """The teacher's layers as targets of the student's, by the uniform mapping g(m).

    L = β·mean_m MSE(H^S_m, H^T_g(m)) over encoder and decoder, + γ·mean_m MSE(A^S_m, A^T_g(m)) of
    the decoder's cross-attention scores

    Args:
        teacher: As wide as the student; it runs beside it and does not learn.
        student: The student.
        hidden: β.
        cross_attention: γ.

    Raises:
        ConfigError: Widths or heads differ, or the student has more layers.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        student: PreTrainedModel,
        *,
        hidden: float,
        cross_attention: float,
    ) -> None:
        for name in ("d_model", "decoder_attention_heads"):
            own, other = getattr(student.config, name), getattr(teacher.config, name, None)
            if own != other:
                raise ConfigError(
                    f"training.hidden and training.cross_attention need a student with the "
                    f"teacher's {name}, {other}; it has {own}"
                )
        self._teacher, self._hidden, self._cross = teacher, hidden, cross_attention
        self._maps = {
            part: layer_map("uniform", *(_count(m, part) for m in (student, teacher)))
            for part in _PARTS
        }

    def losses(
        self,
        student: PreTrainedModel,
        inputs: Mapping[str, Tensor],
        pad_mask: Tensor,
    ) -> tuple[Any, dict[str, Tensor]]:
        """Run student and teacher on a batch.

        Args:
            student: The student.
            inputs: As for ``forward.encode_once``.
            pad_mask: Bool (R, T), True on padding of the targets.

        Returns:
            What the student gave, and the losses by name, with their weights in them.
        """
        teacher: nn.Module = self._teacher
        if next(teacher.parameters()).device != pad_mask.device:
            teacher.to(pad_mask.device)
        teacher.eval()
        with torch.no_grad(), _cross_scores(self._teacher) as wanted:
            target = _run(self._teacher, inputs)
        with _cross_scores(student) as found:
            out = _run(student, inputs)
        pads = {"encoder": inputs["attention_mask"] == 0, "decoder": pad_mask}
        losses = {}
        if self._hidden:
            for part in _PARTS:
                own, other = (getattr(x, f"{part}_hidden_states") for x in (out, target))
                each = [
                    hidden_loss(own[m], other[g], pads[part])
                    for m, g in enumerate(self._maps[part], start=1)
                ]
                losses[f"{part}_hidden"] = self._hidden * torch.stack(each).mean() / len(_PARTS)
        if self._cross:
            unseen = pads["encoder"].index_select(0, inputs["source"])
            each = [
                cross_attention_loss(found[m], wanted[g - 1], pad_mask, unseen)
                for m, g in enumerate(self._maps["decoder"])
            ]
            losses["cross_attention"] = self._cross * torch.stack(each).mean()
        return out, losses


def _run(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Any:
    """Return what a model gives for a batch, the outputs of its layers with it."""
    network: Any = model
    given = encode_once(model, inputs, output_hidden_states=True)
    return network(**given, use_cache=False, output_hidden_states=True)


@contextmanager
def _cross_scores(model: PreTrainedModel) -> Iterator[dict[int, Tensor]]:
    """Yield what becomes the scores Q·Kᵀ/√d, (B, H, T, S), of each decoder layer, from 0."""
    layers: Any = model.get_submodule("model.decoder.layers")
    seen: dict[tuple[int, str], Tensor] = {}
    scores: dict[int, Tensor] = {}
    hooks = []
    for i, layer in enumerate(layers):
        for name in ("q_proj", "k_proj"):

            def keep(_: Any, __: Any, output: Tensor, at: tuple[int, str] = (i, name)) -> None:
                seen[at] = output

            hooks.append(getattr(layer.encoder_attn, name).register_forward_hook(keep))
    try:
        yield scores
        heads = int(model.config.decoder_attention_heads)
        for i in range(len(layers)):
            query, key = (
                seen[i, name].unflatten(-1, (heads, -1)).transpose(1, 2)
                for name in ("q_proj", "k_proj")
            )
            scores[i] = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    finally:
        for hook in hooks:
            hook.remove()


def _count(model: PreTrainedModel, part: str) -> int:
    """Return the layers of a part."""
    return int(getattr(model.config, f"{part}_layers"))
