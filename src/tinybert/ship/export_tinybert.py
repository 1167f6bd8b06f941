"""From a ``TinyBERT`` to one ONNX file."""

import contextlib
import io
import logging
import os
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship.export import OPSET
from tinybert.tinybert import TinyBERT

__all__ = ["export_onnx"]

_SOURCE = ("input_ids", "attention_mask")
_TARGET = ("decoder_input_ids", "decoder_attention_mask")
_LIMIT = 1e-3


def export_onnx(model: TinyBERT, path: str | Path) -> Path:
    """Write a graph that takes any batch and any lengths, and check its answers against torch's.

    Inputs are int64: ``input_ids`` and ``attention_mask`` (B, T), 1 on tokens and 0 on padding;
    with a decoder also ``decoder_input_ids`` and ``decoder_attention_mask`` (B, U). The output
    ``logits`` is what ``forward`` returns: float (B, T, V), or (B, U, V) with a decoder. Ids that
    are no tokens are not refused by the graph.

    Args:
        model: Any ``TinyBERT``; its mode, device and weights stay as they are.
        path: The file to write, whole or not at all; an older one is replaced.

    Returns:
        The path.

    Raises:
        ConfigError: ``path`` is a folder.
        ArtifactError: ONNX Runtime's logits differ from torch's by more than 0.001 of the largest.
    """
    target = Path(path)
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; wanted a file to write, such as model.onnx")
    target.parent.mkdir(parents=True, exist_ok=True)
    graph = _Graph(deepcopy(model).cpu().float()).eval()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        _write(graph, partial)
        _check(graph, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


class _Graph(nn.Module):
    """The model as the graph sees it: 1 on tokens in place of True on padding."""

    def __init__(self, model: TinyBERT) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Return logits (B, T, V), with a decoder (B, U, V)."""
        hidden = None if decoder_attention_mask is None else decoder_attention_mask == 0
        logits: Tensor = self.model(
            input_ids, decoder_input_ids, src_pad_mask=attention_mask == 0, tgt_pad_mask=hidden
        )
        return logits


def _inputs(graph: _Graph, batch: int, source: int, target: int) -> dict[str, Tensor]:
    """Return a padded batch, by input name."""
    made: dict[str, Tensor] = {}
    count = graph.model.config.num_tokens
    for names, length in ((_SOURCE, source), (_TARGET, target)):
        ids = torch.arange(batch * length).reshape(batch, length) % count
        mask = torch.ones_like(ids)
        mask[-1, length // 2 + 1 :] = 0
        made |= dict(zip(names, (ids, mask), strict=True))
    if not graph.model.config.num_decoder_layers:
        made = {name: made[name] for name in _SOURCE}
    return made


def _write(graph: _Graph, path: Path) -> None:
    """Trace the model with a padded batch and write the graph."""
    inputs = _inputs(graph, 3, 7, 5)
    batch = torch.export.Dim("batch")
    lengths = {
        **dict.fromkeys(_SOURCE, torch.export.Dim("tokens")),
        **dict.fromkeys(_TARGET, torch.export.Dim("target_tokens")),
    }
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            torch.inference_mode(),
        ):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_shapes=tuple({0: batch, 1: lengths[name]} for name in inputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
            assert program is not None
            program.save(str(path), external_data=False)
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def _check(graph: _Graph, path: Path) -> None:
    """Compare the file with torch on another batch, other lengths, and one text alone."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, source, target in ((2, 12, 9), (1, 1, 1)):
        inputs = _inputs(graph, batch, source, target)
        with torch.inference_mode():
            wanted = graph(**inputs).numpy()
        (found,) = session.run(["logits"], {name: x.numpy() for name, x in inputs.items()})
        real = inputs[_TARGET[1] if _TARGET[1] in inputs else _SOURCE[1]].numpy() == 1
        gap = float(np.abs(found - wanted)[real].max())
        if not gap <= _LIMIT * max(1.0, float(np.abs(wanted[real]).max())):
            raise ArtifactError(
                f"the exported logits differ from torch's by {gap:.2g}; wanted at most {_LIMIT} "
                "of the largest; the file was not written"
            )
