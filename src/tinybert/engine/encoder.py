"""Finds an encoder, its weights and its head in a quantized graph; refuses whatever it cannot name.

Names of weights are not trusted: the exporter lets equal weights share one. Each part is known by
what it reads and what reads it, so an encoder found here computes what the graph computes.
"""

import numpy as np

from tinybert.engine.graph import Array, Graph, Node
from tinybert.engine.parts import (
    Encoder,
    Floats,
    Layer,
    Matrix,
    Norm,
    UnknownGraphError,
    checked,
)
from tinybert.engine.tables import find_tables
from tinybert.engine.trace import Trace

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
    trace = _Layers(graph)
    name = graph.outputs[0]
    unit, name = trace.unit(name)
    head, pool, name = trace.head(name)
    layers: list[Layer] = []
    widths = set()
    while trace.ends_layer(name):
        layer, width, first, name = trace.layer(name)
        if first and (layers or pool != "first"):
            raise UnknownGraphError("a layer before the last that computes one token")
        layers.insert(0, layer)
        widths.add(width)
    if len(widths) != 1:
        raise UnknownGraphError(f"heads of {sorted(widths)} numbers")
    project = None
    if trace.op(name) != "LayerNormalization":
        project, name = trace.linear(name)
    node = trace.made(name, "LayerNormalization")
    words, positions, segments, padding = find_tables(trace, node.inputs[0])
    norm, width = trace.norm(node), widths.pop()
    return Encoder(
        words, positions, segments, norm, project, layers, width, pool, head, unit, padding
    )


class _Layers(Trace):
    """Walks the layers and the head of a graph."""

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


def _bias(bias: Floats | None, values: Array) -> Floats:
    """Return a bias, zero where the exporter left it out."""
    return np.zeros(values.shape[1], dtype=np.float32) if bias is None else bias
