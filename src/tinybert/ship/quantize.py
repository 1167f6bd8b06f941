"""Rewrites weights as int8, word embeddings also as 4 bits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinybert.artifact import FP32, INT8, SMALL, WRITTEN, read_card, write_card
from tinybert.errors import ArtifactError, ConfigError
from tinybert.factorized import check_bits
from tinybert.ship.export import refresh_card
from tinybert.ship.model_card import write_model_card

__all__ = ["quantize", "quantize_columns", "quantize_graph", "quantize_rows"]

_TOPS = {8: 127, 4: 7}


def quantize(artifact: str | Path, *, keep_fp32: bool = False, table_bits: int = 8) -> Path:
    """Replace an artifact's float32 model by an int8 one, about a quarter of its size.

    Matrix products: int8 weights with one scale for each output column; activations are measured
    while running, one scale and one lowest value for each token, so that an answer does not depend
    on the texts that share its batch. Embedding tables: int8 with a scale for each row and each
    column. Norms, biases and matrices under 16,384 weights (the classifier) stay float32.

    Args:
        artifact: A folder from ``export``, with ``onnx/model.onnx``.
        keep_fp32: Leave the float32 model beside it.
        table_bits: Bits of a number of the word embeddings, 8 or 4: two to a byte, so that the
            table takes half the place.

    Returns:
        The int8 file.

    Raises:
        ArtifactError: The folder holds no float32 model.
        ConfigError: Other ``table_bits``, or 4 where a word embedding has an odd width.

    Differs: ONNX Runtime's dynamic quantization gives a batch's activations one scale and an
        embedding table one scale; both cost accuracy. Its int8 weights overflow on processors
        without VNNI instructions; ours cannot (see ``quantize_columns``).
    """
    if table_bits not in _TOPS:
        raise ConfigError(f"table_bits is {table_bits}; wanted 8 or 4")
    folder = Path(artifact)
    card = read_card(folder)
    source, target = folder / FP32, folder / INT8
    if card.task in WRITTEN:
        raise ArtifactError(f"{folder} is for {card.task}; its weights are int8 already")
    if not source.is_file():
        raise ArtifactError(f"{folder} has no {FP32}; export it again, then quantize")
    model = onnx.load(str(source))
    quantize_graph(model, table_bits=table_bits)
    onnx.checker.check_model(model)
    partial = target.with_name(f".{target.name}.partial")
    onnx.save(model, str(partial))
    partial.replace(target)
    if not keep_fp32:
        source.unlink()
    write_card(folder, refresh_card(folder, replace(card, model=INT8, parity={}, metrics={})))
    write_model_card(folder)
    return target


def quantize_graph(model: onnx.ModelProto, *, table_bits: int = 8) -> None:
    """Rewrite a graph's weights as int8 in place; see ``quantize``.

    A table that words are looked up in and that, turned, gives the logits, stays one table of int8,
    with a scale for each row. One of 4 bits keeps column i in the low half of a byte, column
    i + D/2 in the high half, each plus 8.

    Raises:
        ConfigError: 4 bits, and an odd D.
    """
    _Rewriter(model, table_bits).run()


def quantize_rows(
    table: npt.NDArray[np.float32], bits: int = 8
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize a table with one scale for each row.

    Args:
        table: Float32 (V, D).
        bits: 8, or 4: whole numbers from -7 to 7.

    Returns:
        Int8 (V, D) and float32 scales (V, 1); their product is within half a scale of the table.
    """
    top = _TOPS[bits]
    return _rounded(table, np.abs(table).max(axis=1, keepdims=True) / top, top)


