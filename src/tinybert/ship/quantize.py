"""Rewrites weights as int8: a scale a column in matrix products, a row in embedding tables."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinybert.artifact import FP32, INT8, read_card, write_card
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship.export import refresh_card
from tinybert.ship.model_card import write_model_card

__all__ = ["quantize", "quantize_rows"]

_SMALL = 16_384


def quantize(artifact: str | Path, *, keep_fp32: bool = False, bits: int = 8) -> Path:
    """Replace an artifact's float32 model by an int8 one, about a quarter of its size.

    Matrix products: int8 weights with one scale for each output column; activations are measured
    while running, one scale for each token, so that an answer does not depend on the texts that
    share its batch. Embedding tables: int8 with a scale for each row and each column. Norms, biases
    and matrices under 16,384 weights (the classifier) stay float32.

    Args:
        artifact: A folder from ``export``, with ``onnx/model.onnx``.
        keep_fp32: Leave the float32 model beside it.
        bits: Bits of a weight, 2 to 8. With 7 no sum of two products leaves 16 bits, which
            processors without VNNI instructions add in; with 8 ``tinybert.load`` asks ONNX Runtime
            for slower products there, and other programs must ask too
            (``session.x64quantprecision``).

    Returns:
        The int8 file.

    Raises:
        ArtifactError: The folder holds no float32 model.
        ConfigError: ``bits`` is out of range.

    Differs: ONNX Runtime's dynamic quantization gives a batch's activations one scale and an
        embedding table one scale; both cost accuracy.
    """
    if not 2 <= bits <= 8:
        raise ConfigError(f"bits is {bits}; wanted 2 to 8")
    folder = Path(artifact)
    card = read_card(folder)
    source, target = folder / FP32, folder / INT8
    if not source.is_file():
        raise ArtifactError(f"{folder} has no {FP32}; export it again, then quantize")
    model = onnx.load(str(source))
    _Rewriter(model, bits).run()
    onnx.checker.check_model(model)
    partial = target.with_name(f".{target.name}.partial")
    onnx.save(model, str(partial))
    partial.replace(target)
    if not keep_fp32:
        source.unlink()
    write_card(folder, refresh_card(folder, replace(card, model=INT8, parity={}, metrics={})))
    write_model_card(folder)
    return target


def quantize_rows(
    table: npt.NDArray[np.float32], bits: int = 8
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize a matrix with one scale for each row.

    Args:
        table: Float32 (V, D).
        bits: Bits of a value, 2 to 8.

    Returns:
        Int8 (V, D) and float32 scales (V, 1); their product is within half a scale of the table.
    """
    top = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / top, 1e-12).astype(np.float32)
    return np.clip(np.rint(table / scale), -top, top).astype(np.int8), scale


