"""Sources and targets with a tokenizer and a table each, from the pairs to the artifact."""

import json
import shutil

import pytest
import torch

import tinybert
from small_writers import word_pairs, writer_settings
from tinybert.artifact import read_card
from tinybert.bart import has_two_tables, new_writer
from tinybert.distill import seq2seq_recipe
from tinybert.distill.writers import load_writer, open_vocabulary
from tinybert.errors import ArtifactError, ConfigError
from tinybert.pairs import load_saved_pairs
from tinybert.ship.writer import answers_of, evaluate_writer
from tinybert.ship.writing import seq2seq

SHARED = {"teacher.shared_vocabulary": False}


def settings(place, **more):
    pairs = word_pairs(260, 1)
    lines = [json.dumps({"source": a, "target": b}, ensure_ascii=False) for a, b in pairs]
    (place / "pairs.jsonl").write_text("\n".join(lines))
    own = {
        "data.path": str(place / "pairs.jsonl"),
        "teacher.encoder_layers": 1,
        "teacher.vocab_size": 320,
        "training.epochs": 1,
        "training.cross_attention": 0.0,
        "training.learning_rate": 4e-3,
    }
    return writer_settings(place, **own | SHARED | more)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("two")
    return seq2seq(seq2seq_recipe.load(None, settings(place)), lambda _: None)


def test_the_artifact_translates(run):
    model = tinybert.load(run / "artifact", threads=1)
    data = load_saved_pairs(run)
    found = evaluate_writer(run / "artifact", data, "dev")
    assert found["chrf"] > 60
    assert "target/tokenizer.json" in model.card.files
    source, target = open_vocabulary(run / "artifact", (16, 16))
    assert "▁katze" in target.vocabulary
    assert "▁katze" not in source.vocabulary
    texts = list(data.dev["source"])
    assert model(texts) == [model([text])[0] for text in texts]
    assert "".join(model.stream("red cat")) == model(["red cat"], beams=1)[0]
    assert read_card(run / "artifact").parity["max_difference"] < 1e-3
    assert evaluate_writer(run / "teacher", data, "dev", max_length=16)["chrf"] > 60


@pytest.mark.parametrize(("sizes", "spread"), [((300, 300), 1.0), (300, 0.5)])
def test_new_weights_are_spread_by_the_width(sizes, spread):
    model = new_writer(
        sizes, layers=(2, 2), hidden=64, positions=16, dropout=0.0, start=0, pad=1, eos=2
    )
    for name, weight in model.named_parameters():
        if name.endswith(("proj.weight", "fc1.weight", "embed_tokens.weight")):
            assert weight.std().item() == pytest.approx(spread / 8, rel=0.1), name


def test_both_are_plain_marian_models(run):
    for name in ("teacher", "student"):
        model = load_writer(run / name)
        assert model.config.model_type == "marian"
        assert has_two_tables(model)
        encoder, decoder = model.model.encoder.embed_tokens, model.model.decoder.embed_tokens
        assert not torch.equal(encoder.weight[:300], decoder.weight[:300])
        assert model.lm_head.weight is decoder.weight
        assert (run / name / "target" / "tokenizer.json").is_file()


def test_answers_are_those_of_generate(run):
    network = load_writer(run / "student")
    source, target = open_vocabulary(run / "student", (16, 16))
    data = load_saved_pairs(run)
    found = answers_of(run / "student", data, "dev", max_length=16)
    for text, answer in list(zip(data.dev["source"], found, strict=True))[:8]:
        wanted = network.generate(
            torch.tensor(source.encode([text])[0]), num_beams=4, max_new_tokens=16,
            do_sample=False, early_stopping=True, suppress_tokens=[1],
        )  # fmt: skip
        assert answer == target.decode(wanted[0].tolist())


def test_a_model_trained_here_teaches_another(run, tmp_path):
    more = {
        "teacher.shared_vocabulary": True,
        "teacher.model": str(run / "teacher"),
        "student.hidden": 16,
        "training.hidden": 0.0,
        "ship.max_drop": 100,
    }
    made = seq2seq(seq2seq_recipe.load(None, settings(tmp_path, **more)), lambda _: None)
    student = load_writer(made / "student")
    assert (student.config.d_model, has_two_tables(student)) == (16, True)
    tinybert.load(made / "artifact")(["red cat"])


def test_a_damaged_tokenizer_of_targets_is_refused(run, tmp_path):
    shutil.copytree(run / "artifact", tmp_path / "artifact")
    file = tmp_path / "artifact" / "target" / "tokenizer.json"
    file.write_text(file.read_text() + " ")
    with pytest.raises(ArtifactError, match=r"target/tokenizer.json is not the file that card"):
        tinybert.load(tmp_path / "artifact")


def test_what_cannot_be_chosen():
    with pytest.raises(ConfigError, match="shared_vocabulary is false, and the vocabulary is that"):
        seq2seq_recipe.load(None, SHARED | {"teacher.model": "my-marian"})
    with pytest.raises(ConfigError, match="3 heads do not divide the width 32"):
        new_writer((9, 9), layers=(1, 1), hidden=32, heads=3, start=0, pad=1, eos=2)


def test_a_student_with_fewer_pieces_than_its_teacher(run, tmp_path):
    shutil.copytree(run / "stages" / "tokenizer", tmp_path / "teacher")
    shutil.copytree(run / "teacher", tmp_path / "teacher", dirs_exist_ok=True)
    more = {"teacher.model": str(tmp_path / "teacher"), "student.vocabulary": 285}
    more |= {"teacher.shared_vocabulary": True, "training.epochs": 5}
    said = []
    place = seq2seq(seq2seq_recipe.load(None, settings(tmp_path, **more)), said.append)
    cut = [line for line in said if line.startswith("the student's vocabulary: 28")]
    assert len(cut) == 2
    assert all("fall into smaller ones" in line for line in cut)
    student = load_writer(place / "student")
    assert student.config.vocab_size <= 285
    assert student.config.decoder_vocab_size <= 285
    assert load_writer(run / "teacher").config.decoder_vocab_size > 285
    model, data = tinybert.load(place / "artifact", threads=1), load_saved_pairs(place)
    texts = list(data.dev["source"])
    assert model(texts) == [model([text])[0] for text in texts]
    assert evaluate_writer(place / "artifact", data, "dev")["chrf"] > 30
    more = {"out": str(tmp_path / "9"), "student.vocabulary": 9, "training.hidden": 0.0}
    with pytest.raises(ConfigError, match=r"vocabulary is 9; special tokens and the characters"):
        seq2seq(seq2seq_recipe.load(None, settings(tmp_path, **more)))
    assert not (tmp_path / "9").exists()
