"""Encoder-decoders in BART's layout: new ones, thinned ones, and those that begin as a BERT."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertModel,
    MarianConfig,
    MarianMTModel,
    PreTrainedModel,
)

from tinybert.errors import ConfigError, UnsupportedModelError

__all__ = [
    "LAYOUTS",
    "check_layout",
    "choose_layers",
    "from_bert",
    "has_two_tables",
    "new_writer",
    "set_dropout",
    "set_epsilon",
    "shrink",
    "usual_heads",
    "vocabulary_sizes",
]

LAYOUTS = ("bart", "m2m_100", "marian", "mbart")
_OFFSET = 2
_SPREAD = {"bart": 0.5, "marian": 1.0}  # of the weights, times the square root of the width


def usual_heads(width: int) -> int:
    """Return how many heads to give a width: of its divisors the one nearest to 32 numbers a head.

    >>> usual_heads(128), usual_heads(168), usual_heads(312), usual_heads(8)
    (4, 6, 12, 1)
    """
    divisors = [heads for heads in range(1, width + 1) if width % heads == 0]
    return min(divisors, key=lambda heads: abs(width / heads - 32))


def new_writer(
    vocab_size: int | tuple[int, int],
    *,
    layers: tuple[int, int],
    hidden: int,
    heads: int | None = None,
    intermediate: int | None = None,
    positions: int = 256,
    dropout: float = 0.1,
    start: int,
    pad: int,
    eos: int,
    seed: int = 0,
) -> PreTrainedModel:
    """Make a plain encoder-decoder with new weights, in eval mode.

    Args:
        vocab_size: V: a BART, whose one table embeds source, target and output words. V of sources
            and V of targets: a Marian with a table each, that of targets gives the logits as well;
            its positions are sines and cosines.
        layers: Of the encoder and of the decoder.
        hidden: D.
        heads: A divisor of D; None takes ``usual_heads``.
        intermediate: Feed-forward width; None takes 4·D.
        positions: Longest source and target in tokens.
        dropout: 0..1.
        start: Token id that the decoder begins with.
        pad, eos: Token ids of padding and of a text's end; those of both vocabularies.
        seed: Seeds the weights.

    Raises:
        ConfigError: The heads do not divide the width.
    """
    heads = heads or usual_heads(hidden)
    if hidden % heads:
        raise ConfigError(f"{heads} heads do not divide the width {hidden}")
    inner = intermediate or 4 * hidden
    settings: dict[str, Any] = {
        "d_model": hidden,
        "encoder_layers": layers[0],
        "decoder_layers": layers[1],
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": inner,
        "decoder_ffn_dim": inner,
        "max_position_embeddings": positions,
        "dropout": dropout,
        "activation_function": "gelu",
        "bos_token_id": start,
        "pad_token_id": pad,
        "eos_token_id": eos,
        "decoder_start_token_id": start,
        "forced_eos_token_id": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _random(vocab_size, settings)
    model.eval()
    return model


def has_two_tables(model: PreTrainedModel) -> bool:
    """Whether sources and targets have a vocabulary each."""
    return not getattr(model.config, "share_encoder_decoder_embeddings", True)


def vocabulary_sizes(model: PreTrainedModel) -> tuple[int, int]:
    """Return V of sources and of targets."""
    size = int(model.config.vocab_size)
    return size, int(model.config.decoder_vocab_size) if has_two_tables(model) else size


def shrink(
    teacher: PreTrainedModel, encoder_layers: Sequence[int], decoder_layers: Sequence[int]
) -> PreTrainedModel:
    """Make a student of a teacher's own layers (shrink and fine-tune).

    Args:
        teacher: A model of one of ``LAYOUTS``; it stays as it is.
        encoder_layers, decoder_layers: Teacher layers to keep, counted from 0.

    Raises:
        UnsupportedModelError: Another architecture.
        ConfigError: There is no such layer.

    Source: Shleifer and Rush 2020, "Pre-trained Summarization Distillation", section 3.
    """
    check_layout(teacher)
    student = copy.deepcopy(teacher)
    for name, picked in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        part = student.get_submodule(f"model.{name}")
        there = part.get_submodule("layers")
        wrong = [layer for layer in picked if not 0 <= layer < len(there)]  # type: ignore[arg-type]
        if wrong or not picked:
            raise ConfigError(
                f"{name} layers are {list(picked)}; the teacher has layers 0 to {len(there) - 1}"  # type: ignore[arg-type]
            )
        kept = nn.ModuleList(there[layer] for layer in picked)  # type: ignore[index]
        for i, layer in enumerate(kept):
            for module in layer.modules():
                if getattr(module, "layer_idx", None) is not None:
                    module.layer_idx = i  # type: ignore[assignment]
        part.layers = kept
        setattr(student.config, f"{name}_layers", len(kept))
    student.config.num_hidden_layers = len(encoder_layers)
    student.eval()
    return student


def from_bert(
    bert: BertModel,
    *,
    decoder_layers: Sequence[int],
    start: int,
    eos: int,
    dropout: float = 0.1,
) -> PreTrainedModel:
    """Turn a BERT into an encoder-decoder whose encoder computes what the BERT computes.

    The embedding of the first segment is added to the positions. A decoder layer takes
    self-attention and feed-forward from the BERT layer it begins as, and its cross-attention from
    that layer's self-attention.

    Args:
        bert: A BERT with absolute positions.
        decoder_layers: The BERT layer, from 0, that each decoder layer begins as.
        start: Token id that the decoder begins with, such as that of ``[CLS]``.
        eos: Token id of a text's end, such as that of ``[SEP]``.
        dropout: 0..1.

    Raises:
        ConfigError: There is no such layer.
        UnsupportedModelError: No plain BERT.

    Source: Rothe et al. 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks".
    Differs: cross-attention begins as self-attention, not at random. A saved folder has layer norms
    with 1e-5 where the BERT has 1e-12; ``set_epsilon`` gives the BERT's own.
    """
    config = bert.config
    if config.model_type != "bert":
        raise UnsupportedModelError(f"a model of type {config.model_type}; wanted a BERT")
    count = config.num_hidden_layers
    if wrong := [layer for layer in decoder_layers if not 0 <= layer < count]:
        raise ConfigError(f"the BERT has no layer {wrong[0]}; it has 0 to {count - 1}")
    made = new_writer(
        config.vocab_size,
        layers=(count, len(decoder_layers)),
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        positions=config.max_position_embeddings,
        dropout=dropout,
        start=start,
        pad=config.pad_token_id or 0,
        eos=eos,
    )
    model: Any = made
    model.config.activation_function = config.hidden_act
    with torch.no_grad():
        for part in (model.model.encoder, model.model.decoder):
            _copy_embeddings(bert, part)
        layers = bert.encoder.layer
        for own, layer in zip(model.model.encoder.layers, layers, strict=True):
            _copy_layer(layer, own)
        for own, i in zip(model.model.decoder.layers, decoder_layers, strict=True):
            _copy_layer(layers[i], own)
            _copy_attention(layers[i], own.encoder_attn, own.encoder_attn_layer_norm)
    return made


def set_epsilon(model: nn.Module, epsilon: float) -> None:
    """Set the epsilon of all layer norms."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = epsilon


