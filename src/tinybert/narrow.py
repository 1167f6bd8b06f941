"""Encoder-decoders narrower than their teacher that begin with its weights, projected."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel

from tinybert.bart import has_two_tables, usual_heads
from tinybert.errors import ConfigError
from tinybert.projection import (
    aligned_basis,
    assign,
    keep_neurons,
    leading_basis,
    linear,
    project_attention,
    project_norm,
)

__all__ = ["NARROWED", "narrow_writer"]

NARROWED = ("bart", "marian")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
_SIDES = ("encoder", "decoder")


def narrow_writer(
    teacher: PreTrainedModel,
    encoder_layers: Sequence[int],
    decoder_layers: Sequence[int],
    *,
    hidden: int,
    heads: int | None = None,
    intermediate: int | None = None,
) -> PreTrainedModel:
    """Make a narrower model of the teacher's architecture out of the teacher's weights.

    As ``student.make_student`` does for encoders: every matrix is rewritten in the basis of the D
    leading directions of the embeddings (of words, and of positions where these are sines), heads
    are cut to their best lower rank, the strongest feed-forward neurons stay. Cross-attention reads
    the encoder in the encoder's basis and writes in the decoder's; one table gives both the same.

    Args:
        teacher: A BART or a Marian model; it stays as it is.
        encoder_layers, decoder_layers: Teacher layers to keep, counted from 0.
        hidden: D, at most the teacher's width E.
        heads: A divisor of D; None takes ``bart.usual_heads``.
        intermediate: Feed-forward width; None takes 4·D, or the teacher's if that is less.

    Raises:
        ConfigError: Sizes that do not divide or exceed the teacher's.

    Differs: positions of sines have no weights; the basis is turned so that the teacher's fall on
    the student's as nearly as they can.
    """
    config = _config(teacher.config, hidden, heads, intermediate)
    config.encoder_layers, config.decoder_layers = len(encoder_layers), len(decoder_layers)
    config.num_hidden_layers = len(encoder_layers)
    student: PreTrainedModel = AutoModelForSeq2SeqLM.from_config(config)
    student.generation_config = deepcopy(teacher.generation_config)
    student.eval()
    with torch.no_grad():
        bases = _bases(teacher, student)
        for side, basis, picked in zip(
            _SIDES, bases, (encoder_layers, decoder_layers), strict=True
        ):
            _project_stack(student, teacher, side, basis, bases[0], picked)
        head: Any = student.get_output_embeddings()
        head.weight.copy_(_weight(teacher, "lm_head") @ bases[1])
        student.get_buffer("final_logits_bias").copy_(teacher.get_buffer("final_logits_bias"))
    return student


def _config(teacher: Any, hidden: int, heads: int | None, intermediate: int | None) -> Any:
    """Check the sizes, all at once, and return the student's config."""
    width = int(teacher.d_model)
    inner = min(int(teacher.encoder_ffn_dim), int(teacher.decoder_ffn_dim))
    heads = heads or usual_heads(hidden)
    wanted = intermediate or min(4 * hidden, inner)
    problems, wide = [], []
    if hidden % heads:
        problems.append(f"{heads} heads do not divide the width {hidden}")
    if hidden > width:
        wide.append(f"student.hidden is {hidden}; wanted at most {width}, the teacher's width")
    if wanted > inner:
        wide.append(f"student.intermediate is {wanted}; wanted at most {inner}, the teacher's")
    if wide:
        problems.append(f'{"; ".join(wide)}; or give student.start = "random"')
    if problems:
        raise ConfigError("; ".join(problems))
    config = deepcopy(teacher)
    config.d_model = hidden
    for side in _SIDES:
        setattr(config, f"{side}_attention_heads", heads)
        setattr(config, f"{side}_ffn_dim", wanted)
    return config


def _bases(teacher: PreTrainedModel, student: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return the bases of encoder and decoder (E, D)."""
    width, hidden = int(teacher.config.d_model), int(student.config.d_model)
    if width == hidden:
        return torch.eye(width), torch.eye(width)
    made = []
    for side in _SIDES if has_two_tables(teacher) else _SIDES[:1]:
        words = _weight(teacher, f"model.{side}.embed_tokens") * _length(teacher)
        basis = leading_basis([words], hidden)
        if _has_sines(teacher):
            there, here = (_weight(m, f"model.{side}.embed_positions") for m in (teacher, student))
            basis = leading_basis([words, there], hidden)
            basis = aligned_basis(basis, there, here * (width / hidden) ** 0.5)
        made.append(basis)
    return made[0], made[-1]


def _project_stack(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    side: str,
    basis: Tensor,
    source_basis: Tensor,
    picked: Sequence[int],
) -> None:
    """Rewrite an encoder or a decoder."""
    here: Any = student.get_submodule(f"model.{side}")
    there: Any = teacher.get_submodule(f"model.{side}")
    here.embed_tokens.weight.copy_(_weight(there, "embed_tokens") @ basis)
    shrunk = _length(student) / _length(teacher)
    if not _has_sines(teacher):
        here.embed_positions.weight.copy_(_weight(there, "embed_positions") @ basis * shrunk)
    normed = hasattr(there, "layernorm_embedding")
    if normed:
        _project_norm_of(here, there, "layernorm_embedding", basis)
    heads = tuple(getattr(m.config, f"{side}_attention_heads") for m in (student, teacher))
    for i, (own, index) in enumerate(zip(here.layers, picked, strict=True)):
        scale = shrunk if i == 0 and not normed else 1.0
        _project_layer(own, there.layers[index], (basis, source_basis), heads, scale)


def _project_layer(
    own: Any, layer: Any, bases: tuple[Tensor, Tensor], heads: tuple[int, int], scale: float
) -> None:
    """Rewrite a layer; ``scale`` is the length of its inputs over that of the teacher's."""
    basis = bases[0]
    project_attention(own.self_attn, layer.self_attn, _PROJECTIONS, (basis, basis), heads, scale)
    norms = ["self_attn_layer_norm", "final_layer_norm"]
    if hasattr(layer, "encoder_attn"):
        project_attention(own.encoder_attn, layer.encoder_attn, _PROJECTIONS, bases, heads)
        norms.append("encoder_attn_layer_norm")
    keep_neurons(own, layer, ("fc1", "fc2"), basis, basis)
    for name in norms:
        _project_norm_of(own, layer, name, basis)


def _project_norm_of(own: nn.Module, source: nn.Module, name: str, basis: Tensor) -> None:
    """Rewrite a layer norm."""
    gain, shift = linear(source, name)
    assign(own, name, project_norm(gain, basis), shift @ basis)


def _has_sines(model: PreTrainedModel) -> bool:
    """Whether positions are sines and cosines."""
    return bool(model.config.model_type == "marian")


def _length(model: PreTrainedModel) -> float:
    """Return what word embeddings are multiplied with."""
    return float(model.config.d_model**0.5 if model.config.scale_embedding else 1.0)


def _weight(model: nn.Module, name: str) -> Tensor:
    """Return the weight of a part as float32."""
    part: Any = model.get_submodule(name)
    found: Tensor = part.weight.detach().float()
    return found