def quantize_columns(
    matrix: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize a matrix with one scale for each column, so that no product can overflow.

    Processors without VNNI instructions multiply 8-bit values by pairs of neighbouring rows and add
    each two products in 16 bits. Where w_2i and w_2i+1 have one sign, |w_2i| + |w_2i+1| ≤ 128 keeps
    255·(w_2i + w_2i+1) within them: the answer is then the same on every processor.

    Args:
        matrix: Float32 (K, N).

    Returns:
        Int8 (K, N) and float32 scales (1, N); their product is within half a scale of the matrix.
    """
    padded = np.pad(matrix, ((0, matrix.shape[0] % 2), (0, 0)))
    sums = [np.maximum(part[0::2], 0) + np.maximum(part[1::2], 0) for part in (padded, -padded)]
    pairs = np.maximum(sums[0], sums[1]).max(axis=0, keepdims=True)
    # Each of the two is rounded, so their sum may end up to 1 above what the scale says.
    return _rounded(matrix, np.maximum(np.abs(matrix).max(axis=0, keepdims=True), pairs) / 127)


def _rounded(
    values: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], top: int = 127
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return values over scale as int8, and the scale, never zero."""
    safe = np.maximum(scale, 1e-12).astype(np.float32)
    return np.clip(np.rint(values / safe), -top, top).astype(np.int8), safe


def _packed(rows: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Put two numbers from -7 to 7 into each byte: (V, D) becomes (V, D/2)."""
    low, high = np.split((rows + 8).astype(np.uint8), 2, axis=1)
    return np.bitwise_or(low, np.left_shift(high, 4, dtype=np.uint8), dtype=np.uint8)


class _Rewriter:
    """Rewrites the lookups and products of a graph one node at a time."""

    def __init__(self, model: onnx.ModelProto, table_bits: int = 8) -> None:
        self.graph, self.table_bits = model.graph, table_bits
        self.weights = {item.name: item for item in self.graph.initializer}
        self.made: list[onnx.NodeProto] = []
        self.quantized: dict[str, tuple[str, str, str]] = {}
        self.stored: set[str] = set()
        self.turned = {n.output[0]: n.input[0] for n in self.graph.node if self._turns(n)}
        looked_up = {n.input[0] for n in self.graph.node if n.op_type == "Gather"}
        self.tied = looked_up & set(self.turned.values())

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
        unread = set(self.turned) - read
        self.made = [node for node in self.made if node.output[0] not in unread]
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

    def _turns(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a matrix among the weights, its rows and columns exchanged."""
        return node.op_type == "Transpose" and self._matrix(node.input[0]) is not None

    def _matrix(self, name: str) -> npt.NDArray[np.float32] | None:
        """Return a large float32 matrix among the weights, else None."""
        item = self.weights.get(name)
        if item is None or item.data_type != TensorProto.FLOAT or len(item.dims) != 2:
            return None
        return numpy_helper.to_array(item) if np.prod(item.dims) >= SMALL else None

    def _gather(self, node: onnx.NodeProto) -> None:
        """Gather(table, ids) becomes int8 rows times the scale of each row and each column."""
        table = self._matrix(node.input[0])
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if table is None or axis != 0:
            self.made.append(node)
            return
        name, ids, out = node.input[0], node.input[1], node.output[0]
        if name in self.tied:
            tied, scale = self._store_tied(name, table)
            self._by_row(self._floats(tied, ids, out), scale, ids, out, out)
            return
        columns = np.maximum(np.abs(table).max(axis=0, keepdims=True), 1e-12)
        half = self.table_bits == 4 and ids == "input_ids"
        if half:
            check_bits(self.table_bits, table.shape[1])
        rows, scales = quantize_rows(table / columns, 4 if half else 8)
        self._store(f"{name}_scale", scales)
        self._store(f"{name}_columns", columns[0])
        if half:
            self._store(f"{name}_int4", _packed(rows))
            wide = self._unpacked(f"{name}_int4", ids, out)
        else:
            wide = self._floats(self._store(f"{name}_int8", rows), ids, out)
        by_row = self._by_row(wide, f"{name}_scale", ids, out, f"{out}_by_row")
        self._add("Mul", [by_row, f"{name}_columns"], out)

    def _floats(self, rows: str, ids: str, out: str) -> str:
        """Add the nodes that look rows up and make them float32."""
        picked = self._add("Gather", [rows, ids], f"{out}_rows", axis=0)
        return self._add("Cast", [picked], f"{out}_float", to=TensorProto.FLOAT)

    def _unpacked(self, rows: str, ids: str, out: str) -> str:
        """Add the nodes that cut each byte of the rows into two numbers from -7 to 7."""
        both = self._floats(rows, ids, out)
        share = self._add("Mul", [both, self._store("one_16th", np.float32(1 / 16))], f"{out}_16th")
        high = self._add("Floor", [share], f"{out}_high")
        above = self._add("Mul", [high, self._store("sixteen", np.float32(16))], f"{out}_above")
        low = self._add("Sub", [both, above], f"{out}_low")
        joined = self._add("Concat", [low, high], f"{out}_joined", axis=-1)
        return self._add("Sub", [joined, self._store("eight", np.float32(8))], f"{out}_numbers")

    def _by_row(self, wide: str, scales: str, ids: str, out: str, output: str) -> str:
        """Add the nodes of rows times their scales."""
        scale = self._add("Gather", [scales, ids], f"{out}_scales", axis=0)
        return self._add("Mul", [wide, scale], output)

    def _store_tied(self, name: str, table: npt.NDArray[np.float32]) -> tuple[str, str]:
        """Store a table (V, D) whose rows are the columns of a product; return rows and scales."""
        columns, scales = quantize_columns(table.T)
        return (
            self._store(f"{name}_int8", columns.T.copy()),
            self._store(f"{name}_scale", scales.T.copy()),
        )

    def _matmul(self, node: onnx.NodeProto) -> None:
        """MatMul(x, W) becomes an integer product between per-token and per-column scales."""
        weight = node.input[1]
        matrix = self._matrix(self.turned.get(weight, weight))
        if matrix is None:
            self.made.append(node)
            return
        matrix = matrix.T if weight in self.turned else matrix
        self._product(node.input[0], weight, matrix, node.output[0])

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
        """Add the nodes of x·W = scale·(values·W) + low·ΣW, values·W in whole numbers."""
        columns, scales = quantize_columns(matrix)
        table = self.turned.get(weight, "")
        if table in self.tied:
            self._store_tied(table, matrix.T)
            self._add("Transpose", [f"{table}_int8"], f"{weight}_int8", perm=[1, 0])
        else:
            self._store(f"{weight}_int8", columns)
        self._store(f"{weight}_scale", scales[0])
        self._store(f"{weight}_total", (columns.astype(np.float32) * scales).sum(axis=0))
        values, scale, low = self._from_lowest(x)
        zero = self._store("zero", np.uint8(0))
        sums = self._add("MatMulInteger", [values, f"{weight}_int8", zero], f"{out}_sums")
        wide = self._add("Cast", [sums], f"{out}_wide", to=TensorProto.FLOAT)
        by_token = self._add("Mul", [wide, scale], f"{out}_by_token")
        scaled = self._add("Mul", [by_token, f"{weight}_scale"], f"{out}_scaled")
        shift = self._add("Mul", [low, f"{weight}_total"], f"{out}_shift")
        self._add("Add", [scaled, shift], out)

    def _from_lowest(self, x: str) -> tuple[str, str, str]:
        """Return values (uint8, 0 is the lowest), scale and lowest value for each token."""
        if x not in self.quantized:
            top = self._add("ReduceMax", [x, self._last()], f"{x}_top", keepdims=1)
            low = self._add("ReduceMin", [x, self._last()], f"{x}_low", keepdims=1)
            span = self._add("Sub", [top, low], f"{x}_span")
            scale = self._step(x, span)
            above = self._add("Sub", [x, low], f"{x}_above")
            ratio = self._add("Div", [above, scale], f"{x}_ratio")
            whole = self._add("Round", [ratio], f"{x}_whole")
            values = self._add("Cast", [whole], f"{x}_uint8", to=TensorProto.UINT8)
            self.quantized[x] = (values, scale, low)
        return self.quantized[x]

    def _last(self) -> str:
        return self._store("last_axis", np.array([-1], dtype=np.int64))

    def _step(self, x: str, span: str) -> str:
        """Add span / 255, never zero."""
        self._store("tiny", np.float32(1e-9))
        self._store("one_over_255", np.float32(1 / 255))
        safe = self._add("Max", [span, "tiny"], f"{x}_safe")
        return self._add("Mul", [safe, "one_over_255"], f"{x}_scale")
