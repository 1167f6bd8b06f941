"""The compiled engine: which instruction sets it has, and an encoder that runs in it."""

import ctypes
import os
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.engine.encoder import find_encoder
from tinybert.engine.graph import Array, read_graph
from tinybert.engine.parts import Encoder, Matrix, Norm, Table
from tinybert.errors import ArtifactError, ConfigError

__all__ = ["Engine", "best_isa", "is_built"]

_ISAS = {"plain": 0, "avx2": 1, "avx512": 2, "neon": 3}
_FAST = ("avx512", "avx2", "neon")
_POOLS = {"first": 0, "tokens": 1, "mean": 2}
_ACTIVATIONS = {"none": 0, "gelu": 1, "tanh": 2}
_PROBLEMS = {
    1: "a token id that the model has no row for",
    2: "a segment id that the model has no row for",
    3: "no tokens, or more than the model takes",
}


class _Matrix(ctypes.Structure):
    _fields_ = [(n, ctypes.c_void_p) for n in ("values", "scale", "total", "bias", "plain")] + [
        (n, ctypes.c_int64) for n in ("rows", "columns")
    ]


class _Norm(ctypes.Structure):
    _fields_ = [
        ("gain", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("epsilon", ctypes.c_float),
    ]


class _Table(ctypes.Structure):
    _fields_ = [(n, ctypes.c_void_p) for n in ("rows", "scale", "columns", "plain")] + [
        (n, ctypes.c_int64) for n in ("count", "width", "stride")
    ]


class _Layer(ctypes.Structure):
    _fields_ = [(n, _Matrix) for n in ("query", "key", "value", "out", "inner", "outer")] + [
        (n, _Norm) for n in ("attention_norm", "output_norm")
    ]


class _Spec(ctypes.Structure):
    _fields_ = [
        *((n, ctypes.c_int64) for n in ("head_width", "width", "layers", "pool")),
        *((n, ctypes.c_int64) for n in ("unit", "steps", "longest", "padding")),
        *((n, _Table) for n in ("words", "segments", "positions")),
        ("norm", _Norm),
        ("project", _Matrix),
        ("layer", ctypes.POINTER(_Layer)),
        ("head", ctypes.POINTER(_Matrix)),
        ("activations", ctypes.POINTER(ctypes.c_int32)),
    ]  # fmt: skip


@cache
def _library() -> ctypes.CDLL | None:
    """Open the compiled part; None where it was not built."""
    for path in sorted(Path(__file__).parent.glob("_engine*.so")):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        library.tinybert_open.restype = ctypes.c_void_p
        library.tinybert_open.argtypes = [ctypes.POINTER(_Spec), ctypes.c_int]
        library.tinybert_run.argtypes = [
            *(ctypes.c_void_p,) * 4, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_int64),
        ]  # fmt: skip
        library.tinybert_close.argtypes = [ctypes.c_void_p]
        library.tinybert_close.restype = None
        return library
    return None


def is_built() -> bool:
    """Whether the compiled part is there."""
    return _library() is not None


def best_isa() -> str:
    """Return the instruction set to use: ``TINYBERT_ISA``, else the fastest of this processor.

    Returns:
        ``avx512`` (with VNNI), ``avx2``, ``neon`` (with dot products) or ``plain``;
        nothing where the engine is not built.

    Raises:
        ConfigError: ``TINYBERT_ISA`` names no set, or one that this processor lacks.
    """
    library = _library()
    if library is None:
        return ""
    here = [name for name, number in _ISAS.items() if library.tinybert_runs(number)]
    asked = os.environ.get("TINYBERT_ISA", "")
    if asked and asked not in here:
        raise ConfigError(f"TINYBERT_ISA is `{asked}`; this processor has {', '.join(here)}")
    return asked or next((name for name in _FAST if name in here), "plain")


