"""The shipped graph answers as the PyTorch model does, in float32 and in int8."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, helper, numpy_helper
from transformers import AutoModelForSequenceClassification

import tinybert
from small_layouts import configs
from tiny_models import save_word_tokenizer
from tinybert.artifact import FP32, INT8, read_card
from tinybert.distill.infer import has_types, load_classifier, longest_input, predict_logits
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship.export import export
from tinybert.ship.quantize import quantize, quantize_columns, quantize_rows

ELSEWHERE = ("ernie", "xlm-roberta")  # exported in test_checkpoints.py
CONFIGS = {n: c for n, c in configs(2, initializer_range=0.3).items() if n not in ELSEWHERE}
SPECIAL = {0: ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], 1: ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]}
LENGTHS = ([1], [2], [1, 2], [9, 1, 5], [40], [40, 3, 40, 1, 17], list(range(1, 34)))
LEVELS = (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)


def open_graph(path, level=LEVELS[0]):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def ask(graph, batch):
    return graph.run(["logits"], {node.name: batch[node.name] for node in graph.get_inputs()})[0]


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request, tmp_path_factory):
    """A model of each layout and its float32 graph."""
    folder, config = tmp_path_factory.mktemp(request.param), CONFIGS[request.param]
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(folder / "model")
    save_word_tokenizer(folder / "model", 50, SPECIAL[config.pad_token_id])
    export(folder / "model", folder / "artifact", max_length=longest_input(config))
    return model, folder / "artifact" / FP32


def draw(model, lengths):
    """Return a padded batch of random tokens, none of them a special one."""
    random = np.random.default_rng(sum(lengths))
    rows = [min(length, longest_input(model.config)) for length in lengths]
    mask = (np.arange(max(rows)) < np.array(rows)[:, None]).astype(np.int64)
    ids = random.integers(4, 50, mask.shape)
    return {
        "input_ids": np.where(mask == 1, ids, model.config.pad_token_id),
        "attention_mask": mask,
        "token_type_ids": random.integers(0, 2, mask.shape) * mask,
    }


def test_float32_graph_is_the_model(exported):
    model, path = exported
    takes = ("input_ids", "attention_mask", *(["token_type_ids"] if has_types(model) else []))
    graphs = [open_graph(path, level) for level in LEVELS]
    assert sorted(node.name for node in graphs[0].get_inputs()) == sorted(takes)
    for lengths in LENGTHS:
        batch = draw(model, lengths)
        with torch.inference_mode():
            wanted = model(**{name: torch.from_numpy(batch[name]) for name in takes}).logits.numpy()
        assert len(lengths) < 3 or wanted.std(axis=0).min() > 0.05
        for graph in graphs:
            found = ask(graph, batch)
            assert found.shape == (len(lengths), 3)
            np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)


def test_padding_filled_with_words_moves_nothing(exported):
    """But for RoBERTa, which counts positions by the pad token."""
    model, path = exported
    graph, batch = open_graph(path), draw(model, [9, 1, 5])
    wanted = ask(graph, batch)
    if model.config.model_type not in ("roberta", "xlm-roberta"):
        batch["input_ids"] = np.where(batch["attention_mask"] == 0, 49, batch["input_ids"])
        np.testing.assert_allclose(ask(graph, batch), wanted, atol=1e-5, rtol=0)
    wider = {
        name: np.pad(rows, ((0, 0), (0, 20)), constant_values=model.config.pad_token_id)
        if name == "input_ids"
        else np.pad(rows, ((0, 0), (0, 20)))
        for name, rows in batch.items()
    }
    np.testing.assert_allclose(ask(graph, wider), wanted, atol=1e-5, rtol=0)


def test_int8_gives_the_labels_of_the_model(learned, artifact):
    before = (artifact / FP32).stat().st_size
    path = quantize(artifact)
    assert path == artifact / INT8
    assert path.stat().st_size < 0.45 * before
    assert not (artifact / FP32).exists()
    assert read_card(artifact).model == INT8
    texts = list(learned.data.dev["text"])
    wanted = predict_logits(learned.folder, texts, max_length=32, every_token=True)
    assert (wanted.argmax(1) == np.array(learned.data.dev["label"])).mean() > 0.7
    found = tinybert.load(artifact, threads=1).logits(texts)
    first, second = np.sort(wanted, axis=1)[:, :-3:-1].T
    clear = first - second > 0.1
    assert clear.mean() > 0.9
    assert (found.argmax(1) == wanted.argmax(1))[clear].all()
    assert np.abs(found - wanted).mean() < 0.01 * wanted.std()


def test_int8_weights_and_what_stays_float32(artifact):
    path = quantize(artifact)
    weights = {w.name: numpy_helper.to_array(w) for w in onnx.load(str(path)).graph.initializer}
    small = {name: w for name, w in weights.items() if w.dtype == np.int8}
    tables = [w for w in small.values() if w.shape == (304, 128)]
    products = [w for w in small.values() if w.shape in ((128, 128), (128, 256), (256, 128))]
    assert (len(tables), len(products), len(small)) == (1, 2 * 6 + 1, 2 * 6 + 2)
    assert all(64 < np.abs(w).max() <= 127 for w in products)
    assert all(pair_sums(w).max() <= 128 for w in products)
    assert np.abs(tables[0]).max() == 127
    assert all(w.size < 16_384 for w in weights.values() if w.dtype == np.float32)


def test_int8_answers_do_not_depend_on_company(learned, artifact):
    texts = list(learned.data.dev["text"])
    quantize(artifact)
    alone, together = (
        tinybert.load(artifact, threads=1, batch_size=size).logits(texts) for size in (1, 300)
    )
    moved = np.abs(alone - together).max(axis=1)
    assert np.quantile(moved, 0.98) < 1e-5
    assert moved.max() < 2e-2


def test_quantize_refuses(artifact):
    quantize(artifact)
    with pytest.raises(ArtifactError, match=r"has no onnx/model\.onnx; export it again, then quan"):
        quantize(artifact)


def pair_sums(weights):
    """Return the sizes of the sums of two neighbouring rows' weights of one sign."""
    wide = np.pad(weights.astype(np.int64), ((0, len(weights) % 2), (0, 0)))
    parts = [np.maximum(part[0::2], 0) + np.maximum(part[1::2], 0) for part in (wide, -wide)]
    return np.maximum(*parts)


