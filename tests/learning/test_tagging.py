"""Tags of words, from files to answers: teacher, student, artifact, report, and what is refused."""

import io
import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer
from typer.testing import CliRunner

import tinybert
from tinybert import data as data_room
from tinybert.artifact import read_card
from tinybert.cli import app
from tinybert.distill import recipe as recipes
from tinybert.distill.augment import augment
from tinybert.distill.infer import load_classifier, predict_logits
from tinybert.distill.objective import Objective
from tinybert.distill.outputs import NO_LABEL, Collator, add_teacher_outputs, tokenize
from tinybert.distill.recipe import Stage
from tinybert.distill.task import distill as train
from tinybert.distill.teach import check_teacher, settings_for
from tinybert.errors import ConfigError
from tinybert.runtime import Tagger, predict
from tinybert.ship.pipeline import distill
from tinybert.text import Tokenizer

TAGS = ("B-bad", "B-good", "I-bad", "I-good", "O")
KINDS = {"good": ("fine great", "lovely superb"), "bad": ("awful dull", "cruel ugly")}
FILLER = ("film", "story", "very", "it", "was", ",")


def sentences(count, seed):
    """A word of a kind, and at times one of its second words after it, is an entity."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        words, tags = [], []
        for _ in range(random.integers(1, 4)):
            words.append(random.choice(FILLER))
            tags.append("O")
            if random.random() < 0.7:
                kind = random.choice([*KINDS])
                size = random.integers(1, 3)
                words += [random.choice(part.split()) for part in KINDS[kind][:size]]
                tags += [f"B-{kind}", f"I-{kind}"][:size]
        yield words, tags


def write(place, sizes=(120, 30, 30)):
    place.mkdir()
    for seed, (name, size) in enumerate(zip(("train", "dev", "test"), sizes, strict=True)):
        texts = (
            "\n".join(f"{w}\t{t}" for w, t in zip(*row, strict=True))
            for row in sentences(size, seed)
        )
        (place / f"{name}.conll").write_text("\n\n".join(texts) + "\n")
    return place


@pytest.fixture
def tagged(settings, wide_encoder, tmp_path):
    return settings | {
        "data.source": str(write(tmp_path / "tagged")),
        "teacher.model": str(wide_encoder(2)),
        "teacher.epochs": 4,
        "student.layers": 1,
        "layer_stage.epochs": 2,
        "prediction_stage.epochs": 3,
        "ship.max_flips": 0.02,
        "ship.max_drop": 0.05,
    }


@pytest.mark.usefixtures("untimed")
def test_from_tags_to_entities(tagged, tmp_path):
    more = tmp_path / "log.txt"
    more.write_text("it was great superb\nvery dull, film\n")
    said = []
    run = distill(recipes.load(None, tagged | {"data.unlabelled": [str(more)]}), said.append)
    assert "2 unlabelled texts added for the teacher" in said
    about = json.loads((run / "run.json").read_text())
    assert (about["task"], about["labels"]) == ("tagging", list(TAGS))
    assert about["dev"]["teacher"]["entity_f1"] > 0.95
    assert about["dev"]["student"]["entity_f1"] > 0.95
    assert set(about["dev"]["student"]) == {"entity_f1", "precision", "recall", "token_accuracy"}

    model = tinybert.load(run / "artifact")
    assert isinstance(model, Tagger)
    text = "The film, great Lovely,story  dull"
    both, bad = model(text)
    assert (both.text, both.label, both.words) == ("great Lovely", "good", (3, 5))
    assert (bad.text, bad.label, text[bad.start : bad.end]) == ("dull", "bad", "dull")
    assert 0.5 < both.score <= 1
    given, none = model([["film", "great", "dull"], "film"])
    assert [(e.label, e.start, e.end, e.words) for e in given] == [
        ("good", 5, 10, (1, 2)), ("bad", 11, 15, (2, 3)),
    ]  # fmt: skip
    assert none == []

    found = json.loads((run / "report.json").read_text())
    assert (found["metric"], found["data"]["scheme"]) == ("entity_f1", "BIO")
    assert [row["system"] for row in found["systems"]] == [
        "majority_tag", "lexicon", "features", "teacher", "student", "artifact",
    ]  # fmt: skip
    assert {row["label"] for row in found["recalls"]} == set(TAGS)
    words = sum(map(len, data_room.load_saved(run).test["words"]))
    assert sum(map(sum, found["confusion"]["student"])) == words
    page = (run / "report.html").read_text()
    assert "Recall by tag" in page
    assert "dev entity_f1" in page
    assert "5 tags (BIO)" in page
    card = read_card(run / "artifact")
    assert (card.task, card.outside, card.parity["metric"]) == ("tagging", "O", "entity_f1")
    assert card.parity["words"] > card.parity["entities"] > card.parity["texts"] == 30
    readme = (run / "artifact" / "README.md").read_text()
    assert "pipeline_tag: token-classification" in readme
    assert "finds entities in texts (bad, good)" in readme
    check_plain_folder(run / "student")
    check_commands(run)


def check_plain_folder(folder):
    """What Hugging Face loads answers as we do."""
    model = AutoModelForTokenClassification.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)("film great", return_tensors="pt")
    with torch.inference_mode():
        logits = model.eval()(tokens["input_ids"], tokens["attention_mask"]).logits[0, 1:-1]
    words = predict_logits(folder, [["film", "great"]], max_length=16)
    np.testing.assert_allclose(logits.numpy(), words, atol=1e-5)


def check_commands(run):
    out = io.StringIO()
    predict(run / "artifact", ["film", "it great"], out=out, format="csv")
    assert out.getvalue().startswith("line,start,end,label,score,text\n2,3,8,good,")
    out = io.StringIO()
    predict(run / "artifact", ["film great superb"], out=out)
    assert out.getvalue().split("\t")[-1] == "great superb\n"
    out = io.StringIO()
    predict(run / "artifact", ["film", "it dull"], out=out, format="jsonl")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["entities"], second["entities"][0]["label"]) == ([], "bad")
    file = run / "more.bio"
    file.write_text("it O\ngreat B-good\nfilm O\n")
    for folder in ("artifact", "student"):
        done = CliRunner().invoke(app, ["evaluate", str(run / folder), "--data", str(file)])
        assert done.exit_code == 0, done.output
        assert "entity_f1                1.0000" in done.output
    assert "tagging" in CliRunner().invoke(app, ["info", str(run / "artifact")]).output
    table = run / "rows.csv"
    table.write_text("text,label\na,x\nb,y\n")
    done = CliRunner().invoke(app, ["verify", str(run / "artifact"), "--data", str(table)])
    assert done.exit_code == 2


def rows_of(folder, texts, max_length=8):
    """Return tokenized texts and a model to ask about them."""
    data = data_room.TaskData(None, None, None, "tagging", TAGS, False, "x", "entity_f1")
    split = data_room.Dataset.from_dict(texts)
    return tokenize(split, Tokenizer(folder, max_length=max_length), data)


def test_first_pieces_carry_the_tags(wide_encoder):
    folder = wide_encoder(1)
    rows = rows_of(
        folder,
        {
            "text": ["it's very fine film story", "the film, fine"],
            "words": [["it's", "very", "fine", "film", "story"], None],
            "label": [[4, 4, 1, 4, 4], None],
        },
    )
    assert rows["firsts"][:] == [[1, 4, 5, 6], [1, 2, 3, 4]]
    no = NO_LABEL
    assert rows["labels"][:] == [[no, 4, no, no, 4, 1, 4, no], [no] * 6]
    batch = Collator(0)(list(rows))
    assert batch["word_mask"].int().tolist() == [[0, 1, 0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0, 0, 0]]
    assert batch["labels"][1].tolist() == [no] * 8


def test_teacher_logits_are_columns_of_every_token(wide_encoder):
    folder = wide_encoder(1)
    model = load_classifier(folder, head="word", num_labels=5)
    model.save_pretrained(folder)
    rows = rows_of(
        folder,
        {
            "text": ["it was fine", "film"],
            "words": [["it", "was", "fine"], ["film"]],
            "label": [[4, 4, 1], [4]],
        },
    )
    columns = add_teacher_outputs(rows, model, folder, pad_id=0, hidden=[1], say=lambda _: None)
    assert [len(row) for row in columns["teacher_logits"]] == [5 * 5, 3 * 5]
    batch = Collator(0)(list(columns))
    assert batch["teacher_logits"].shape == (2, 5, 5)
    wanted = predict_logits(folder, [["it", "was", "fine"], ["film"]], max_length=8)
    np.testing.assert_allclose(
        batch["teacher_logits"][batch["word_mask"]].numpy(), wanted, atol=1e-5
    )

    objective = Objective(
        model, Stage(prediction=1.0, hard_labels=1.0), (1,), 128, task="tagging"
    ).eval()
    before = objective(**batch)["loss"]
    batch["teacher_logits"][~batch["word_mask"]] = 99.0
    batch["labels"][~batch["word_mask"]] = 3
    assert objective(**batch)["loss"] == before


def test_an_interrupted_run_goes_on_and_says_which_words_are_cut(tagged, tmp_path):
    write(tmp_path / "few", (32, 8, 8))
    overrides = tagged | {
        "data.source": str(tmp_path / "few"),
        "max_length": 6,
        "teacher.epochs": 6,
        "layer_stage.epochs": 1,
        "prediction_stage.epochs": 1,
    }
    whole = train(recipes.load(None, overrides | {"out": str(tmp_path / "a")}), lambda _: None)
    said = []

    def interrupt(line):
        said.append(line)
        if line.startswith("prediction stage") and len(said) < 20:
            raise KeyboardInterrupt

    overrides["out"] = str(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        train(recipes.load(None, overrides), interrupt)
    again = train(recipes.load(None, overrides), lambda _: None)
    weights = [(run / "student" / "model.safetensors").read_bytes() for run in (whole, again)]
    assert weights[0] == weights[1]
    (note,) = (line.strip() for line in said if "words past 6 tokens count as `O`" in line)
    data = data_room.load_saved(again)
    assert note in data.notes
    for name, split in data.splits().items():
        cut = sum(max(0, len(words) - 4) for words in split["words"])
        assert f"{cut} of {sum(map(len, split['words']))} in {name}" in note


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"student.crops": 1}, "student.crops is 1, but words that are tagged cannot be replaced"),
        ({"augment.source": "embeddings"}, "augment.source is embeddings, but words that are tag"),
        ({"teacher.teach": "never"}, "has no head that tags words; wanted a folder of a"),
    ],
)
def test_what_is_refused(tagged, setting, message):
    with pytest.raises(ConfigError, match=message):
        train(recipes.load(None, tagged | setting), lambda _: None)


def test_no_new_texts(tagged, tmp_path):
    with pytest.raises(ConfigError, match=r"augment\.source is embeddings, but words"):
        augment(recipes.load(None, tagged), tmp_path / "more.jsonl", lambda _: None)


def test_teachers_are_checked(tagged, wide_encoder):
    data = data_room.load(tagged["data.source"])
    settings = settings_for(data)
    folder = wide_encoder(1)
    tokenizer = Tokenizer(folder, max_length=16)
    swapped = {i: TAGS[::-1][i] for i in range(5)}
    for names, message in (
        (swapped, "its labels stand in another order"),
        (settings["id2label"], "the majority class alone has 0.000"),
    ):
        model = load_classifier(folder, head="word", **settings | {"id2label": names})
        with torch.no_grad():
            model.classifier.bias[4] = 99
        with pytest.raises(ConfigError, match=message):
            check_teacher(model, "it", tokenizer, data, 16)