def set_dropout(model: PreTrainedModel, dropout: float) -> None:
    """Set the dropout of all layers, 0..1, and that inside of them where there is some.

    No layer is left out as a whole (LayerDrop): of few layers each is needed.
    """
    config = model.config
    config.dropout = dropout
    for name in ("attention_dropout", "activation_dropout"):
        if getattr(config, name, 0.0):
            setattr(config, name, dropout)
    for module in model.modules():
        part: Any = module
        own = getattr(part, "dropout", None)
        if isinstance(own, float) and (own or hasattr(part, "fc1")):
            part.dropout = dropout
        if getattr(part, "activation_dropout", 0.0):
            part.activation_dropout = dropout
    for name in ("encoder", "decoder"):
        part = model.get_submodule(f"model.{name}")
        part.dropout, part.layerdrop = dropout, 0.0
        setattr(config, f"{name}_layerdrop", 0.0)


def choose_layers(wanted: int | Sequence[int], count: int) -> list[int]:
    """Return the teacher layers of a student: those given, or so many with equal steps.

    The first and the last are among them; a single one is the first.

    Raises:
        ConfigError: More layers than there are.

    >>> choose_layers(3, 6), choose_layers(1, 6), choose_layers([0, 5], 6)
    ([0, 2, 5], [0], [0, 5])
    """
    if not isinstance(wanted, int):
        if wrong := [layer for layer in wanted if not 0 <= layer < count]:
            raise ConfigError(f"there is no layer {wrong[0]}; the teacher has 0 to {count - 1}")
        return list(wanted)
    if not 1 <= wanted <= count:
        raise ConfigError(f"{wanted} layers were asked for; the teacher has {count}")
    if wanted == 1:
        return [0]
    return [i * (count - 1) // (wanted - 1) for i in range(wanted)]


def check_layout(model: PreTrainedModel) -> None:
    """Refuse an architecture whose parts are not those of BART.

    Raises:
        UnsupportedModelError: None of ``LAYOUTS``.
    """
    if model.config.model_type not in LAYOUTS:
        raise UnsupportedModelError(
            f"a model of type {model.config.model_type}; wanted one of {', '.join(LAYOUTS)}"
        )


def _random(vocab_size: int | tuple[int, int], settings: dict[str, Any]) -> PreTrainedModel:
    """Return a BART with one vocabulary or a Marian with two.

    A Marian has no layer norm before its first layer: with weights of half the spread its encoder
    came to give all tokens the same vector.
    """
    kind = "bart" if isinstance(vocab_size, int) else "marian"
    settings["init_std"] = _SPREAD[kind] * settings["d_model"] ** -0.5
    if isinstance(vocab_size, int):
        return BartForConditionalGeneration(BartConfig(vocab_size=vocab_size, **settings))
    config = MarianConfig(
        vocab_size=vocab_size[0],
        decoder_vocab_size=vocab_size[1],
        share_encoder_decoder_embeddings=False,
        scale_embedding=True,
        **settings,
    )
    return MarianMTModel(config)


def _copy_embeddings(bert: BertModel, part: nn.Module) -> None:
    """Copy words and layer norm; positions take in the first segment's embedding."""
    own = bert.embeddings
    part.embed_tokens.weight.copy_(own.word_embeddings.weight)  # type: ignore[union-attr, operator]
    positions = own.position_embeddings.weight + own.token_type_embeddings.weight[0]
    part.embed_positions.weight[_OFFSET:].copy_(positions)  # type: ignore[union-attr, index]
    part.layernorm_embedding.load_state_dict(own.LayerNorm.state_dict())  # type: ignore[union-attr]


def _copy_layer(layer: nn.Module, own: nn.Module) -> None:
    """Copy a BERT layer onto a layer of BART."""
    _copy_attention(layer, own.self_attn, own.self_attn_layer_norm)  # type: ignore[arg-type]
    for there, here in (
        ("intermediate.dense", "fc1"),
        ("output.dense", "fc2"),
        ("output.LayerNorm", "final_layer_norm"),
    ):
        state = layer.get_submodule(there).state_dict()
        own.get_submodule(here).load_state_dict(state)


def _copy_attention(layer: nn.Module, attention: nn.Module, norm: nn.Module) -> None:
    """Copy a BERT layer's self-attention and the norm behind it."""
    for there, here in (
        ("attention.self.query", "q_proj"),
        ("attention.self.key", "k_proj"),
        ("attention.self.value", "v_proj"),
        ("attention.output.dense", "out_proj"),
    ):
        state = layer.get_submodule(there).state_dict()
        attention.get_submodule(here).load_state_dict(state)
    norm.load_state_dict(layer.get_submodule("attention.output.LayerNorm").state_dict())
