"""The gate: an artifact that answers differently is refused, and its card says so."""

import math
import shutil

import numpy as np
import onnx
import pytest
import torch
from datasets import Dataset
from onnx import numpy_helper

from tiny_models import save_model
from tinybert.artifact import FP32, INT8, read_card, write_card
from tinybert.data import TaskData
from tinybert.distill.infer import load_classifier
from tinybert.errors import ArtifactError
from tinybert.ship.export import refresh_card
from tinybert.ship.quantize import quantize
from tinybert.ship.verify import _compare, _problems, verify


@pytest.fixture(autouse=True)
def _int8(artifact):
    quantize(artifact, keep_fp32=True)


def shift_logits(artifact, name, value):
    """Add a value to the last bias of a graph, and give the card the new hash."""
    model = onnx.load(str(artifact / name))
    kinds = [(list(w.dims), w.data_type) for w in model.graph.initializer]
    found = model.graph.initializer[kinds.index(([3], onnx.TensorProto.FLOAT))]
    shifted = numpy_helper.to_array(found) + np.float32(value)
    found.CopyFrom(numpy_helper.from_array(shifted, found.name))
    onnx.save(model, str(artifact / name))
    write_card(artifact, refresh_card(artifact, read_card(artifact)))


def test_passes_and_says_so(artifact, learned):
    parity = verify(artifact, learned.folder, learned.data)
    assert parity == dict(read_card(artifact).parity)
    assert parity["passed"] is True
    assert (parity["texts"], parity["metric"]) == (300, "accuracy")
    assert parity["flip_rate"] == parity["label_flips"] / 300
    assert 0 < parity["mean_logit_difference"] < parity["max_logit_difference"] < 0.2
    assert parity["torch"] > 0.7
    assert (parity["max_flips"], parity["max_drop"]) == (0.005, 0.003)
    text = (artifact / "README.md").read_text(encoding="utf-8")
    assert (
        f"Against the PyTorch model on 300 held-out texts: largest logit difference {parity['max_logit_difference']:.4f}"
        in text
    )


def test_float32_is_held_to_a_thousandth(artifact, learned):
    shift_logits(artifact, FP32, [2e-3, 0, 0])
    with pytest.raises(
        ArtifactError, match=r"does not answer as .*: float32 logits differ by 0\.00"
    ):
        verify(artifact, learned.folder, learned.data)
    assert read_card(artifact).parity["passed"] is False


def test_a_model_that_answers_otherwise(artifact, learned, tmp_path):
    other = load_classifier(learned.folder)
    with torch.no_grad():
        other.classifier.weight.copy_(other.classifier.weight.roll(1, 0))
        other.classifier.bias.copy_(other.classifier.bias.roll(1, 0))
    shutil.copytree(learned.folder, tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ArtifactError) as caught:
        verify(artifact, tmp_path / "other", learned.data)
    for problem in (
        "float32 logits differ by",
        "fp32: 300 of 300",
        "int8: 300 of 300 labels flip (100.00%; limit 0.50%, 4 texts)",
    ):
        assert problem in str(caught.value)
    parity = read_card(artifact).parity
    assert (parity["passed"], parity["label_flips"]) == (False, 300)


def test_limits(artifact, learned):
    """Answers that change are refused, and let through where that is asked for."""
    shift_logits(artifact, INT8, [3, 0, 0])
    loose = verify(artifact, learned.folder, learned.data, max_flips=1, max_drop=1)
    flips, drop = loose["label_flips"], loose["torch"] - loose["artifact"]
    assert loose["passed"] is True
    assert (flips > 3, drop > 0.01) == (True, True)
    with pytest.raises(
        ArtifactError, match=rf": int8: {flips} of 300 labels flip .*; ship the floa"
    ):
        verify(artifact, learned.folder, learned.data, max_drop=1)
    assert read_card(artifact).parity["passed"] is False
    with pytest.raises(
        ArtifactError, match=rf": int8: accuracy falls by {drop:.4f} \(limit 0\.003\)"
    ):
        verify(artifact, learned.folder, learned.data, max_flips=1)
    assert read_card(artifact).parity["passed"] is False
    limits = {"max_flips": flips / 300, "max_drop": drop + 1e-6}
    assert verify(artifact, learned.folder, learned.data, **limits)["passed"] is True
    assert read_card(artifact).parity["max_drop"] == limits["max_drop"]


def test_answers_that_are_no_numbers(artifact, learned):
    shift_logits(artifact, INT8, [0, np.nan, 0])
    with pytest.raises(ArtifactError, match="int8: logits are not finite"):
        verify(artifact, learned.folder, learned.data, max_flips=1, max_drop=1)
    assert read_card(artifact).parity["passed"] is False


def test_a_model_of_another_task(artifact, learned, tmp_path):
    save_model(tmp_path / "other", 2, 1, seed=0)
    with pytest.raises(ArtifactError, match=r"gives 3 logits, .*other 2; export it again from the"):
        verify(artifact, tmp_path / "other", learned.data)


def test_values_that_are_all_shifted():
    """Pearson's r does not see a shift."""
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(50, 1)).astype(np.float32)
    rows = Dataset.from_dict({"text": ["a"] * 50, "label": wanted[:, 0].tolist()})
    data = TaskData(rows, rows, None, "regression", (), False, "none", "pearson")
    for shift, problems in ((0.04, 0), (0.06, 1)):
        found = _problems("int8", _compare(data, wanted + wanted.std() * shift, wanted), 0, 0)
        assert len(found) == problems
        assert all("int8: values differ by 0.0" in problem for problem in found)


def test_what_chance_explains_is_allowed():
    """At a share of 0.29, more than 37 of 100 happen in less than one of twenty draws."""
    tail = sum(math.comb(100, k) * 0.29**k * 0.71 ** (100 - k) for k in range(38, 101))
    assert tail < 0.05 < tail + math.comb(100, 37) * 0.29**37 * 0.71**63
    figures = {
        "texts": 100,
        "label_flips": 37,
        "flip_rate": 0.37,
        "max_logit_difference": 1.0,
        "metric": "accuracy",
        "torch": 0.5,
        "artifact": 0.5,
    }
    assert _problems("int8", figures, 0.29, 0.0) == []
    (problem,) = _problems("int8", figures | {"label_flips": 38}, 0.29, 0.0)
    assert problem.startswith("int8: 38 of 100 labels flip")
