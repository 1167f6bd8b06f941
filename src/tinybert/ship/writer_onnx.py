"""From an encoder-decoder to ONNX files with a cache, in the folder that transformers.js reads."""

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from tinybert import datasets
from tinybert.artifact import check_target, new_folder, write_atomic
from tinybert.distill.writers import copy_vocabulary, force_token, load_writer
from tinybert.errors import ConfigError
from tinybert.pairs import load_saved_pairs
from tinybert.ship.compact import limit_length
from tinybert.ship.export import OPSET
from tinybert.ship.greedy import compare
from tinybert.ship.merge import DECODER, ENCODER, MERGED, PAST, merge_decoders
from tinybert.ship.quantize import quantize_graph
from tinybert.text import Tokenizer

__all__ = ["export_writer_onnx", "texts_for"]

_LONGEST = 128
_TEXTS = 16
_BATCH, _SOURCE, _TARGET, _WRITTEN = (
    torch.export.Dim(name)
    for name in (
        "batch_size",
        "encoder_sequence_length",
        "decoder_sequence_length",
        "past_decoder_sequence_length",
    )
)


def export_writer_onnx(
    model: str | Path,
    to: str | Path,
    *,
    texts: Sequence[str],
    max_length: int = _LONGEST,
    target_token: str | None = None,
) -> Path:
    """Write a model that translates or summarizes as ONNX files, and prove that they write alike.

    The folder holds ``config.json``, ``generation_config.json``, the tokenizer and, in ``onnx/``,
    ``encoder_model``, ``decoder_model`` (the first token), ``decoder_with_past_model`` (each token
    after it) and ``decoder_model_merged`` (both, chosen by ``use_cache_branch``), in float32 and,
    as ``*_quantized``, in int8. ``parity.json`` says how far the answers agree. It is written
    beside ``to`` and renamed when it is whole and proved.

    Args:
        model: Folder or hub id of a BART, Marian, mBART or M2M-100 model.
        to: The folder; an earlier one of this function is replaced.
        texts: What both answer greedily, at least one text.
        max_length: Longest of them in tokens, and longest answer.
        target_token: What every answer of a model of many languages begins with.

    Returns:
        The folder.

    Raises:
        ConfigError: ``to`` holds something else, or there are no texts.
        UnsupportedModelError: The model cannot be loaded.
        ArtifactError: ONNX Runtime writes other tokens than PyTorch.
    """
    target = Path(to)
    check_target(target, holds=f"onnx/{MERGED}.onnx", called="ONNX files of a text-to-text model")
    if not texts:
        raise ConfigError("no texts were given; wanted at least one to compare answers on")
    network = load_writer(model)
    longest = min(max_length, int(network.config.max_position_embeddings) - 1)
    with new_folder(target) as partial:
        (partial / "onnx").mkdir()
        copy_vocabulary(model, partial)
        limit_length(partial, longest)
        tokenizer = Tokenizer(partial, max_length=longest)
        force_token(network, target_token, tokenizer)
        network.config.save_pretrained(partial)
        _save_generation(network, tokenizer.pad_id, partial)
        _write_graphs(network, partial / "onnx")
        parity = compare(network, tokenizer, partial / "onnx", texts, longest=longest)
        text = json.dumps(parity, indent=2) + "\n"
        write_atomic(partial / "parity.json", text.encode())
    return target


def texts_for(model: str | Path) -> list[str]:
    """Return texts to compare answers on: the run's dev sources, or embedded messages."""
    run = Path(model).resolve().parent
    if (run / "data" / "pairs.json").is_file():
        return list(load_saved_pairs(run).dev["source"][:_TEXTS])
    return list(datasets.load("helpdesk")["dev"]["text"][:_TEXTS])


def _save_generation(network: PreTrainedModel, pad: int, folder: Path) -> None:
    """Write how texts are written: to the end of the positions, and never padding."""
    settings: Any = copy.deepcopy(network.generation_config)
    settings.max_length = int(network.config.max_position_embeddings)
    settings.bad_words_ids = settings.bad_words_ids or [[pad]]
    settings.save_pretrained(folder)


class _Encoder(nn.Module):
    """The encoder as its graph sees it."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.encoder: Any = network.get_submodule("model.encoder")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return states (B, S, D)."""
        found: Tensor = self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        return found


