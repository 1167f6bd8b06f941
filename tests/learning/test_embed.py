"""Sentence encoders: pooling, distillation, the folder, the artifact."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModel
from typer.testing import CliRunner

import tinybert
from tinybert.artifact import read_card
from tinybert.cli import app
from tinybert.data import TaskData
from tinybert.distill import embed as training
from tinybert.distill import sentence_recipe
from tinybert.distill.embed import read_pairs
from tinybert.distill.sentence import encode, load_encoder, save_encoder
from tinybert.errors import ArtifactError, ConfigError, DataError, UnsupportedModelError
from tinybert.runtime import Embedder, predict
from tinybert.ship.embedder import embed, export_encoder, verify_encoder
from tinybert.ship.verify import verify
from tinybert.text import Tokenizer


@pytest.fixture
def wide(wide_encoder):
    return wide_encoder(4, spread=0.1)


@pytest.fixture
def given(wide, labelled_rows, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(text for text, _ in labelled_rows(240)))
    lines = ["sentence1,sentence2,score"]
    first = load_encoder(wide)
    tokenizer = Tokenizer(wide, max_length=16)
    pairs = [a for a, _ in labelled_rows(60, seed=5)]
    vectors = encode(first, tokenizer, pairs)
    cosines = (vectors[:30] * vectors[30:]).sum(axis=1)
    lines += [f"{a},{b},{c}" for a, b, c in zip(pairs[:30], pairs[30:], cosines, strict=True)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    return {
        "out": str(tmp_path / "run"),
        "teacher": str(wide),
        "max_length": 16,
        "precision": "fp32",
        "data.texts": [str(tmp_path / "texts.txt")],
        "data.held_out": 20,
        "data.dev": str(tmp_path / "pairs.csv"),
        "student.layers": 2,
        "training.epochs": 4,
        "training.learning_rate": 1e-3,
        "training.batch_size": 16,
    }


def run(settings, **more):
    return embed(sentence_recipe.load(None, settings | more), lambda _: None)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_by_hand(wide, pooling):
    texts = ["the film was fine", "fine"]
    tokenizer = Tokenizer(wide, max_length=16)
    found = encode(load_encoder(wide, pooling), tokenizer, texts)
    model = AutoModel.from_pretrained(wide).eval()
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor(tokenizer.encode([text], None)[0])
        states = model(input_ids=ids).last_hidden_state[0].detach().numpy()
        wanted = states[0] if pooling == "cls" else states.mean(axis=0)
        assert vector == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-5)


def test_the_folder_keeps_its_pooling(wide, tmp_path):
    save_encoder(load_encoder(wide, "cls"), wide, tmp_path / "cls")
    assert load_encoder(tmp_path / "cls").pooling == "cls"
    assert load_encoder(wide).pooling == "mean"
    modules = json.loads((tmp_path / "cls" / "modules.json").read_text())
    assert [module["type"].split(".")[-1] for module in modules] == [
        "Transformer", "Pooling", "Normalize",
    ]  # fmt: skip
    path = tmp_path / "cls" / "1_Pooling" / "config.json"
    path.write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(UnsupportedModelError, match="pools by pooling_mode_max_tokens; wanted"):
        load_encoder(tmp_path / "cls")
    path.write_text("[")
    with pytest.raises(UnsupportedModelError, match="is no JSON"):
        load_encoder(tmp_path / "cls")


def test_a_student_takes_over_the_vectors(given):
    folder = run(given)
    about = json.loads((folder / "run.json").read_text())
    assert about["spearman"]["teacher"] > 0.99
    assert about["spearman"]["student"] > about["spearman"]["start"]
    assert about["spearman"]["tfidf"] < about["spearman"]["teacher"]
    assert about["held_out"]["cosine"] > 0.9
    model = tinybert.load(folder / "artifact")
    assert isinstance(model, Embedder)
    texts = ["the film was fine", "it was awful", "blue"]
    found = model(texts)
    assert found.shape == (3, 128)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-3)
    tokenizer = Tokenizer(folder / "student", max_length=16)
    wanted = encode(load_encoder(folder / "student"), tokenizer, texts)
    assert (found * wanted).sum(axis=1) == pytest.approx(1, abs=0.02)
    assert model([]).shape == (0, 128)
    card = read_card(folder / "artifact")
    assert (card.task, card.labels, card.parity["passed"]) == ("embedding", (), True)
    page = (folder / "artifact" / "README.md").read_text()
    assert "pipeline_tag: sentence-similarity" in page
    assert "mean cosine" in page
    out = io.StringIO()
    predict(model, ["blue"], out=out, format="jsonl")
    assert json.loads(out.getvalue())["vector"] == pytest.approx(found[2].tolist(), abs=1e-2)
    command = [
        "evaluate",
        str(folder / "artifact"),
        "--data",
        given["data.dev"],
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "spearman" in done.output

    command[0] = "verify"
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "mean_cosine" in done.output
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 2
    assert "holds a sentence encoder; its figures are in run.json" in done.output
    again = run(given)
    assert json.loads((again / "run.json").read_text())["held_out"] == about["held_out"]


def test_without_pairs_the_held_out_texts_choose(given):
    del given["data.dev"]
    recipe = sentence_recipe.load(None, given | {"training.epochs": 1})
    about = json.loads((training.embed(recipe, lambda _: None) / "run.json").read_text())
    assert about["spearman"] == {}
    assert 0 < about["held_out"]["cosine"] < 1


def test_vectors_of_other_texts_are_not_learned(given, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*_, **__):
        raise Stopped

    monkeypatch.setattr(training, "run_stage", stop)
    recipe = sentence_recipe.load(None, given)
    for _ in range(2):
        with pytest.raises(Stopped):
            training.embed(recipe, lambda _: None)
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    with pytest.raises(ConfigError, match="was begun with other texts"):
        training.embed(recipe, lambda _: None)


def test_vectors_that_moved_are_refused(wide_encoder, tmp_path):
    folder, wide = tmp_path / "artifact", wide_encoder(1, spread=0.1)
    export_encoder(wide, folder, max_length=16)
    other = load_encoder(wide)
    with torch.no_grad():
        for weight in other.encoder.encoder.layer[-1].output.dense.parameters():
            weight.copy_(-weight)
    shutil.copytree(wide, tmp_path / "other")
    other.encoder.save_pretrained(tmp_path / "other")
    texts = ["the film was fine", "it was awful"]
    assert verify_encoder(folder, wide, texts)["mean_cosine"] == pytest.approx(1)
    with pytest.raises(ArtifactError, match=r"float32 vectors differ by .*; fp32: mean cosine"):
        verify_encoder(folder, tmp_path / "other", texts)
    assert read_card(folder).parity["passed"] is False
    with pytest.raises(ConfigError, match="max_length is 41; the model takes 4 to 40"):
        export_encoder(wide, folder, max_length=41)
    rows = Dataset.from_dict({"text": texts, "label": [0.0, 1.0], "line": [1, 2]})
    data = TaskData(rows, rows, None, "regression", (), False, "x", "pearson")
    with pytest.raises(
        ConfigError, match=r"max_drop is given, and .* gives vectors, whose cosines"
    ):
        verify(folder, wide, data, max_drop=0.0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data.texts": []}, ConfigError, "no texts are named; wanted --text FILE"),
        ({"data.held_out": 900}, DataError, "900 are held out for measuring; name more text"),
        ({"student.hidden": 64}, ConfigError, "hidden is 64, its vectors have 128 numbers; wanted"),
        ({"max_length": 99}, ConfigError, "max_length is 99, it takes 40 tokens"),
        ({"data.dev": "{texts}"}, DataError, "ends in `.txt`; wanted one of"),
    ],
)
def test_settings_that_cannot_be_used(given, tmp_path, changes, error, message):
    texts = given["data.texts"][0]
    changes = {k: v.format(texts=texts) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(error, match=message):
        run(given | changes)
    assert not (tmp_path / "run").exists()


def test_layers_that_the_teacher_lacks_leave_the_folder_to_another_command(given, tmp_path):
    with pytest.raises(ConfigError, match="layers is 9; wanted 1 to 4"):
        run(given, **{"student.layers": 9})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.toml"]


@pytest.mark.parametrize(("dev", "wanted"), [(True, "spearman"), (False, "cosine")])
def test_pairs_choose_the_epoch_where_there_are_any(given, monkeypatch, dev, wanted):
    class Stopped(Exception):
        pass

    def stop(*_, keep_best, evaluate, **__):
        assert keep_best == wanted
        assert wanted in evaluate()
        raise Stopped

    monkeypatch.setattr(training, "run_stage", stop)
    if not dev:
        del given["data.dev"]
    with pytest.raises(Stopped):
        run(given)


def test_pairs_want_two_texts_and_a_number(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("sentence1,sentence2,score\na,b,1\nc,d,high\n")
    with pytest.raises(DataError, match=r"pairs\.csv line 3: target is 'high'; wanted a finite"):
        read_pairs(path)
    path.write_text("text,score\na,1\n")
    with pytest.raises(
        DataError, match="one column of texts; wanted pairs: sentence1, sentence2, score"
    ):
        read_pairs(path)
