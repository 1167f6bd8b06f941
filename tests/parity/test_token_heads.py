"""Models that tag words or find answers: the graph is the model; every layout gives students."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification

import tinybert
from small_layouts import configs
from tiny_models import WORDS, save_model
from tinybert import layout
from tinybert.distill.infer import load_classifier, predict_logits
from tinybert.distill.recipe import StudentSettings
from tinybert.distill.start import start_student
from tinybert.errors import ConfigError
from tinybert.heads import answers_of
from tinybert.observe import Observer
from tinybert.ship.export import export
from tinybert.student import adopt_head, make_student
from tinybert.text import Tokenizer as Ours

CONFIGS = {
    name: c for name, c in configs(2, 5, initializer_range=0.3).items() if "-narrow" not in name
}


@pytest.mark.parametrize("name", CONFIGS)
def test_students_of_every_layout(name):
    assert set(CONFIGS) == set(layout._LAYOUTS)
    torch.manual_seed(0)
    teacher = AutoModelForTokenClassification.from_config(CONFIGS[name]).eval()
    ids = torch.arange(5, 17)[None]
    same = make_student(teacher, 2)
    with torch.inference_mode(), Observer(same, hidden=[0, 2], scores=[1]) as seen:
        wanted = teacher(ids).logits
        torch.testing.assert_close(same(ids).logits, wanted)
    assert seen.hidden(2).shape == (1, 12, 24)
    rotated = make_student(teacher, 2, intermediate=47)
    narrow = make_student(teacher, 1, hidden=12, heads=2)
    assert type(rotated) is type(narrow) is type(teacher)
    with torch.inference_mode():
        near = rotated(ids).logits
        assert narrow(ids).logits.shape == wanted.shape == (1, 12, 5)
    assert np.corrcoef(near.flatten(), wanted.flatten())[0, 1] > 0.9
    assert not adopt_head(narrow, teacher)
    other = AutoModelForTokenClassification.from_config(CONFIGS[name])
    assert adopt_head(other, teacher)
    assert other.classifier.weight.equal(teacher.classifier.weight)


@pytest.mark.parametrize("name", CONFIGS)
def test_students_of_every_layout_that_find_answers(name):
    torch.manual_seed(0)
    config = configs(2, 2, initializer_range=0.3)[name]
    teacher = AutoModelForQuestionAnswering.from_config(config).eval()
    ids = torch.arange(5, 17)[None]
    same, rotated = make_student(teacher, 2), make_student(teacher, 2, intermediate=47)
    with torch.inference_mode():
        wanted = answers_of(teacher(ids))
        torch.testing.assert_close(answers_of(same(ids)), wanted)
        near = answers_of(rotated(ids))
    assert wanted.shape == (1, 12, 2)
    assert np.corrcoef(near.flatten(), wanted.flatten())[0, 1] > 0.9
    assert adopt_head(rotated, teacher)
    assert rotated.qa_outputs.weight.equal(teacher.qa_outputs.weight)


def test_answers_of_int8_and_float32_are_the_models(shipped_answerer):
    random = np.random.default_rng(0)
    asked, given = ([" ".join(random.choice(WORDS, size)) for size in random.integers(0, most, 40)]
                    for most in (8, 60))  # fmt: skip
    reading = tinybert.load(shipped_answerer).reading
    folder = shipped_answerer.parent / "model"
    wanted = predict_logits(folder, asked, given, max_length=20, reading=reading)
    pairs = list(zip(asked, given, strict=True))
    for optimize in (True, False):
        model = tinybert.load(shipped_answerer, precision="fp32", optimize=optimize)
        np.testing.assert_allclose(model.logits(pairs), wanted, atol=1e-4)
    small = tinybert.load(shipped_answerer).logits(pairs)
    assert (small[:, :2] == wanted[:, :2]).all(axis=1).mean() > 0.8


def test_int8_and_float32_are_the_model(shipped_tagger):
    random = np.random.default_rng(0)
    texts = [[*random.choice(WORDS, size)] for size in random.integers(0, 20, 80)]
    wanted = predict_logits(shipped_tagger.parent / "model", texts, max_length=16, outside=4)
    assert wanted.shape == (sum(map(len, texts)), 5)
    for optimize in (True, False):
        whole = tinybert.load(shipped_tagger, precision="fp32", optimize=optimize).logits(texts)
        np.testing.assert_allclose(whole, wanted, atol=1e-4)
    small = tinybert.load(shipped_tagger).logits(texts)
    assert 0 < np.abs(small - wanted).mean() < 0.1 * wanted[:14].std()
    assert (small.argmax(1) == wanted.argmax(1)).mean() > 0.97


def save_bytes_tokenizer(folder):
    """Write a tokenizer of bytes, which counts the space before a word in."""
    pieces = ["<pad>", "<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 3), ("<s>", 2), trim_offsets=False
    )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))


def test_pieces_of_bytes_find_their_words(tmp_path):
    """A word is read in training and in answering as it stands in a text, its space included."""
    save_bytes_tokenizer(tmp_path / "bytes")
    tokenizer = Ours(tmp_path / "bytes", max_length=32)
    listed, whole = tokenizer.align([["It's", "🙈", "a b"], "It's 🙈 a"])
    assert listed.spans == [(0, 4), (5, 6), (7, 10)]
    assert listed.firsts == [1, 6, 11]
    assert whole.ids[:8] == listed.ids[:8]
    assert whole.spans == [(0, 2), (2, 4), (5, 6), (7, 8)]
    assert whole.firsts[:2] == [1, 3]


def test_kinds_are_not_confused(tmp_path):
    save_model(tmp_path / "tagger", 3, 1, 0, ("B-A", "I-A", "O"), head="word")
    save_model(tmp_path / "classifier", 3, 1, 0)
    save_model(tmp_path / "answerer", 2, 1, 0, head="span")
    for name, settings, message in (
        ("tagger", {"pair": True}, "gives each word a tag; task tagging of pairs is another"),
        ("tagger", {"task": "classification"}, "gives each word a tag; task classification is an"),
        ("answerer", {"task": "tagging"}, "finds answers in contexts; task tagging is another"),
        ("classifier", {"task": "tagging"}, "gives each text one answer; task tagging is another"),
    ):
        with pytest.raises(ConfigError, match=message):
            export(tmp_path / name, tmp_path / "artifact", max_length=16, **settings)
    with pytest.raises(ConfigError, match="tag `PER` of the model does not fit the scheme"):
        export(tmp_path / "tagger", tmp_path / "a", max_length=16, labels=["B-A", "O", "PER"])
    teacher = load_classifier(tmp_path / "tagger")
    student = start_student(
        StudentSettings(base=str(tmp_path / "classifier"), layers=1), teacher, 0
    )
    assert type(student) is type(teacher)
    assert student.config.id2label[0] == "B-A"
