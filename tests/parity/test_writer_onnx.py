"""Encoder-decoders as ONNX files: the tokens of PyTorch, with a cache as without one."""

import json

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from small_writers import TEXTS, save_random_writer
from tinybert.cli import app
from tinybert.distill.writers import load_writer
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship import quantize
from tinybert.ship.greedy import OnnxWriter, Search, compare, greedy_tokens
from tinybert.ship.writer_onnx import export_writer_onnx
from tinybert.text import Tokenizer

CACHE = [f"0.{side}.{kind}" for side in ("decoder", "encoder") for kind in ("key", "value")]
PAST = [f"past_key_values.{name}" for name in CACHE]
PRESENT = [f"present.{name}" for name in CACHE]


def export(folder, kind, monkeypatch):
    monkeypatch.setattr(quantize, "SMALL", 64)
    model = save_random_writer(folder / "w", kind)
    return model, export_writer_onnx(model, folder / "web", texts=TEXTS, max_length=24)


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return export(tmp_path_factory.mktemp("onnx"), "bart", monkeypatch)


def batch(model):
    tokenizer = Tokenizer(model, max_length=24)
    rows = tokenizer.encode(TEXTS)[0]
    width = max(map(len, rows))
    ids = np.array([[*row, *[1] * (width - len(row))] for row in rows])
    return ids, np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def names(folder, name, suffix=""):
    graph = onnx.load(folder / "onnx" / f"{name}{suffix}.onnx").graph
    return [item.name for item in graph.input], [item.name for item in graph.output]


@pytest.mark.parametrize("suffix", ["", "_quantized"])
def test_names_are_those_that_transformers_js_and_optimum_read(web, suffix):
    _, folder = web
    given = ["encoder_attention_mask", "input_ids"]
    own = [name for name in PRESENT if "decoder" in name]
    assert names(folder, "encoder_model", suffix) == (
        ["input_ids", "attention_mask"], ["last_hidden_state"]
    )  # fmt: skip
    first = [*given, "encoder_hidden_states"]
    assert names(folder, "decoder_model", suffix) == (first, ["logits", *PRESENT])
    assert names(folder, "decoder_with_past_model", suffix) == ([*given, *PAST], ["logits", *own])
    merged = names(folder, "decoder_model_merged", suffix)
    assert merged == ([*first, *PAST, "use_cache_branch"], ["logits", *PRESENT])
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        assert (folder / name).is_file()
    settings = json.loads((folder / "generation_config.json").read_text())
    assert (settings["bad_words_ids"], settings["max_length"]) == ([[1]], 64)


def test_a_padded_batch_is_answered_as_torch_answers_each_text_alone(web):
    model, folder = web
    parity = json.loads((folder / "parity.json").read_text())
    assert (parity["texts"], parity["same_answers"], parity["ties"]) == (3, 1.0, 0)
    assert parity["int8_same_tokens"] > 0.9
    ids, mask = batch(model)
    search = Search(0, 2, 1, 24)
    together = greedy_tokens(OnnxWriter(folder / "onnx"), ids, mask, search)
    assert len({tuple(answer) for answer in together}) == 3
    for row, real, answer in zip(ids, mask, together, strict=True):
        alone = row[None, : real.sum()], real[None, : real.sum()]
        merged = OnnxWriter(folder / "onnx", merged=True)
        assert greedy_tokens(merged, *alone, search) == [answer]


@pytest.mark.parametrize("merged", [False, True])
def test_the_cache_changes_nothing(web, merged):
    model, folder = web
    writer = OnnxWriter(folder / "onnx", merged=merged)
    ids, mask = batch(model)
    states = writer.encode(ids, mask)
    tokens = np.random.default_rng(0).integers(4, 300, (3, 6))
    whole, _ = writer.step(tokens, states, mask, {})
    part, past = writer.step(tokens[:, :2], states, mask, {})
    parts = [part]
    for i in range(2, 6):
        part, past = writer.step(tokens[:, i : i + 1], states, mask, past)
        parts.append(part)
    assert np.concatenate(parts, axis=1) == pytest.approx(whole, abs=1e-4)
    network = load_writer(model)
    with torch.inference_mode():
        wanted = network(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask),
            decoder_input_ids=torch.tensor(tokens),
        ).logits  # fmt: skip
    assert whole == pytest.approx(wanted.numpy(), abs=1e-4)


def test_weights_are_stored_once(web):
    _, folder = web
    for suffix, kind in (("", 1), ("_quantized", 3)):
        for name in ("decoder_model", "decoder_model_merged"):
            graph = onnx.load(folder / "onnx" / f"{name}{suffix}.onnx").graph
            tables = [w for w in graph.initializer if w.data_type == kind and 330 in w.dims]
            assert [sorted(w.dims) for w in tables if len(w.dims) == 2 and 32 in w.dims] == [
                [32, 330]
            ]


def test_a_graph_that_writes_other_tokens_is_refused(web, tmp_path):
    model, folder = web
    network, tokenizer = load_writer(model), Tokenizer(model, max_length=24)
    with torch.no_grad():
        network.final_logits_bias[0, 7] = 50
    with pytest.raises(ArtifactError, match=r"decoder_model.onnx writes other tokens than PyTorch"):
        compare(network, tokenizer, folder / "onnx", TEXTS, longest=4)
    with pytest.raises(ConfigError, match="is not empty and holds no ONNX files of a text-to-text"):
        export_writer_onnx(model, model, texts=TEXTS)
    with pytest.raises(ConfigError, match="no texts were given"):
        export_writer_onnx(model, tmp_path / "web", texts=[])


def test_the_command_says_what_is_missing(web, learned, tmp_path):
    model, _ = web
    call = CliRunner().invoke
    done = call(app, ["export", str(model), "--to", str(tmp_path / "a")])
    assert "writes texts; wanted --task translation or summarization" in " ".join(
        done.stderr.split()
    )
    done = call(app, ["export", str(learned.folder), "--to", str(tmp_path / "a"), "--onnx"])
    assert "writes no texts; --onnx, --target-token and --task" in " ".join(done.stderr.split())
    done = call(app, ["export", str(model), "--to", str(tmp_path / "a"), "--task", "translation",
                      "--max-length", "24"])  # fmt: skip
    assert done.exit_code == 0
    assert (tmp_path / "a" / "ctranslate2" / "model.bin").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["m2m_100", "marian", "mbart"])
def test_every_layout(kind, tmp_path, monkeypatch):
    _, folder = export(tmp_path, kind, monkeypatch)
    assert json.loads((folder / "parity.json").read_text())["same_answers"] == 1.0