class _Rewriter:
    """Rewrites the lookups and products of a graph one node at a time."""

    def __init__(self, model: onnx.ModelProto, bits: int) -> None:
        self.graph, self.bits = model.graph, bits
        self.weights = {item.name: item for item in self.graph.initializer}
        self.made: list[onnx.NodeProto] = []
        self.quantized: dict[str, tuple[str, str, str]] = {}
        self.stored: set[str] = set()

    def run(self) -> None:
        """Rewrite the graph and drop the weights that nothing reads any more."""
        rules: dict[str, Callable[[onnx.NodeProto], None]] = {
            "Gather": self._gather,
            "MatMul": self._matmul,
            "Gemm": self._gemm,
        }
        for node in self.graph.node:
            rules.get(node.op_type, self.made.append)(node)
        read = {name for node in self.made for name in node.input}
        for name, item in self.weights.items():
            if name not in read:
                self.graph.initializer.remove(item)
        del self.graph.node[:]
        self.graph.node.extend(self.made)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.made.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _store(self, name: str, array: npt.NDArray[np.generic] | np.generic) -> str:
        if name not in self.stored:
            self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
            self.stored.add(name)
        return name

    def _matrix(self, name: str) -> npt.NDArray[np.float32] | None:
        """Return a large float32 matrix among the weights, else None."""
        item = self.weights.get(name)
        if item is None or item.data_type != TensorProto.FLOAT or len(item.dims) != 2:
            return None
        return numpy_helper.to_array(item) if np.prod(item.dims) >= _SMALL else None

    def _gather(self, node: onnx.NodeProto) -> None:
        """Gather(table, ids) becomes int8 rows times the scale of each row and each column."""
        table = self._matrix(node.input[0])
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if table is None or axis != 0:
            self.made.append(node)
            return
        name, ids, out = node.input[0], node.input[1], node.output[0]
        columns = np.maximum(np.abs(table).max(axis=0, keepdims=True), 1e-12)
        rows, scales = quantize_rows(table / columns)
        self._store(f"{name}_int8", rows)
        self._store(f"{name}_scale", scales)
        self._store(f"{name}_columns", columns[0])
        picked = self._add("Gather", [f"{name}_int8", ids], f"{out}_rows", axis=0)
        wide = self._add("Cast", [picked], f"{out}_float", to=TensorProto.FLOAT)
        scale = self._add("Gather", [f"{name}_scale", ids], f"{out}_scales", axis=0)
        by_row = self._add("Mul", [wide, scale], f"{out}_by_row")
        self._add("Mul", [by_row, f"{name}_columns"], out)

    def _matmul(self, node: onnx.NodeProto) -> None:
        """MatMul(x, W) becomes an integer product between per-token and per-column scales."""
        matrix = self._matrix(node.input[1])
        if matrix is None:
            self.made.append(node)
            return
        self._product(node.input[0], node.input[1], matrix, node.output[0])

    def _gemm(self, node: onnx.NodeProto) -> None:
        """Gemm(x, W, b) becomes a product and an addition."""
        matrix = self._matrix(node.input[1])
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        plain = settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0
        if matrix is None or settings.get("transA", 0) or not plain:
            self.made.append(node)
            return
        matrix = matrix.T if settings.get("transB", 0) else matrix
        bias = len(node.input) > 2
        product = f"{node.output[0]}_product" if bias else node.output[0]
        self._product(node.input[0], node.input[1], matrix, product)
        if bias:
            self._add("Add", [product, node.input[2]], node.output[0])

    def _product(self, x: str, weight: str, matrix: npt.NDArray[np.float32], out: str) -> None:
        """Add the nodes of one integer product.

        Where a matrix narrows, its input is the activation of a feed-forward: never far below zero,
        so its values are measured from their smallest instead of around zero.
        """
        narrows = matrix.shape[0] > matrix.shape[1]
        columns, scales = quantize_rows(np.ascontiguousarray(matrix.T), self.bits)
        self._store(f"{weight}_int8", np.ascontiguousarray(columns.T))
        self._store(f"{weight}_scale", scales[:, 0])
        values, scale, low = self._from_lowest(x) if narrows else self._around_zero(x)
        zero = self._store("zero_0" if narrows else "zero_128", np.uint8(0 if narrows else 128))
        sums = self._add("MatMulInteger", [values, f"{weight}_int8", zero], f"{out}_sums")
        wide = self._add("Cast", [sums], f"{out}_wide", to=TensorProto.FLOAT)
        by_token = self._add("Mul", [wide, scale], f"{out}_by_token")
        if not narrows:
            self._add("Mul", [by_token, f"{weight}_scale"], out)
            return
        total = (columns.astype(np.float32) * scales).sum(axis=1)
        self._store(f"{weight}_total", total)
        scaled = self._add("Mul", [by_token, f"{weight}_scale"], f"{out}_scaled")
        shift = self._add("Mul", [low, f"{weight}_total"], f"{out}_shift")
        self._add("Add", [scaled, shift], out)

    def _around_zero(self, x: str) -> tuple[str, str, str]:
        """Return values (uint8, 128 is zero) and scale of a tensor, one scale for each token."""
        if x not in self.quantized:
            size = self._add("Abs", [x], f"{x}_size")
            top = self._add("ReduceMax", [size, self._last()], f"{x}_top", keepdims=1)
            scale = self._step(x, top, 127)
            ratio = self._add("Div", [x, scale], f"{x}_ratio")
            self._store("shift_128", np.float32(128))
            whole = self._add("Round", [ratio], f"{x}_whole")
            shifted = self._add("Add", [whole, "shift_128"], f"{x}_shifted")
            values = self._add("Cast", [shifted], f"{x}_uint8", to=TensorProto.UINT8)
            self.quantized[x] = (values, scale, "")
        return self.quantized[x]

    def _from_lowest(self, x: str) -> tuple[str, str, str]:
        """Return values (uint8, 0 is the lowest), scale and lowest value for each token."""
        if x not in self.quantized:
            top = self._add("ReduceMax", [x, self._last()], f"{x}_top", keepdims=1)
            low = self._add("ReduceMin", [x, self._last()], f"{x}_low", keepdims=1)
            span = self._add("Sub", [top, low], f"{x}_span")
            scale = self._step(x, span, 255)
            above = self._add("Sub", [x, low], f"{x}_above")
            ratio = self._add("Div", [above, scale], f"{x}_ratio")
            whole = self._add("Round", [ratio], f"{x}_whole")
            values = self._add("Cast", [whole], f"{x}_uint8", to=TensorProto.UINT8)
            self.quantized[x] = (values, scale, low)
        return self.quantized[x]

    def _last(self) -> str:
        return self._store("last_axis", np.array([-1], dtype=np.int64))

    def _step(self, x: str, span: str, steps: int) -> str:
        """Add span / steps, never zero."""
        self._store("tiny", np.float32(1e-9))
        self._store(f"one_over_{steps}", np.float32(1 / steps))
        safe = self._add("Max", [span, "tiny"], f"{x}_safe")
        return self._add("Mul", [safe, f"one_over_{steps}"], f"{x}_scale")