class Engine:
    """An encoder in the compiled engine; may be shared by many threads.

    Embedding rows stay in the file's memory map; matrices are packed once. Sequences run one after
    another without padding, and an answer has the same bits alone, in any batch, with any number of
    threads and on every instruction set.

    Args:
        path: An int8 ONNX file as ``ship.quantize`` writes it.
        max_length: Longest sequence in tokens.
        isa: The instruction set, one of those of ``best_isa``; None chooses.

    Raises:
        ArtifactError: The file is damaged, the engine is not built.
        UnknownGraphError: The graph is none that the engine computes.
    """

    def __init__(self, path: str | Path, *, max_length: int, isa: str | None = None) -> None:
        self.isa = isa or best_isa()
        library = _library()
        if library is None:
            raise ArtifactError("the engine is not built; install tinybert where a compiler is")
        self.encoder = find_encoder(read_graph(path))
        self.longest = min(max_length, self.encoder.places)
        self._path, self._library = path, library
        self._kept: list[object] = []
        spec = self._spec(self.encoder)
        self._handle = library.tinybert_open(ctypes.byref(spec), _ISAS[self.isa])
        if not self._handle:
            raise ArtifactError(f"{path}: no memory, or no {self.isa} on this processor")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.tinybert_close(self._handle)

    @property
    def width(self) -> int:
        """Numbers of an answer."""
        head = self.encoder.head
        return int(head[-1][0].values.shape[1]) if head else self.encoder.width

    def run(
        self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]], threads: int = 1
    ) -> list[npt.NDArray[np.float32]] | npt.NDArray[np.float32]:
        """Answer sequences.

        Args:
            ids: N sequences of token ids.
            type_ids: Their segment ids.
            threads: Threads to use, at least 1.

        Returns:
            Float32 (N, C); of a model that tags, N arrays (T, C).

        Raises:
            ArtifactError: A sequence is empty, longer than the model takes, or holds an id that it
                has no row for.
        """
        lengths = [len(row) for row in ids]
        if [len(row) for row in type_ids] != lengths:
            raise ArtifactError(f"{self._path}: ids and segment ids differ in length")
        starts = array("q", accumulate(lengths, initial=0))
        flat, types = array("i"), array("i")
        try:
            for to, rows in ((flat, ids), (types, type_ids)):
                for row in rows:
                    to.fromlist(row if isinstance(row, list) else list(row))
        except OverflowError as error:
            raise ArtifactError(f"{self._path}: {_PROBLEMS[1]}") from error
        tags = self.encoder.pool == "tokens"
        out = np.empty((starts[-1] if tags else len(ids), self.width), dtype=np.float32)
        at = ctypes.c_int64()
        problem = self._library.tinybert_run(
            self._handle, *(some.buffer_info()[0] for some in (flat, types, starts)), len(ids),
            max(1, threads), out.ctypes.data, ctypes.byref(at),
        )  # fmt: skip
        if problem == 4:
            raise MemoryError(f"{self._path}: no memory for {starts[-1]} tokens")
        if problem:
            raise ArtifactError(f"{self._path}: sequence {at.value} has {_PROBLEMS[problem]}")
        return np.split(out, starts[1:-1]) if tags else out

    def _spec(self, encoder: Encoder) -> _Spec:
        """Return the encoder as the compiled part reads it."""
        names = ("query", "key", "value", "out", "inner", "outer")
        layers = (_Layer * len(encoder.layers))(
            *(
                _Layer(
                    *(self._matrix(getattr(layer, name)) for name in names),
                    self._norm(layer.attention_norm),
                    self._norm(layer.output_norm),
                )
                for layer in encoder.layers
            )
        )
        steps = len(encoder.head)
        head = (_Matrix * max(1, steps))(*(self._matrix(matrix) for matrix, _ in encoder.head))
        codes = (ctypes.c_int32 * max(1, steps))(*(_ACTIVATIONS[a] for _, a in encoder.head))
        self._kept += [layers, head, codes]
        return _Spec(
            encoder.head_width, encoder.width, len(layers),
            _POOLS[encoder.pool], encoder.unit, steps, self.longest,
            -1 if encoder.padding is None else encoder.padding,
            self._table(encoder.words), self._table(encoder.segments),
            self._table(encoder.positions), self._norm(encoder.norm),
            self._matrix(encoder.project) if encoder.project else _Matrix(),
            layers, head, codes,
        )  # fmt: skip

    def _address(self, array: Array | None) -> int | None:
        """Return where an array lies and keep it alive."""
        if array is None:
            return None
        array = np.ascontiguousarray(array)
        self._kept.append(array)
        return int(array.ctypes.data)

    def _matrix(self, matrix: Matrix) -> _Matrix:
        whole, plain = (matrix.values, None) if matrix.scale is not None else (None, matrix.values)
        places = (whole, matrix.scale, matrix.total, matrix.bias, plain)
        return _Matrix(*map(self._address, places), *matrix.values.shape)

    def _norm(self, norm: Norm) -> _Norm:
        return _Norm(self._address(norm.gain), self._address(norm.bias), norm.epsilon)

    def _table(self, table: Table | None) -> _Table:
        if table is None:
            return _Table()
        whole, plain = (table.rows, None) if table.scale is not None else (None, table.rows)
        places = (whole, table.scale, table.columns, plain)
        return _Table(*map(self._address, places), *table.rows.shape, 0)
