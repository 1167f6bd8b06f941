"""Teachers of other kinds: begun as a BERT, of another architecture; and what cannot be taught."""

import json

import pytest

import tinybert
from small_writers import word_pairs, write_pairs, writer_settings
from tinybert.distill import seq2seq_recipe
from tinybert.distill.generated import TorchWriter
from tinybert.distill.writers import force_token, load_writer, save_writer
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.pairs import load_saved_pairs
from tinybert.runtime import Summarizer
from tinybert.runtime.generation import Decoding
from tinybert.ship.writing import seq2seq
from tinybert.subwords import train_tokenizer
from tinybert.text import Tokenizer


def test_what_cannot_be_run(tmp_path):
    write_pairs(tmp_path / "pairs")

    def refused(error, match, **more):
        recipe = seq2seq_recipe.load(None, writer_settings(tmp_path, **more))
        with pytest.raises(error, match=match):
            seq2seq(recipe, lambda _: None)

    more = {"data.monolingual": "x.txt", "targets.references": 1.0}
    refused(ConfigError, "targets.references is 1; wanted less", **more)
    refused(
        ConfigError,
        "student.encoder_layers: 3 layers were asked for; the teacher has 2",
        **{"student.encoder_layers": 3},
    )
    refused(
        ConfigError,
        "student.decoder_layers: there is no layer 1; the te",
        **{"student.decoder_layers": [1]},
    )
    refused(
        ConfigError,
        "need a student with the teacher's d_model, 32; it has 16",
        **{"student.hidden": 16},
    )
    with pytest.raises(ConfigError, match=r"prefix is `x: `; wanted the model that was trained"):
        seq2seq_recipe.load(None, {"teacher.prefix": "x: "})
    with pytest.raises(ConfigError, match=r"prefix is given, and training.hidden or training.cro"):
        seq2seq_recipe.load(
            None, {"teacher.model": "t5", "teacher.prefix": "x: ", "training.hidden": 1}
        )
    refused(UnsupportedModelError, "nowhere is not a folder", **{"teacher.model": "./nowhere"})
    with pytest.raises(ConfigError, match=r"unknown setting `student.decoder_layer`; did you mean"):
        seq2seq_recipe.load(None, {"student.decoder_layer": 1})


def test_a_bert_begins_a_teacher_and_its_student_summarizes(tmp_path, wide_encoder):
    bert = wide_encoder(2, spread=0.1)
    words = ["the", "film", "was", "fine"]
    rows = [{"text": f"{a} {b} {c}", "summary": a} for a in words for b in words for c in words]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    more = {
        "task": "summarization",
        "data.path": str(tmp_path / "d.jsonl"),
        "teacher.bert": str(bert),
        "teacher.decoder_layers": 1,
        "teaching.epochs": 8,
        "teaching.learning_rate": 3e-3,
        "student.decoder_layers": 1,
        "student.encoder_layers": [1],
        "training.epochs": 2,
        "targets.references": 1.0,
        "targets.word_level": 0.0,
        "ship.max_drop": 100,
    }
    too_large = {
        "student.heads": 3,
        "max_length": 10**4,
        "student.intermediate": 10**4,
        "student.encoder_layers": 9,
    }
    narrow = {"training.hidden": 0.0, "training.cross_attention": 0.0, "student.hidden": 20}
    for name, value in too_large.items():
        wrong = writer_settings(tmp_path, **more, **narrow) | {name: value}
        with pytest.raises(ConfigError, match=str(value)):
            seq2seq(seq2seq_recipe.load(None, wrong), lambda _: None)
        assert not (tmp_path / "run").exists()
    run = seq2seq(seq2seq_recipe.load(None, writer_settings(tmp_path, **more)), lambda _: None)
    model = tinybert.load(run / "artifact", threads=1)
    assert isinstance(model, Summarizer)
    assert not (run / "stages" / "beams.jsonl").exists()
    log = json.loads((run / "stages" / "writing" / "log.json").read_text())
    assert log[-1]["train_loss"] < 3
    assert set(model(["the film was", ""])[0].split()) <= set(words)


@pytest.mark.parametrize("vocabulary", [None, "texts"])
def test_another_architecture_teaches_a_student_of_its_own_width(tmp_path, vocabulary):
    from transformers import T5Config, T5ForConditionalGeneration

    place = tmp_path / "t5"
    train_tokenizer([a for a, _ in word_pairs(50)], place, vocab_size=320)
    config = T5Config(
        vocab_size=325, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    save_writer(T5ForConditionalGeneration(config), place, tmp_path / "teacher")
    write_pairs(tmp_path / "pairs", 1 / 10)
    more = {
        "teacher.model": str(tmp_path / "teacher"),
        "teacher.target_token": "▁red",
        "teacher.prefix": "cat dog: ",
        "student.hidden": 16,
        "student.vocabulary": vocabulary,
        "training.hidden": 0.0,
        "training.cross_attention": 0.0,
        "targets.beams": 1,
        "training.epochs": 1,
        "ship.max_drop": 100,
    }
    with pytest.raises(ConfigError, match="the teacher is a t5, of which no layers can be taken"):
        seq2seq(
            seq2seq_recipe.load(None, writer_settings(tmp_path, **more | {"student.hidden": None})),
            print,
        )
    run = seq2seq(seq2seq_recipe.load(None, writer_settings(tmp_path, **more)), lambda _: None)
    student = load_writer(run / "student")
    assert student.config.d_model == 16
    assert (student.config.vocab_size == 325) is (vocabulary is None)
    answers = [json.loads(line) for line in (run / "stages" / "beams.jsonl").open()]
    assert all(answer.startswith("red") for answer in answers)
    asked = [f"cat dog: {row['source']}" for row in load_saved_pairs(run).train]
    teacher = load_writer(tmp_path / "teacher", any_layout=True)
    force_token(teacher, "▁red", Tokenizer(place, max_length=16))
    write = TorchWriter(teacher, Tokenizer(place, max_length=16))
    assert answers == [one[0].text for one in write(asked, Decoding(beams=1, max_tokens=16))]
    assert all(text.startswith("red") for text in tinybert.load(run / "artifact")(["cat", "dog"]))
