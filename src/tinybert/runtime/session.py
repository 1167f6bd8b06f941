"""Runs an artifact's model over lists of inputs."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from tinybert.artifact import FP32, INT8, Card, check_files
from tinybert.errors import ArtifactError, ConfigError, DataError
from tinybert.runtime.engines import open_native
from tinybert.text import Tokenizer, pad_batch

__all__ = ["Input", "Session", "shorten"]

Input = str | tuple[str, str]
_MODELS = {"int8": INT8, "fp32": FP32}


class Session:
    """A checked artifact and what runs it: the package's own engine, or ONNX Runtime.

    Args:
        folder: The artifact.
        card: Its card.
        threads: Threads a call may use, at least 1; None leaves it to the number of cores.
        precision: ``int8``, ``fp32`` or None for the card's own.
        batch_size: Inputs that run together, at least 1.
        optimize: Let ONNX Runtime rewrite the graph; off, it runs as it was exported.
        engine: ``auto``, ``native`` or ``onnx`` (see ``engines.open_native``).

    Raises:
        ArtifactError: A file is missing or altered, or the model cannot be run.
        ConfigError: A setting is out of range, there is no model of that precision, or the engine
            cannot run it.
    """

    def __init__(
        self,
        folder: str | Path,
        card: Card,
        *,
        threads: int | None = None,
        precision: str | None = None,
        batch_size: int = 32,
        optimize: bool = True,
        engine: str = "auto",
    ) -> None:
        for name, value in (("threads", threads), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; wanted at least 1")
        self.card = _with_precision(folder, card, precision)
        check_files(folder, self.card)
        self.batch_size = batch_size
        self.tokenizer = Tokenizer(folder, max_length=card.max_length)
        self._threads = threads or os.cpu_count() or 1
        self._width = 2 if card.task == "answering" else max(1, len(card.labels))
        self._native = open_native(
            folder, self.card.model, max_length=card.max_length, engine=engine, optimize=optimize
        )
        model = Path(folder) / self.card.model
        if self._native is not None:
            each = 3 if self._native.encoder.pool == "tokens" else 2
            self._check_output(model, self._native.width, each)
            self.engine = f"native ({self._native.isa})"
            return
        self.engine = "onnx"
        self._session = _onnx_session(model, threads, optimize)
        self._inputs = [node.name for node in self._session.get_inputs()]
        (output,) = self._session.get_outputs()
        self._output = output.name
        self._check_output(model, output.shape[-1], len(output.shape))

    def _check_output(self, model: Path, found: object, each: int) -> None:
        """Refuse a model whose answers are not those of the card."""
        task = self.card.task
        if task == "embedding" and isinstance(found, int):
            self._width = found
        if found != self._width:
            raise ArtifactError(
                f"{model} gives {found} values a text, the card wants {self._width}; export again"
            )
        wanted = 3 if task in ("answering", "tagging") else 2
        if each != wanted:
            raise ArtifactError(
                f"{model} has an output of {each} axes, the task {task} wants {wanted}; "
                "export again"
            )

    def logits(self, inputs: Iterable[Input]) -> npt.NDArray[np.float32]:
        """Return the model's raw outputs; sorted by length inside, order kept.

        Args:
            inputs: N texts, or N pairs of texts where the card says so.

        Returns:
            Float32 (N, C); C = 1 for values, the width of the vectors for an embedder.

        Raises:
            DataError: Not a list, or an element that is not what the model takes.
        """
        texts, texts2 = self.texts(inputs)
        if not texts:
            return np.zeros((0, self._width), dtype=np.float32)
        ids, type_ids = self.tokenizer.encode(texts, texts2)
        out = np.empty((len(ids), self._width), dtype=np.float32)
        for rows, found in self.run(ids, type_ids):
            out[rows] = found
        return out

    def run(
        self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], Sequence[npt.NDArray[np.float32]] | npt.NDArray[np.float32]]]:
        """Run N sequences of token ids in batches of like length, the longest first.

        Yields:
            The places of B sequences, and the model's output for them: float32 (B, C); of a model
            that tags or finds answers B times (T, C), in one array where ONNX Runtime pads them.
        """
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            own, types = [ids[i] for i in rows], [type_ids[i] for i in rows]
            if self._native is not None:
                yield rows, self._native.run(own, types, self._threads)
                continue
            batch = pad_batch(own, types, self.tokenizer.pad_id)
            (found,) = self._session.run(
                [self._output], {name: batch[name] for name in self._inputs}
            )
            yield rows, found

    def texts(self, inputs: Iterable[Input]) -> tuple[list[str], list[str] | None]:
        """Return the first texts of inputs, and where the model takes pairs the second ones.

        Raises:
            DataError: Not a list, or an element that is not what the model takes.
        """
        wanted = "a pair of texts (text, text2)" if self.card.pair else "a text"
        if isinstance(inputs, str):
            raise DataError(f"one text was given; wanted a list: [{shorten(inputs)}]")
        if not isinstance(inputs, Iterable):
            raise DataError(f"{shorten(inputs)} was given; wanted a list, each item {wanted}")
        items: Sequence[Input] = list(inputs)
        for i, item in enumerate(items):
            if not (_is_pair(item) if self.card.pair else isinstance(item, str)):
                raise DataError(f"input {i} is {shorten(item)}; wanted {wanted}")
        if self.card.pair:
            return [item[0] for item in items], [item[1] for item in items]
        return [str(item) for item in items], None


def _onnx_session(model: Path, threads: int | None, optimize: bool) -> ort.InferenceSession:
    """Open a model in ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    try:
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own unexported kinds
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(f"{model} cannot be run: {reason}") from error


def _is_pair(item: object) -> bool:
    """Whether something is two texts."""
    return (
        isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(t, str) for t in item)
    )


def shorten(value: object) -> str:
    """Return the start of a value's representation."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _with_precision(folder: str | Path, card: Card, precision: str | None) -> Card:
    """Return the card with the model file of the precision asked for."""
    if precision is None:
        return card
    if precision not in _MODELS:
        raise ConfigError(f"precision is `{precision}`; wanted int8 or fp32")
    name = _MODELS[precision]
    if name not in card.files:
        raise ConfigError(f"{folder} holds no {precision} model; it has {card.model}")
    return replace(card, model=name)
