"""The parts of an encoder, and whether their shapes fit each other."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinybert.engine.graph import Array

__all__ = ["Encoder", "Floats", "Layer", "Matrix", "Norm", "Table", "UnknownGraphError", "checked"]

Floats = npt.NDArray[np.float32]


class UnknownGraphError(Exception):
    """The graph is not one that the engine computes; it says which part is another."""


@dataclass(frozen=True)
class Matrix:
    """Weights K × N: int8 with a scale and a total for each column, or float32; bias (N,)."""

    values: Array
    bias: Floats
    scale: Floats | None = None
    total: Floats | None = None


@dataclass(frozen=True)
class Table:
    """Rows V × D: int8 with a scale for each row and each column, or float32."""

    rows: Array
    scale: Floats | None = None
    columns: Floats | None = None


@dataclass(frozen=True)
class Norm:
    """A layer norm: gain and bias (D,), and what is added to the variance."""

    gain: Floats
    bias: Floats
    epsilon: float


@dataclass(frozen=True)
class Layer:
    """The matrices and norms of one layer."""

    query: Matrix
    key: Matrix
    value: Matrix
    out: Matrix
    attention_norm: Norm
    inner: Matrix
    outer: Matrix
    output_norm: Norm


@dataclass(frozen=True)
class Encoder:
    """All that the engine computes.

    Args:
        words, positions, segments: The embedding tables; no segments: None.
        norm: The norm of their sum.
        project: From the embeddings' width to the states', where they differ.
        layers: The layers, the first one first.
        head_width: Numbers of a state that an attention head makes; a layer has as many heads as
            its products have room for.
        pool: What the head reads: ``first``, ``mean`` or each of the ``tokens``.
        head: Matrices and activations of the head; may be empty.
        unit: Whether answers are vectors of length 1.
        padding: Of RoBERTa's layout the id of padding: its own positions are that row, those of all
            other tokens are counted from the row after it. None: tokens are counted from row 0.
    """

    words: Table
    positions: Table
    segments: Table | None
    norm: Norm
    project: Matrix | None
    layers: list[Layer]
    head_width: int
    pool: str
    head: list[tuple[Matrix, str]]
    unit: bool
    padding: int | None = None

    @property
    def width(self) -> int:
        """Numbers of a token's state."""
        return int(self.layers[0].query.values.shape[0])

    @property
    def places(self) -> int:
        """Tokens that have a position of their own."""
        rows = int(self.positions.rows.shape[0])
        return rows if self.padding is None else rows - self.padding - 1


def checked(encoder: Encoder) -> Encoder:
    """Return the encoder if all shapes fit each other.

    Raises:
        UnknownGraphError: Two do not.
    """
    width, narrow = encoder.width, encoder.words.rows.shape[1]
    smallest = min(width, narrow)
    norms = [(encoder.norm, narrow)]
    wanted = [(encoder.project, narrow, width)] if encoder.project else []
    if not encoder.project and narrow != width:
        raise UnknownGraphError(f"embeddings of {narrow} and states of {width} numbers")
    for layer in encoder.layers:
        three = (layer.query, layer.key, layer.value)
        mixed, inner = (part.values.shape[1] for part in (layer.query, layer.inner))
        if not 0 < encoder.head_width <= mixed <= width or mixed % encoder.head_width:
            raise UnknownGraphError(f"heads of {encoder.head_width} numbers in {mixed} of {width}")
        smallest = min(smallest, inner, mixed)
        wanted += [(matrix, width, mixed) for matrix in three] + [(layer.out, mixed, width)]
        wanted += [(layer.inner, width, inner), (layer.outer, inner, width)]
        norms += [(layer.attention_norm, width), (layer.output_norm, width)]
        if any(m.scale is None for m in (*three, layer.out, layer.inner, layer.outer)):
            raise UnknownGraphError("layers of float32 weights")
    before = width
    for matrix, _ in encoder.head:
        wanted.append((matrix, before, matrix.values.shape[1]))
        before = matrix.values.shape[1]
    for matrix, rows, columns in wanted:
        sides = [matrix.bias] + [s for s in (matrix.scale, matrix.total) if s is not None]
        if matrix.values.shape != (rows, columns) or any(s.shape != (columns,) for s in sides):
            raise UnknownGraphError(f"a matrix of {matrix.values.shape}, not {(rows, columns)}")
    for norm, size in norms:
        if norm.gain.shape != (size,) or norm.bias.shape != (size,):
            raise UnknownGraphError(f"a norm of {norm.gain.shape}, not {(size,)}")
    for table in (encoder.words, encoder.positions, encoder.segments):
        if table and (table.rows.shape[1] != narrow or not _fits(table)):
            raise UnknownGraphError(f"a table of {table.rows.shape}")
    if (encoder.padding or 0) < 0 or encoder.places < 1:
        raise UnknownGraphError(
            f"positions from {encoder.padding} in {encoder.positions.rows.shape}"
        )
    if smallest < 16 or min(encoder.words.rows.shape) < 1:
        raise UnknownGraphError(f"states of {smallest} numbers")
    return encoder


def _fits(table: Table) -> bool:
    """Whether a table's scales are as many as its rows and columns."""
    count, width = table.rows.shape
    if table.scale is None or table.columns is None:
        return table.rows.dtype == np.float32
    return table.scale.shape == (count, 1) and table.columns.shape == (width,)
