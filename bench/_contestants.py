"""Who answers in ``bench/speed.py``: each turns token ids into logits, or says why it cannot."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.artifact import FP32, INT8
from tinybert.text import Tokenizer, pad_batch

__all__ = ["ABOUT", "Measured", "SkippedError", "opened"]

Array = npt.NDArray[Any]
Rows = Sequence[Sequence[int]]
Answer = Callable[[Rows, Rows], Array]
# Texts that OpenVINO's post-training quantization sees.
CALIBRATED = 64
STATIC_WIDTH = 256

ABOUT = {
    "native": "the own engine, int8",
    "onnx": "ONNX Runtime, the same int8 file",
    "onnx_fp32": "ONNX Runtime, float32",
    "ctranslate2": "CTranslate2 encoder, int8",
    "openvino": "OpenVINO, int8 by NNCF's post-training quantization",
    "torch": "PyTorch eager, float32",
    "torch_compiled": "torch.compile, float32",
    "model2vec": "model2vec, static embeddings: another class of model, no encoder",
}


class SkippedError(Exception):
    """A contestant that cannot run here; it says why."""


@dataclass(frozen=True)
class Measured:
    """The model, in all the forms that contestants read.

    Args:
        student: Its Hugging Face folder, float32.
        int8, fp32: Artifacts of it.
        work: Where contestants put what they convert.
        longest: Longest sequence in tokens.
        texts: What is measured on, for calibration.
    """

    student: Path
    int8: Path
    fp32: Path
    work: Path
    longest: int
    texts: Sequence[str]

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer that all contestants but model2vec share."""
        return Tokenizer(self.int8, max_length=self.longest)

    def padded(self, ids: Rows, types: Rows) -> dict[str, Array]:
        """Return a batch of equal lengths, padded on the right."""
        return pad_batch(ids, types, 0)


def opened(model: Measured, name: str, threads: int) -> tuple[Any, float]:
    """Open a contestant.

    Args:
        model: What it runs.
        name: A key of ``ABOUT``.
        threads: Threads that it may use.

    Returns:
        A function of token ids and segment ids (of texts: model2vec) that gives an array with a row
        for each, and the size of its model file in MB.

    Raises:
        SkippedError: It is not installed or does not take this model.
    """
    openers: dict[str, Callable[[Measured, int], tuple[Any, Path]]] = {
        "native": _native,
        "onnx": lambda m, n: _onnx(m, m.int8 / INT8, n),
        "onnx_fp32": lambda m, n: _onnx(m, m.fp32 / FP32, n),
        "ctranslate2": _ctranslate2,
        "openvino": _openvino,
        "torch": _torch,
        "torch_compiled": _compiled,
        "model2vec": _model2vec,
    }
    try:
        answer, path = openers[name](model, threads)
    except ImportError as error:
        raise SkippedError(f"not installed: {error}") from error
    files = [path] if path.is_file() else path.iterdir()
    return answer, sum(file.stat().st_size for file in files) / 1e6


def _native(model: Measured, threads: int) -> tuple[Answer, Path]:
    from tinybert.engine import Engine, UnknownGraphError, is_built

    if not is_built():
        raise SkippedError("the engine was not built: no C++ compiler at installation")
    try:
        engine = Engine(model.int8 / INT8, max_length=model.longest)
    except UnknownGraphError as error:
        raise SkippedError(f"the engine does not know {error}") from error
    return lambda ids, types: np.asarray(engine.run(ids, types, threads)), model.int8 / INT8


def _onnx(model: Measured, path: Path, threads: int) -> tuple[Answer, Path]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def answer(ids: Rows, types: Rows) -> Array:
        batch = model.padded(ids, types)
        found: Array = session.run(None, {name: batch[name] for name in names})[0]
        return found

    return answer, path


