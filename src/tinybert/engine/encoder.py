"""Finds an encoder, its weights and its head in a quantized graph; refuses whatever it cannot name.

Names of weights are not trusted: the exporter lets equal weights share one. Each part is known by
what it reads and what reads it, so an encoder found here computes what the graph computes.
"""

from typing import cast

import numpy as np

from tinybert.engine.graph import Array, Graph, Node
from tinybert.engine.parts import (
    Encoder,
    Floats,
    Layer,
    Matrix,
    Norm,
    Table,
    UnknownGraphError,
    checked,
)

__all__ = ["find_encoder"]

_ACTIVATIONS = {"Gelu": "gelu", "Tanh": "tanh"}


def find_encoder(graph: Graph) -> Encoder:
    """Trace a graph from its output back to its inputs.

    Args:
        graph: A graph that ``ship.quantize`` wrote.

    Returns:
        The encoder.

    Raises:
        UnknownGraphError: It has a part that the engine does not compute.
    """
    try:
        return checked(_traced(graph))
    except (KeyError, IndexError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise UnknownGraphError(f"a graph with a gap: {error!r}") from error


def _traced(graph: Graph) -> Encoder:
    """Trace a graph; its shapes are not yet compared."""
    trace = _Trace(graph)
    name = graph.outputs[0]
    unit, name = trace.unit(name)
    head, pool, name = trace.head(name)
    layers: list[Layer] = []
    heads = set()
    while trace.ends_layer(name):
        layer, width, first, name = trace.layer(name)
        if first and (layers or pool != "first"):
            raise UnknownGraphError("a layer before the last that computes one token")
        layers.insert(0, layer)
        heads.add(layer.query.values.shape[1] // width)
    if len(heads) != 1:
        raise UnknownGraphError(f"layers with {sorted(heads)} heads")
    project = None
    if trace.op(name) != "LayerNormalization":
        project, name = trace.linear(name)
    node = trace.made(name, "LayerNormalization")
    words, positions, segments, padding = trace.tables(node.inputs[0])
    norm, count = trace.norm(node), heads.pop()
    return Encoder(
        words, positions, segments, norm, project, layers, count, pool, head, unit, padding
    )


class _Trace:
    """Walks a graph against the direction of its data."""

    def __init__(self, graph: Graph) -> None:
        self.weights = graph.weights
        self.makers: dict[str, Node] = {}
        made = {name for node in graph.nodes for name in node.outputs}
        for node in graph.nodes:
            if any(name in made and name not in self.makers for name in node.inputs):
                raise UnknownGraphError("a node before those that it reads")
            self.makers |= dict.fromkeys(node.outputs, node)

    def op(self, name: str) -> str:
        """Return which operation makes a value; a graph's input has none."""
        return self.makers[name].op if name in self.makers else ""

    def made(self, name: str, *ops: str) -> Node:
        """Return the node that makes a value, one of these operations."""
        if self.op(name) not in ops:
            raise UnknownGraphError(
                f"`{name}` made by {self.op(name) or 'nothing'}, not {' or '.join(ops)}"
            )
        return self.makers[name]

    def weight(self, name: str, axes: int) -> Array:
        """Return a weight with so many axes."""
        found = self.weights.get(name)
        if found is None or found.ndim != axes:
            raise UnknownGraphError(f"`{name}` is no weight of {axes} axes")
        return found

    def floats(self, name: str, axes: int) -> Floats:
        """Return a float32 weight, copied so that it is aligned."""
        found = self.weight(name, axes)
        if found.dtype != np.float32:
            raise UnknownGraphError(f"`{name}` of {found.dtype}")
        return cast(Floats, np.array(found))

    def number(self, name: str) -> float:
        """Return a weight that is one number."""
        found = self.weights.get(name)
        if found is None or found.size != 1:
            raise UnknownGraphError(f"`{name}` is no number")
        return float(found.reshape(())[()])

    def linear(self, name: str) -> tuple[Matrix, str]:
        """Return the matrix and bias that made a value, and what they were applied to."""
        node = self.made(name, "Add", "MatMul", "Gemm")
        bias = None
        if node.op == "Add" and node.inputs[1] in self.weights:
            bias = self.floats(node.inputs[1], 1)
            name = node.inputs[0]
            node = self.made(name, "Add", "MatMul")
        if node.op == "Add":
            return self._product(node, bias)
        values = self.floats(node.inputs[1], 2)
        if node.op == "Gemm":
            values = np.ascontiguousarray(values.T) if node.numbers.get("transB") else values
            odd = (
                node.numbers.get("transA", 0),
                node.numbers.get("alpha", 1),
                node.numbers.get("beta", 1),
            )
            if odd != (0, 1, 1):
                raise UnknownGraphError(f"a Gemm with {odd}")
            bias = self.floats(node.inputs[2], 1) if len(node.inputs) > 2 else None
        return Matrix(values, _bias(bias, values)), node.inputs[0]

    def _product(self, node: Node, bias: Floats | None) -> tuple[Matrix, str]:
        """Follow scale·(values·W) + low·ΣW, as ``ship.quantize`` writes it."""
        scaled, shift = (self.made(name, "Mul") for name in node.inputs)
        by_token = self.made(scaled.inputs[0], "Mul")
        sums = self.made(self.made(by_token.inputs[0], "Cast").inputs[0], "MatMulInteger")
        whole = self.made(self.made(sums.inputs[0], "Cast").inputs[0], "Round")
        above = self.made(self.made(whole.inputs[0], "Div").inputs[0], "Sub")
        values = self.weight(sums.inputs[1], 2)
        if values.dtype != np.int8 or self.number(sums.inputs[2]) != 0:
            raise UnknownGraphError(f"`{sums.inputs[1]}` of {values.dtype}")
        scale, total = self.floats(scaled.inputs[1], 1), self.floats(shift.inputs[1], 1)
        return Matrix(values, _bias(bias, values), scale, total), above.inputs[0]

    def unit(self, name: str) -> tuple[bool, str]:
        """Tell vectors that are divided by their length from those that are not."""
        if self.op(name) != "Div":
            return False, name
        node = self.made(name, "Div")
        if self.op(node.inputs[1]) != "Expand":
            return False, name
        clip = self.made(self.made(node.inputs[1], "Expand").inputs[0], "Clip")
        if self.made(clip.inputs[0], "ReduceL2").inputs[0] != node.inputs[0]:
            raise UnknownGraphError("a vector divided by another's length")
        return True, node.inputs[0]

    def head(self, name: str) -> tuple[list[tuple[Matrix, str]], str, str]:
        """Return the head's steps, what it reads, and the states that it reads from."""
        steps: list[tuple[Matrix, str]] = []
        while self.op(name) not in ("Gather", "LayerNormalization", "Div"):
            activation = _ACTIVATIONS.get(self.op(name), "none")
            if activation != "none":
                name = self.makers[name].inputs[0]
            matrix, name = self.linear(name)
            steps.insert(0, (matrix, activation))
        node = self.makers[name]
        if node.op == "LayerNormalization":
            return steps, "tokens", name
        if node.op == "Gather":
            if node.numbers.get("axis") != 1 or self.number(node.inputs[1]) != 0:
                raise UnknownGraphError("a head that reads another token than the first")
            return steps, "first", node.inputs[0]
        total = self.made(node.inputs[0], "ReduceSum")
        return steps, "mean", self.made(total.inputs[0], "Mul").inputs[0]

    def ends_layer(self, name: str) -> bool:
        """Whether a value is what a layer gives: the norm of a sum with a product."""
        if self.op(name) != "LayerNormalization":
            return False
        node = self.makers[self.makers[name].inputs[0]]
        return node.op == "Add" and self.op(self._source(node.inputs[0])) == "Gelu"

    def _source(self, name: str) -> str:
        """Return what a product was applied to, or nothing where a value is no product."""
        try:
            return self.linear(name)[1]
        except UnknownGraphError:
            return ""

    def layer(self, name: str) -> tuple[Layer, int, bool, str]:
        """Return a layer, its heads' width, whether it computes one token, and its input."""
        output_norm = self.made(name, "LayerNormalization")
        after, middle = self.made(output_norm.inputs[0], "Add").inputs
        outer, activated = self.linear(after)
        inner, read = self.linear(self.made(activated, "Gelu").inputs[0])
        if self.makers[activated].numbers.get("approximate"):
            raise UnknownGraphError("another GELU")
        attention_norm = self.made(middle, "LayerNormalization")
        attended, before = self.made(attention_norm.inputs[0], "Add").inputs
        out, mixed = self.linear(attended)
        query, key, value, width, sources = self._attention(mixed)
        first = self.op(before) == "Slice"
        states = self._first(before) if first else before
        if read != middle or sources != (before, states, states):
            raise UnknownGraphError("a layer whose parts read other values")
        return (
            Layer(query, key, value, out, self.norm(attention_norm), inner, outer,
                  self.norm(output_norm)),
            width, first, states,
        )  # fmt: skip

    def _first(self, name: str) -> str:
        """Return what the first token was taken from."""
        node = self.made(name, "Slice")
        if [self.number(part) for part in node.inputs[1:4]] != [0, 1, 1] or (
            len(node.inputs) > 4 and self.number(node.inputs[4]) != 1
        ):
            raise UnknownGraphError("a slice that is not the first token")
        return node.inputs[0]

    def _attention(self, name: str) -> tuple[Matrix, Matrix, Matrix, int, tuple[str, str, str]]:
        """Return query, key, value, the width of a head, and what the three read."""
        mixed, _ = self._back(name)
        weigh = self.made(mixed, "MatMul")
        soft = weigh.inputs[0]
        if self.op(soft) == "Where":
            soft = self.makers[soft].inputs[2]
        scores = self.made(self.made(soft, "Softmax").inputs[0], "Add").inputs[0]
        both = self.made(scores, "MatMul").inputs
        (query, q_scale), (key, k_scale) = self._back(both[0]), self._back(both[1])
        value, v_scale = self._back(weigh.inputs[1])
        width = self._head_width(both[0])
        if not np.allclose([q_scale * k_scale, v_scale], [width**-0.5, 1], rtol=1e-5):
            raise UnknownGraphError(f"attention scaled by {q_scale * k_scale}")
        parts = [self.linear(part) for part in (query, key, value)]
        (q, a), (k, b), (v, c) = parts
        return q, k, v, width, (a, b, c)

    def _back(self, name: str) -> tuple[str, float]:
        """Go back over changes of shape, and multiply the factors on the way."""
        factor = 1.0
        while self.op(name) in ("Reshape", "Transpose", "Mul"):
            node = self.makers[name]
            if node.op == "Mul":
                factor *= self.number(node.inputs[1])
            name = node.inputs[0]
        return name, factor

    def _head_width(self, name: str) -> int:
        """Return the last axis of the shape that cuts a state into heads."""
        while self.op(name) in ("Mul", "Transpose"):
            name = self.makers[name].inputs[0]
        shape = self.made(name, "Reshape").inputs[1]
        if shape not in self.weights:
            shape = self.made(shape, "Concat").inputs[-1]
        return max(1, int(self.weight(shape, 1).ravel()[-1]))

    def norm(self, node: Node) -> Norm:
        """Return the weights of a layer norm over the last axis."""
        if len(node.inputs) < 3 or node.numbers.get("axis", -1) != -1:
            raise UnknownGraphError("a norm over other axes")
        gain, bias = (self.floats(name, 1) for name in node.inputs[1:3])
        return Norm(gain, bias, node.numbers.get("epsilon", 1e-5))

    def tables(self, name: str) -> tuple[Table, Table, Table | None, int | None]:
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
            if self.op(part) == "Add":
                parts += self.makers[part].inputs
                continue
            table, ids = self._table(part)
            kind = ids
            if self.op(ids) == "GatherElements":
                kind = self._zeros(ids)
            elif ids not in ("input_ids", "token_type_ids"):
                kind, padding = "positions", self._padding(ids)
            if kind in found:
                raise UnknownGraphError(f"two tables for {kind}")
            found[kind] = table
        if "input_ids" not in found or "positions" not in found:
            raise UnknownGraphError("embeddings without words or positions")
        positions = found["positions"]
        if "first" in found:
            positions = Table(_floats(positions) + _floats(found["first"])[:1])
        return found["input_ids"], positions, found.get("token_type_ids"), padding

    def _zeros(self, name: str) -> str:
        """Check that all that is looked up is the first row."""
        data = self.made(self.made(name, "GatherElements").inputs[0], "Expand").inputs[0]
        if self.weight(data, 2).any():
            raise UnknownGraphError("segments that are not the first")
        return "first"

    def _padding(self, name: str) -> int | None:
        """Return the id of padding where positions are counted past it, None from 0."""
        if self.op(name) == "Slice":
            self._from_zero(name)
            return None
        padding = 0
        if self.op(name) == "Add":
            padding, name = (
                int(self.number(self.makers[name].inputs[1])),
                self.makers[name].inputs[0],
            )
        counted, kept = self.made(self._uncast(name), "Mul").inputs
        total = self.made(self._uncast(counted), "CumSum")
        odd = total.numbers.get("exclusive", 0), total.numbers.get("reverse", 0)
        unlike = self.made(self._uncast(total.inputs[0]), "Not")
        same = self.made(unlike.inputs[0], "Equal").inputs
        if (
            self._uncast(kept) != self._uncast(total.inputs[0])
            or odd != (0, 0)
            or self.number(total.inputs[1]) != 1
            or (same[0], self.number(same[1])) != ("input_ids", padding)
        ):
            raise UnknownGraphError("positions that are not counted past padding")
        return padding

    def _uncast(self, name: str) -> str:
        """Go back over changes of type."""
        while self.op(name) == "Cast":
            name = self.makers[name].inputs[0]
        return name

    def _from_zero(self, name: str) -> None:
        """Check that tokens are counted from 0."""
        node = self.made(name, "Slice")
        count = self.weight(node.inputs[0], 2)
        if self.number(node.inputs[1]) or not np.array_equal(count[0], np.arange(count.shape[1])):
            raise UnknownGraphError("positions that do not begin at 0")

    def _table(self, name: str) -> tuple[Table, str]:
        """Return a table, its rows int8 or float32, and the ids that are looked up in it."""
        node = self.made(name, "Gather", "Mul")
        if node.op == "Gather":
            if node.numbers.get("axis", 0) != 0:
                raise UnknownGraphError("a lookup along another axis")
            return Table(self.floats(node.inputs[0], 2)), node.inputs[1]
        columns = self.floats(node.inputs[1], 1)
        by_row = self.made(node.inputs[0], "Mul")
        scales = self.made(by_row.inputs[1], "Gather")
        picked = self.made(self.made(by_row.inputs[0], "Cast").inputs[0], "Gather")
        rows, scale = self.weight(picked.inputs[0], 2), self.floats(scales.inputs[0], 2)
        if rows.dtype != np.int8 or scales.inputs[1] != picked.inputs[1]:
            raise UnknownGraphError(f"`{picked.inputs[0]}` of {rows.dtype}")
        return Table(rows, scale, columns), picked.inputs[1]


def _floats(table: Table) -> Floats:
    """Return the rows of a table as float32."""
    if table.scale is None or table.columns is None:
        return cast(Floats, table.rows)
    # The order in which the engine multiplies.
    return cast(Floats, table.rows.astype(np.float32) * table.scale * table.columns)


def _bias(bias: Floats | None, values: Array) -> Floats:
    """Return a bias, zero where the exporter left it out."""
    return np.zeros(values.shape[1], dtype=np.float32) if bias is None else bias
