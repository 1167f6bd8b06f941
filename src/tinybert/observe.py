"""Watches a model's layers while it runs: hidden states, attention scores, queries to values."""

import math
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from tinybert.errors import ConfigError, ShapeError
from tinybert.layout import layout_of
from tinybert.pruned import head_width

__all__ = ["Observer"]

_PROJECTIONS = ("query", "key", "value")


class Observer:
    """Collects hidden states, attention scores and projections of chosen layers in a forward pass.

    Used as a context manager; each forward pass inside it replaces what the one before left.
    The model stays on its fast attention: the scores A = Q·Kᵀ/√d_k are computed from the outputs of
    the query and key projections, and only for the layers asked for.

    Args:
        model: A classifier of a known layout (see ``layout``), in any mode.
        hidden: Layers whose hidden states are kept; 0 is the embedding output, 1..M the layers.
        scores: Layers whose attention scores are kept, 1..M.
        projections: Layers whose queries, keys and values are kept, 1..M.

    Raises:
        ConfigError: A layer that the model does not have.
        UnsupportedModelError: The architecture is unknown.

    Source: Jiao et al. 2020, section 3.1 (the unnormalized attention matrix).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        hidden: Iterable[int] = (),
        scores: Iterable[int] = (),
        projections: Iterable[int] = (),
    ) -> None:
        self._model = model
        self._layout = layout_of(model.config)
        self._layers = self._layout.layer_list(model)
        self._head_width = head_width(model.config)
        self._hidden_wanted = tuple(hidden)
        self._scores_wanted = tuple(scores)
        self._projections_wanted = tuple(projections)
        self._check()
        self._hidden: dict[int, Tensor] = {}
        self._projected: dict[tuple[str, int], Tensor] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        for m in self._hidden_wanted:
            module = self._layout.embedding(self._model) if m == 0 else self._layers[m - 1]
            self._watch(module, self._keep_hidden(m))
        wanted = {(name, m) for m in self._projections_wanted for name in _PROJECTIONS}
        wanted |= {(name, m) for m in self._scores_wanted for name in _PROJECTIONS[:2]}
        for name, m in sorted(wanted):
            module = self._layers[m - 1].get_submodule(getattr(self._layout, name))
            self._watch(module, self._keep_projected(name, m))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def hidden(self, layer: int) -> Tensor:
        """Return the hidden states of a layer from the last forward pass.

        Returns:
            Float tensor (B, T, D).

        Raises:
            ShapeError: The layer was not asked for or gave nothing.
        """
        if layer not in self._hidden:
            raise ShapeError(f"layer {layer} gave no hidden states; wanted a forward pass first")
        return self._hidden[layer]

    def scores(self, layer: int) -> Tensor:
        """Return the attention scores Q·Kᵀ/√d_k of a layer from the last forward pass.

        Returns:
            Float tensor (B, H, T, T): query positions in rows, key positions in columns, neither
            masked nor passed through softmax.

        Raises:
            ShapeError: The layer was not asked for or gave nothing.
        """
        try:
            query, key = (self._projected[name, layer] for name in ("query", "key"))
        except KeyError:
            raise ShapeError(
                f"layer {layer} gave no attention scores; wanted a forward pass first"
            ) from None
        q, k = (x.unflatten(-1, (-1, self._head_width)).transpose(1, 2) for x in (query, key))
        scores: Tensor = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return scores

    def projections(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries, keys and values of a layer from the last forward pass.

        Returns:
            Three float tensors (B, T, D), the attention heads side by side.

        Raises:
            ShapeError: The layer was not asked for or gave nothing.
        """
        try:
            query, key, value = (self._projected[name, layer] for name in _PROJECTIONS)
        except KeyError:
            raise ShapeError(
                f"layer {layer} gave no queries, keys and values; wanted a forward pass first"
            ) from None
        return query, key, value

    def _check(self) -> None:
        count = len(self._layers)
        for name, wanted, first in (
            ("hidden", self._hidden_wanted, 0),
            ("scores", self._scores_wanted, 1),
            ("projections", self._projections_wanted, 1),
        ):
            for m in wanted:
                if not first <= m <= count:
                    raise ConfigError(f"{name} layer {m} does not exist; wanted {first} to {count}")

    def _watch(self, module: nn.Module, keep: Callable[[Any], None]) -> None:
        self._handles.append(module.register_forward_hook(lambda _m, _i, output: keep(output)))

    def _keep_hidden(self, layer: int) -> Callable[[Any], None]:
        def keep(output: Any) -> None:
            self._hidden[layer] = output[0] if isinstance(output, tuple) else output

        return keep

    def _keep_projected(self, name: str, layer: int) -> Callable[[Any], None]:
        def keep(output: Tensor) -> None:
            self._projected[name, layer] = output

        return keep