def _network(model: Measured) -> Any:
    """Return the student in PyTorch."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(model.student).eval()


def _in_torch(model: Measured, network: Any, threads: int) -> Answer:
    """Return a network as a function of token ids."""
    import torch

    torch.set_num_threads(threads)

    def answer(ids: Rows, types: Rows) -> Array:
        batch = {k: torch.from_numpy(v) for k, v in model.padded(ids, types).items()}
        with torch.inference_mode():
            found: Array = network(**batch).logits.numpy()
        return found

    return answer


def _torch(model: Measured, threads: int) -> tuple[Answer, Path]:
    answer = _in_torch(model, _network(model), threads)
    return answer, model.student / "model.safetensors"


def _compiled(model: Measured, threads: int) -> tuple[Answer, Path]:
    import torch

    if not shutil.which(os.environ.get("CXX", "g++")):
        raise SkippedError("torch.compile wants a C++ compiler")
    torch.compiler.reset()
    answer = _in_torch(model, torch.compile(_network(model), dynamic=True), threads)
    try:
        for size, tokens in ((1, 9), (4, 9), (4, 31)):
            answer([[2] * tokens] * size, [[0] * tokens] * size)
    except Exception as error:  # whatever the compiler says
        raise SkippedError(f"torch.compile failed: {str(error).strip().splitlines()[0]}") from error
    return answer, model.student / "model.safetensors"


def _ctranslate2(model: Measured, threads: int) -> tuple[Answer, Path]:
    """The encoder in CTranslate2; it has no heads, so that the head is computed with numpy."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    network = _network(model)
    if network.config.model_type != "bert" or network.bert.pooler is None:
        raise SkippedError("its converter takes BERT's layout with a pooler only")
    folder = model.work / "ctranslate2"
    if not folder.is_dir():
        # The converter reads a setting that transformers 5 no longer writes.
        source = shutil.copytree(model.student, model.work / "student-ctranslate2")
        about = json.loads((source / "config.json").read_text(encoding="utf-8"))
        about.setdefault("position_embedding_type", "absolute")
        (source / "config.json").write_text(json.dumps(about), encoding="utf-8")
        TransformersConverter(str(source)).convert(str(folder), quantization="int8")
    encoder = ctranslate2.Encoder(
        str(folder), compute_type="int8", inter_threads=1, intra_threads=threads
    )
    weight, bias = (p.detach().numpy() for p in network.classifier.parameters())

    def answer(ids: Rows, types: Rows) -> Array:
        found = encoder.forward_batch(list(map(list, ids)), token_type_ids=list(map(list, types)))
        logits: Array = np.asarray(found.pooler_output) @ weight.T + bias
        return logits

    return answer, folder / "model.bin"


def _openvino(model: Measured, threads: int) -> tuple[Answer, Path]:
    """The float32 graph after NNCF's post-training quantization, settings as they come."""
    import nncf
    import openvino

    core = openvino.Core()
    path = model.work / "openvino" / "model.xml"
    if not path.is_file():
        ids, types = model.tokenizer().encode(model.texts[:CALIBRATED])
        rows = [model.padded([i], [t]) for i, t in zip(ids, types, strict=True)]
        graph = nncf.quantize(
            core.read_model(str(model.fp32 / FP32)),
            nncf.Dataset(rows),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(graph, str(path))
    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    names = {node.any_name for node in compiled.inputs}

    def answer(ids: Rows, types: Rows) -> Array:
        batch = {k: v for k, v in model.padded(ids, types).items() if k in names}
        found: Array = request.infer(batch, share_inputs=True)[0]
        return found

    return answer, path.parent


def _model2vec(model: Measured, _: int) -> tuple[Callable[[Sequence[str]], Array], Path]:
    """Static embeddings of model2vec's usual width; their values do not change the time."""
    from model2vec import StaticModel
    from tokenizers import Tokenizer as Backend

    folder = model.work / "model2vec"
    if not folder.is_dir():
        backend = Backend.from_file(str(model.int8 / "tokenizer.json"))
        random = np.random.default_rng(0)
        rows = random.standard_normal((backend.get_vocab_size(), STATIC_WIDTH), dtype=np.float32)
        StaticModel(rows, backend).save_pretrained(str(folder))
    static = StaticModel.from_pretrained(str(folder))
    return lambda texts: np.asarray(static.encode(list(texts))), folder / "model.safetensors"
