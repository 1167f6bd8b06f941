"""A student that learns with quantized numbers is, rounded, what its artifact computes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch.nn.utils import parametrize
from transformers import BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

import tinybert
from tinybert.artifact import INT8, read_card
from tinybert.cli import app
from tinybert.distill import quantized as quantized_room
from tinybert.distill import recipe as recipes
from tinybert.distill.infer import predict_logits
from tinybert.distill.quantized import (
    quantized,
    rounded_columns,
    rounded_inputs,
    rounded_rows,
)
from tinybert.distill.task import distill
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship import pipeline
from tinybert.ship import quantize as quantize_room
from tinybert.ship.quantize import quantize, quantize_columns, quantize_rows


def small_bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200, hidden_size=128, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=140, num_labels=3,
    )  # fmt: skip
    return BertForSequenceClassification(config)


@pytest.mark.parametrize("shape", [(5, 6), (7, 9), (128, 64)])
def test_rounding_is_that_of_the_artifact(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    whole, scale = quantize_columns(weight.numpy().T)
    np.testing.assert_allclose(rounded_columns(weight), (whole * scale).T, rtol=1e-6, atol=1e-7)
    columns = np.abs(weight.numpy()).max(axis=0, keepdims=True)
    for bits in (8, 4):
        rows, scales = quantize_rows(weight.numpy() / columns, bits)
        assert np.abs(rows).max() == 2 ** (bits - 1) - 1
        once = rounded_rows(weight, bits)
        np.testing.assert_allclose(once, rows * scales * columns, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(rounded_rows(once, bits), once, rtol=1e-5, atol=1e-7)


def test_inputs_have_256_steps_from_lowest_to_highest():
    states = torch.randn(3, 40, generator=torch.Generator().manual_seed(2))
    found = rounded_inputs(states)
    low, high = states.amin(1), states.amax(1)
    torch.testing.assert_close(found.amin(1), low)
    torch.testing.assert_close(found.amax(1), high)
    steps = (found - low[:, None]) / ((high - low)[:, None] / 255)
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert (found - states).abs().amax(1).le((high - low) / 509).all()
    assert rounded_inputs(torch.ones(2, 4)).eq(1).all()


def test_gradients_pass_and_plain_weights_stay():
    student = small_bert()
    words = student.bert.embeddings.word_embeddings
    words.weight.requires_grad_(False)
    names = set(student.state_dict())
    matrix = student.bert.encoder.layer[0].intermediate.dense
    before = matrix.weight.detach().clone()
    ids = torch.arange(10)[None]
    with quantized(student, table_bits=4):
        assert not parametrize.is_parametrized(words)
        seen = []
        matrix.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        student(input_ids=ids).logits.square().sum().backward()
        original = matrix.parametrizations.weight.original
        assert original.grad.abs().sum() > 0
        original.grad = None
        matrix.weight.sum().backward()
        assert original.grad.eq(1).all()
        torch.testing.assert_close(matrix.weight, rounded_columns(before))
        torch.testing.assert_close(rounded_inputs(seen[0]), seen[0], atol=1e-5, rtol=0)
        assert not parametrize.is_parametrized(student.classifier)
    assert set(student.state_dict()) == names
    torch.testing.assert_close(matrix.weight.detach(), rounded_columns(before))
    torch.testing.assert_close(rounded_rows(words.weight, 4), words.weight)
    student.eval()
    with torch.no_grad():
        plain = student(input_ids=ids).logits
        with quantized(student, table_bits=4):
            rounded = student(input_ids=ids).logits
    assert 0 < (plain - rounded).abs().max() < 0.05 * plain.std() + 0.01


@pytest.mark.parametrize("bits", [8, 4])
def test_an_artifact_holds_tables_of_so_many_bits(bits, tmp_path, write_tokenizer):
    model = tmp_path / "model"
    small_bert().save_pretrained(model)
    write_tokenizer(model)
    pipeline.export(model, tmp_path / "artifact", max_length=140)
    given = ["quantize", str(tmp_path / "artifact"), "--table-bits", str(bits)]
    assert CliRunner().invoke(app, given).exit_code == 0
    graph = onnx.load(str(tmp_path / "artifact" / INT8)).graph
    found = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    shapes = {w.shape for w in found.values() if w.dtype == np.uint8 and w.ndim}
    assert shapes == ({(200, 64)} if bits == 4 else set())
    assert ((200, 128) in {w.shape for w in found.values() if w.dtype == np.int8}) is (bits == 8)
    assert (140, 128) in {w.shape for w in found.values() if w.dtype == np.int8}


def test_other_bits_are_refused(tmp_path, write_tokenizer):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200, hidden_size=129, num_hidden_layers=1, num_attention_heads=3,
        intermediate_size=130, max_position_embeddings=32,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "odd")
    write_tokenizer(tmp_path / "odd")
    pipeline.export(tmp_path / "odd", tmp_path / "artifact", max_length=32)
    with pytest.raises(ConfigError, match="word embeddings are 129 wide; wanted an even width"):
        quantize(tmp_path / "artifact", table_bits=4)
    with pytest.raises(ConfigError, match="table_bits is 6; wanted 8 or 4"):
        quantize(tmp_path, table_bits=6)


def test_a_refused_student_learns_on_with_quantized_numbers(taught, monkeypatch):
    said, verify, tries = [], pipeline.verify, []

    def refuse_once(*arguments, **limits):
        tries.append(arguments)
        if len(tries) == 1:
            raise ArtifactError("int8: labels flip; ship the float32 model")
        return verify(*arguments, **limits)

    monkeypatch.setattr(pipeline, "verify", refuse_once)
    for room in (quantized_room, quantize_room):
        monkeypatch.setattr(room, "SMALL", 400)
    given = taught | {"ship.table_bits": 4, "ship.max_flips": 0.2, "ship.max_drop": 0.2}
    recipe = recipes.load(None, given)
    run = distill(recipe, said.append)
    before = (run / "student" / "model.safetensors").read_bytes()
    artifact = pipeline.ship(run, recipe, said.append)
    assert "int8: labels flip" in said
    assert "learning on with quantized numbers, 1 epochs" in said
    assert any(line.startswith("quantized-4-1-") and "stage: 1 epochs" in line for line in said)
    assert (run / "student" / "model.safetensors").read_bytes() != before
    (log,) = (run / "stages").glob("quantized-4-1-*/log.json")
    assert log.is_file()
    assert len(tries) == 2
    assert read_card(artifact).parity["passed"]
    shipped = onnx.load(str(artifact / INT8)).graph.initializer
    assert [w for w in shipped if w.data_type == onnx.TensorProto.UINT8 and len(w.dims) == 2]
    weights = load_file(run / "student" / "model.safetensors")
    words = weights["bert.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(rounded_rows(words, 4), words)
    matrix = weights["bert.encoder.layer.0.intermediate.dense.weight"]
    steps = matrix / (matrix.abs().amax(dim=1, keepdim=True))
    assert len(steps[0].unique()) < matrix.shape[1]
    texts = ["a great film", "a bad film"]
    own = predict_logits(run / "student", texts, max_length=32)
    found = tinybert.load(artifact, engine="onnx").logits(texts)
    np.testing.assert_allclose(found, own, atol=0.05)
    said.clear()
    again = pipeline.ship(run, recipe, said.append)
    assert read_card(again).parity["passed"]
    assert not [line for line in said if "stage:" in line]


@pytest.mark.parametrize(("wanted", "processes"), [("never", 1), ("needed", 2)])
def test_learning_on_can_be_forbidden_and_no_process_does_so_beside_others(
    taught, monkeypatch, wanted, processes
):
    def refuse(*_, **__):
        raise ArtifactError("labels flip")

    monkeypatch.setattr(pipeline, "verify", refuse)
    recipe = recipes.load(None, taught | {"ship.quantization": wanted})
    run = distill(recipe, lambda _: None)
    monkeypatch.setattr(pipeline.processes, "count", lambda: processes)
    with pytest.raises(ArtifactError, match="labels flip"):
        pipeline.ship(run, recipe, lambda _: None)
    assert not list((run / "stages").glob("quantized*"))
