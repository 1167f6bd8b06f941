"""Writes an encoder-decoder as CTranslate2 reads it, from its weights, without a converter."""

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import common_spec
from ctranslate2.specs.transformer_spec import TransformerSpec
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.bart import check_layout, has_two_tables, vocabulary_sizes
from tinybert.errors import UnsupportedModelError

__all__ = ["token_list", "token_lists", "write_ctranslate2"]

_OFFSET = 2
_ACTIVATIONS = {
    "gelu": common_spec.Activation.GELU,
    "gelu_new": common_spec.Activation.GELUTanh,
    "relu": common_spec.Activation.RELU,
    "silu": common_spec.Activation.SWISH,
    "swish": common_spec.Activation.SWISH,
}


def write_ctranslate2(
    model: PreTrainedModel,
    tokens: tuple[Sequence[str], Sequence[str]],
    folder: str | Path,
    *,
    int8: bool,
) -> Path:
    """Write a model of BART's layout as a folder of CTranslate2.

    Args:
        model: On the CPU.
        tokens: Of sources and of targets, in the order of their ids (see ``token_lists``).
        folder: An older one is replaced when the new one is whole.
        int8: Weights in int8, one scale a row; else float32.

    Raises:
        UnsupportedModelError: Another architecture or activation.
    """
    check_layout(model)
    config: Any = model.config
    if config.activation_function not in _ACTIVATIONS:
        raise UnsupportedModelError(
            f"activation `{config.activation_function}`; wanted one of {', '.join(_ACTIVATIONS)}"
        )
    spec = TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.encoder_attention_heads,
        pre_norm=config.model_type in ("m2m_100", "mbart"),
        activation=_ACTIVATIONS[config.activation_function],
        layernorm_embedding=config.model_type in ("bart", "mbart"),
    )
    for name in ("encoder", "decoder"):
        _set_stack(getattr(spec, name), model.get_submodule(f"model.{name}"), config)
    spec.decoder.projection.weight = _array(model.lm_head.weight)
    bias = getattr(model, "final_logits_bias", None)
    if isinstance(bias, Tensor) and bias.any():
        spec.decoder.projection.bias = _array(bias.squeeze(0))
    spec.register_source_vocabulary(list(tokens[0]))
    spec.register_target_vocabulary(list(tokens[1]))
    target = tokens[1]
    spec.config.decoder_start_token = target[config.decoder_start_token_id]
    spec.config.bos_token = target[config.decoder_start_token_id]
    spec.config.eos_token = target[config.eos_token_id]
    spec.config.unk_token = next((t for t in ("<unk>", "[UNK]") if t in target), target[0])
    spec.config.layer_norm_epsilon = _epsilon(model)
    spec.validate()
    spec.optimize(quantization="int8" if int8 else "float32")
    return _save(spec, Path(folder))


def token_list(vocabulary: dict[str, int], size: int) -> list[str]:
    """Return the tokens of ids 0 to ``size`` - 1; ids without a token get a name of their own."""
    by_id = {i: token for token, i in vocabulary.items()}
    return [by_id.get(i, f"<unused {i}>") for i in range(size)]


def token_lists(
    model: PreTrainedModel, source: dict[str, int], target: dict[str, int]
) -> tuple[list[str], list[str]]:
    """Return the tokens of sources and of targets in the order of a model's ids.

    Args:
        model: The encoder-decoder; most have one table for both.
        source, target: Ids of tokens.
    """
    sizes = vocabulary_sizes(model)
    if not has_two_tables(model):
        target = source
    return token_list(source, sizes[0]), token_list(target, sizes[1])


def _save(spec: TransformerSpec, folder: Path) -> Path:
    """Write beside the folder, then put the new one in its place."""
    whole = folder.with_name(f".{folder.name}.{os.getpid()}.whole")
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir(parents=True)
    spec.save(str(whole))
    shutil.rmtree(folder, ignore_errors=True)
    whole.rename(folder)
    return folder


def _set_stack(spec: Any, stack: nn.Module, config: Any) -> None:
    """Set the embeddings and the layers of an encoder or a decoder."""
    part: Any = stack
    words = spec.embeddings[0] if isinstance(spec.embeddings, list) else spec.embeddings
    words.weight = _array(part.embed_tokens.weight)
    spec.scale_embeddings = math.sqrt(config.d_model) if config.scale_embedding else 1.0
    sinusoids = getattr(part.embed_positions, "weights", None)
    positions = _array(part.embed_positions.weight if sinusoids is None else sinusoids)
    offset = 0 if config.model_type == "marian" else _OFFSET
    spec.position_encodings.encodings = positions[offset:]
    for name in ("layernorm_embedding", "layer_norm"):
        if hasattr(spec, name):
            _set_norm(getattr(spec, name), getattr(part, name))
    for own, layer in zip(spec.layer, part.layers, strict=True):
        attention = own.self_attention
        _set_linear(attention.linear[0], *_projections(layer.self_attn, "qkv"))
        _set_linear(attention.linear[1], layer.self_attn.out_proj)
        _set_norm(attention.layer_norm, layer.self_attn_layer_norm)
        if hasattr(layer, "encoder_attn"):
            _set_linear(own.attention.linear[0], *_projections(layer.encoder_attn, "q"))
            _set_linear(own.attention.linear[1], *_projections(layer.encoder_attn, "kv"))
            _set_linear(own.attention.linear[2], layer.encoder_attn.out_proj)
            _set_norm(own.attention.layer_norm, layer.encoder_attn_layer_norm)
        _set_linear(own.ffn.linear_0, layer.fc1)
        _set_linear(own.ffn.linear_1, layer.fc2)
        _set_norm(own.ffn.layer_norm, layer.final_layer_norm)


def _projections(attention: Any, which: str) -> list[nn.Linear]:
    """Return some of the query, key and value projections."""
    return [getattr(attention, f"{name}_proj") for name in which]


def _set_linear(spec: Any, *parts: nn.Linear) -> None:
    """Set a linear layer, or several as one."""
    spec.weight = np.concatenate([_array(part.weight) for part in parts])
    spec.bias = np.concatenate([_array(part.bias) for part in parts])


def _set_norm(spec: Any, norm: nn.Module) -> None:
    """Set a layer norm."""
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)  # type: ignore[arg-type]


def _array(tensor: Tensor) -> Any:
    """Return a tensor's numbers."""
    return tensor.detach().float().cpu().numpy().copy()


def _epsilon(model: nn.Module) -> float:
    """Return the epsilon of the layer norms."""
    found = {m.eps for m in model.modules() if isinstance(m, nn.LayerNorm)}
    if len(found) != 1:
        raise UnsupportedModelError(f"layer norms with {sorted(found)}; wanted one epsilon")
    return found.pop()