MATRICES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-(2.0**99), 2.0**99, width=32),
)


@settings(max_examples=200, deadline=None)
@given(MATRICES)
def test_rows_are_off_by_half_a_step_at_most(table):
    values, scales = quantize_rows(table)
    assert (values.dtype, scales.dtype) == (np.int8, np.float32)
    assert (values.shape, scales.shape) == (table.shape, (len(table), 1))
    assert np.abs(values.astype(int)).max() <= 127
    step = scales.astype(np.float64)
    assert (np.abs(values * step - table) <= step * (0.5 + 1e-5)).all()


@settings(max_examples=200, deadline=None)
@given(MATRICES)
def test_columns_are_off_by_half_a_step_and_their_pairs_cannot_overflow(matrix):
    values, scales = quantize_columns(matrix)
    assert (values.dtype, scales.shape) == (np.int8, (1, matrix.shape[1]))
    step = scales.astype(np.float64)
    assert (np.abs(values * step - matrix) <= step * (0.5 + 1e-5)).all()
    assert pair_sums(values).max() <= 128


def test_rows_and_columns_by_hand():
    table = np.array([[1.0, -0.5, 0.004], [0, 0, 0]], dtype=np.float32)
    values, scales = quantize_rows(table)
    assert values.tolist() == [[127, -64, 1], [0, 0, 0]]
    assert scales[0, 0] == np.float32(1 / 127)
    matrix = np.array([[1.0, 1.0], [1.0, -0.5], [0.5, 0]], dtype=np.float32)
    values, scales = quantize_columns(matrix)
    assert values.tolist() == [[64, 127], [64, -64], [32, 0]]
    np.testing.assert_allclose(scales, [[2 / 127, 1 / 127]])


@pytest.mark.parametrize("rows", [64, 65, 384])
def test_products_at_the_edge_are_exact_on_this_processor(rows):
    """Of processors without VNNI, full-range int8 weights would overflow here."""
    random = np.random.default_rng(0)
    matrix = random.choice(np.float32([1, -1]), (rows, 64)) * random.uniform(0.9, 1, (rows, 64))
    matrix[:, ::2] = np.abs(matrix[:, ::2])
    weights, _ = quantize_columns(matrix.astype(np.float32))
    x = random.integers(200, 256, (7, rows)).astype(np.uint8)
    node = helper.make_node("MatMulInteger", ["x", "w", "zero"], ["y"])
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["m", rows])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["m", 64])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.uint8(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString())
    found = session.run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, x.astype(np.int64) @ weights.astype(np.int64))


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"max_length": 3}, "max_length is 3; the model takes 4 to 32"),
        ({"max_length": 33}, "max_length is 33; the model takes 4 to 32"),
        ({"max_length": 32, "labels": ["a", "b"]}, "2 labels were given, the model has 3 logits"),
        ({"max_length": 32, "labels": ["a", "b", "a"]}, "labels are a, b, a; wanted each only on"),
    ],
)
def test_export_refuses(learned, tmp_path, settings_, message):
    with pytest.raises(ConfigError, match=message):
        export(learned.folder, tmp_path / "artifact", **settings_)
    assert list(tmp_path.iterdir()) == []


def test_card_of_an_export(learned, whole):
    card = read_card(whole)
    network = load_classifier(learned.folder)
    assert card.parameters == sum(p.numel() for p in network.parameters())
    assert card.labels == learned.data.labels
    assert set(card.files) == {"tokenizer.json", "tokenizer_config.json", FP32}