class _First(nn.Module):
    """The decoder without a cache."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network: Any = network

    def forward(
        self, encoder_attention_mask: Tensor, input_ids: Tensor, encoder_hidden_states: Tensor
    ) -> tuple[Tensor, ...]:
        """Return logits (B, T, V) and for each layer its keys and values, own and of the source."""
        found = self.network(
            encoder_outputs=(encoder_hidden_states,),
            attention_mask=encoder_attention_mask,
            decoder_input_ids=input_ids,
            use_cache=True,
        )
        cache = found.cache
        layers = zip(
            cache.self_attention_cache.layers, cache.cross_attention_cache.layers, strict=True
        )
        parts = ([own.keys, own.values, other.keys, other.values] for own, other in layers)
        return (found.logits, *(part for layer in parts for part in layer))


class _Later(nn.Module):
    """The decoder with a cache, for one token."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network: Any = network

    def forward(
        self, encoder_attention_mask: Tensor, input_ids: Tensor, past: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Return logits (B, 1, V) and for each layer its own keys and values."""
        layers = range(0, len(past), 4)
        cache = EncoderDecoderCache(
            DynamicCache([(past[i], past[i + 1]) for i in layers]),
            DynamicCache([(past[i + 2], past[i + 3]) for i in layers]),
        )
        found = self.network(
            encoder_outputs=(past[2].transpose(1, 2).flatten(2),),  # for its length alone
            attention_mask=encoder_attention_mask,
            decoder_input_ids=input_ids,
            cache=cache,
            use_cache=True,
        )
        own = found.cache.self_attention_cache.layers
        return (found.logits, *(part for layer in own for part in (layer.keys, layer.values)))


def _write_graphs(network: PreTrainedModel, folder: Path) -> None:
    """Write all graphs, float32 and int8."""
    network = copy.deepcopy(network)
    network.set_attn_implementation("eager")  # a fifth fewer nodes
    config: Any = network.config
    heads, count = int(config.decoder_attention_heads), int(config.decoder_layers)
    size = int(config.d_model) // heads
    mask = torch.ones((3, 7), dtype=torch.int64)
    mask[1, 4:] = 0
    ids = torch.full((3, 5), 5, dtype=torch.int64)
    past = [torch.zeros(3, heads, 6 if part < 2 else 7, size) for part in range(4)] * count
    names = [
        f"{i}.{side}.{kind}"
        for i in range(count)
        for side in ("decoder", "encoder")
        for kind in ("key", "value")
    ]
    present = [f"present.{name}" for name in names]
    masks, tokens = {0: _BATCH, 1: _SOURCE}, {0: _BATCH, 1: _TARGET}
    lengths = [{0: _BATCH, 2: _WRITTEN if part < 2 else _SOURCE} for part in range(4)] * count
    _trace(
        _Encoder(network), (torch.full_like(mask, 5), mask), (masks, masks),
        ["input_ids", "attention_mask"], ["last_hidden_state"], folder / f"{ENCODER}.onnx",
    )  # fmt: skip
    given = ["encoder_attention_mask", "input_ids"]
    _trace(
        _First(network), (mask, ids, torch.zeros(3, 7, int(config.d_model))),
        (masks, tokens, masks), [*given, "encoder_hidden_states"], ["logits", *present],
        folder / f"{DECODER}.onnx",
    )  # fmt: skip
    _trace(
        _Later(network), (mask, ids[:, :1], past), (masks, {0: _BATCH}, lengths),
        [*given, *(f"past_key_values.{name}" for name in names)],
        ["logits", *(name for name in present if "decoder" in name)], folder / f"{PAST}.onnx",
    )  # fmt: skip
    _save_variants(folder)


def _save_variants(folder: Path) -> None:
    """Write the int8 graphs and the merged ones."""
    graphs = {name: onnx.load(str(folder / f"{name}.onnx")) for name in (ENCODER, DECODER, PAST)}
    for graph in graphs.values():
        for item in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info):
            item.ClearField("metadata_props")  # where in Python it comes from
    for suffix in ("", "_quantized"):
        if suffix:
            for graph in graphs.values():
                quantize_graph(graph)
        merged = {MERGED: merge_decoders(graphs[DECODER], graphs[PAST])}
        for name, graph in (graphs | merged).items():
            path = str(folder / f"{name}{suffix}.onnx")
            onnx.save(graph, path)
            onnx.checker.check_model(path)


def _trace(
    graph: nn.Module,
    inputs: tuple[Any, ...],
    shapes: tuple[Any, ...],
    names: list[str],
    outputs: list[str],
    path: Path,
) -> None:
    """Write a graph as ONNX."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            torch.inference_mode(),
        ):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph.eval(),
                inputs,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
            assert program is not None
            program.save(str(path), external_data=False)
    finally:
        logger.setLevel(level)
