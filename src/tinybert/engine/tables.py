"""Finds the embedding tables of an encoder in a quantized graph."""

from typing import cast

import numpy as np
import numpy.typing as npt

from tinybert.engine.graph import Array
from tinybert.engine.parts import Floats, Table, UnknownGraphError
from tinybert.engine.trace import Trace

__all__ = ["find_tables"]


def find_tables(trace: Trace, name: str) -> tuple[Table, Table, Table | None, int | None]:
    """Return the tables of words, positions and segments whose rows are added up.

    Where the graph has one segment only, its row is added to the positions.

    Returns:
        The tables, and the id of padding where it decides the positions.
    """
    found: dict[str, Table] = {}
    padding = None
    parts = [name]
    while parts:
        part = parts.pop()
        if trace.op(part) == "Add":
            parts += trace.makers[part].inputs
            continue
        table, ids = _table(trace, part)
        kind = ids
        if trace.op(ids) == "GatherElements":
            kind = _zeros(trace, ids)
        elif ids not in ("input_ids", "token_type_ids"):
            kind, padding = "positions", _padding(trace, ids)
        if kind in found:
            raise UnknownGraphError(f"two tables for {kind}")
        found[kind] = table
    if "input_ids" not in found or "positions" not in found:
        raise UnknownGraphError("embeddings without words or positions")
    positions = found["positions"]
    if "first" in found:
        positions = Table(_floats(positions) + _floats(found["first"])[:1])
    return found["input_ids"], positions, found.get("token_type_ids"), padding


def _zeros(trace: Trace, name: str) -> str:
    """Check that all that is looked up is the first row."""
    data = trace.made(trace.made(name, "GatherElements").inputs[0], "Expand").inputs[0]
    if trace.weight(data, 2).any():
        raise UnknownGraphError("segments that are not the first")
    return "first"


def _padding(trace: Trace, name: str) -> int | None:
    """Return the id of padding where positions are counted past it, None from 0."""
    if trace.op(name) == "Slice":
        _from_zero(trace, name)
        return None
    padding = 0
    if trace.op(name) == "Add":
        padding, name = (
            int(trace.number(trace.makers[name].inputs[1])),
            trace.makers[name].inputs[0],
        )
    counted, kept = trace.made(_uncast(trace, name), "Mul").inputs
    total = trace.made(_uncast(trace, counted), "CumSum")
    odd = total.numbers.get("exclusive", 0), total.numbers.get("reverse", 0)
    unlike = trace.made(_uncast(trace, total.inputs[0]), "Not")
    same = trace.made(unlike.inputs[0], "Equal").inputs
    if (
        _uncast(trace, kept) != _uncast(trace, total.inputs[0])
        or odd != (0, 0)
        or trace.number(total.inputs[1]) != 1
        or (same[0], trace.number(same[1])) != ("input_ids", padding)
    ):
        raise UnknownGraphError("positions that are not counted past padding")
    return padding


def _uncast(trace: Trace, name: str) -> str:
    """Go back over changes of type."""
    while trace.op(name) == "Cast":
        name = trace.makers[name].inputs[0]
    return name


def _from_zero(trace: Trace, name: str) -> None:
    """Check that tokens are counted from 0."""
    node = trace.made(name, "Slice")
    count = trace.weight(node.inputs[0], 2)
    if trace.number(node.inputs[1]) or not np.array_equal(count[0], np.arange(count.shape[1])):
        raise UnknownGraphError("positions that do not begin at 0")


def _table(trace: Trace, name: str) -> tuple[Table, str]:
    """Return a table, its rows int8 or float32, and the ids that are looked up in it."""
    node = trace.made(name, "Gather", "Mul")
    if node.op == "Gather":
        if node.numbers.get("axis", 0) != 0:
            raise UnknownGraphError("a lookup along another axis")
        return Table(trace.floats(node.inputs[0], 2)), node.inputs[1]
    columns = trace.floats(node.inputs[1], 1)
    by_row = trace.made(node.inputs[0], "Mul")
    scales = trace.made(by_row.inputs[1], "Gather")
    wide = by_row.inputs[0]
    packed = trace.op(wide) == "Sub"
    wide = _halves(trace, wide) if packed else wide
    picked = trace.made(trace.made(wide, "Cast").inputs[0], "Gather")
    rows, scale = trace.weight(picked.inputs[0], 2), trace.floats(scales.inputs[0], 2)
    if rows.dtype != (np.uint8 if packed else np.int8) or scales.inputs[1] != picked.inputs[1]:
        raise UnknownGraphError(f"`{picked.inputs[0]}` of {rows.dtype}")
    return Table(_unpacked(rows) if packed else rows, scale, columns), picked.inputs[1]


def _halves(trace: Trace, name: str) -> str:
    """Follow bytes cut into halves, less 8, as ``ship.quantize`` writes it, to the bytes."""
    centered = trace.made(name, "Sub")
    joined = trace.made(centered.inputs[0], "Concat")
    low, floor = trace.made(joined.inputs[0], "Sub"), trace.made(joined.inputs[1], "Floor")
    share, above = trace.made(floor.inputs[0], "Mul"), trace.made(low.inputs[1], "Mul")
    numbers = [trace.number(node.inputs[1]) for node in (centered, share, above)]
    if (
        numbers != [8, 1 / 16, 16]
        or joined.numbers.get("axis") != -1
        or above.inputs[0] != joined.inputs[1]
        or low.inputs[0] != share.inputs[0]
    ):
        raise UnknownGraphError("rows of two numbers a byte in another order")
    return share.inputs[0]


def _unpacked(rows: Array) -> Array:
    """Return rows of two numbers a byte as int8."""
    both = cast(npt.NDArray[np.uint8], rows)
    return np.concatenate([both & 15, both >> 4], axis=1).astype(np.int8) - np.int8(8)


def _floats(table: Table) -> Floats:
    """Return the rows of a table as float32."""
    if table.scale is None or table.columns is None:
        return cast(Floats, table.rows)
    # The order in which the engine multiplies.
    return cast(Floats, table.rows.astype(np.float32) * table.scale * table.columns)
