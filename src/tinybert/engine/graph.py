"""Reads the nodes and the weights of an ONNX file from a memory map, without the onnx package."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.errors import ArtifactError

__all__ = ["Array", "Graph", "Node", "read_graph"]

Array = npt.NDArray[np.generic]
_KINDS = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Node:
    """One operation.

    Args:
        op: What it does.
        inputs, outputs: Names of values.
        numbers: Its attributes that are one number, by name.
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """What a model computes.

    Args:
        nodes: The operations, each after those it reads.
        weights: Arrays by name; they lie in the memory map.
        outputs: Names of the graph's outputs.
    """

    nodes: list[Node]
    weights: dict[str, Array]
    outputs: list[str]


def read_graph(path: str | Path) -> Graph:
    """Read an ONNX file whose weights lie in the file itself.

    Args:
        path: The file; it is mapped, not read.

    Returns:
        Its graph. Weights of other kinds than float32, bool and whole numbers are left out.

    Raises:
        ArtifactError: The file is damaged or does not exist.
    """
    try:
        view = np.memmap(path, dtype=np.uint8, mode="r").data
        graphs = [body for number, body in _fields(view) if number == 7]
        if len(graphs) != 1 or isinstance(graphs[0], int):
            raise ValueError(f"it holds {len(graphs)} graphs; wanted one")
        return _graph(graphs[0])
    except (ValueError, IndexError, OverflowError, OSError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be run: {error}; export again") from error


def _graph(view: memoryview) -> Graph:
    """Read a GraphProto."""
    nodes: list[Node] = []
    weights: dict[str, Array] = {}
    outputs: list[str] = []
    for number, body in _fields(view):
        if number == 1:
            nodes.append(_node(_bytes(body)))
        elif number == 5:
            name, array = _tensor(_bytes(body))
            if array is not None:
                weights[name] = array
        elif number == 12:
            outputs += [_text(part) for tag, part in _fields(_bytes(body)) if tag == 1]
    return Graph(nodes, weights, outputs)


def _node(view: memoryview) -> Node:
    """Read a NodeProto."""
    node = Node("", [], [])
    op = ""
    for number, body in _fields(view):
        if number == 1:
            node.inputs.append(_text(body))
        elif number == 2:
            node.outputs.append(_text(body))
        elif number == 4:
            op = _text(body)
        elif number == 5:
            node.numbers.update(_number(_bytes(body)))
    return Node(op, node.inputs, node.outputs, node.numbers)


def _number(view: memoryview) -> dict[str, float]:
    """Read an AttributeProto that is one number, else nothing."""
    name, value = "", None
    for number, body in _fields(view):
        if number == 1:
            name = _text(body)
        elif number == 2:
            value = float(np.frombuffer(_bytes(body), dtype="<f4")[0])
        elif number == 3 and isinstance(body, int):
            value = float(_signed(body))
    return {} if value is None else {name: value}


def _tensor(view: memoryview) -> tuple[str, Array | None]:
    """Read a TensorProto as a view into its file; None where its kind is not read here."""
    name, kind, dims = "", 0, []
    raw: memoryview | None = None
    for number, body in _fields(view):
        if number == 1:
            dims += [body] if isinstance(body, int) else list(_varints(body))
        elif number == 2 and isinstance(body, int):
            kind = body
        elif number == 8:
            name = _text(body)
        elif number == 9:
            raw = _bytes(body)
    if raw is None or kind not in _KINDS:
        return name, None
    array: Array = np.frombuffer(raw, dtype=_KINDS[kind])
    count = 1
    for axis in dims:
        count *= axis
    if count != array.size:
        raise ValueError(f"weight `{name}` has {array.size} values, its shape {dims} {count}")
    return name, array.reshape(dims)


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and content of every field of a message: a whole number, or bytes."""
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(view, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"byte {at} has wire type {wire}; wanted 0, 1, 2 or 5")
        if size > len(view) - at:
            raise ValueError(
                f"field {number} has {size} bytes, the file ends after {len(view) - at}"
            )
        yield number, view[at : at + size]
        at += size


def _varints(view: memoryview) -> Iterator[int]:
    at = 0
    while at < len(view):
        value, at = _varint(view, at)
        yield value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return a whole number of up to 64 bits and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError(f"byte {at} belongs to a number of more than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(body: int | memoryview) -> memoryview:
    if isinstance(body, int):
        raise ValueError(f"a field is the number {body}; wanted bytes")
    return body


def _text(body: int | memoryview) -> str:
    return bytes(_bytes(body)).decode("utf-8")
