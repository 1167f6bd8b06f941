"""Answers in contexts, from files to answers: teacher, student, artifact, report, and refusals."""

import io
import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering

import tinybert
from tinybert import data as data_room
from tinybert.artifact import read_card
from tinybert.distill import recipe as recipes
from tinybert.distill.infer import predict_logits
from tinybert.runtime import QuestionAnswerer, predict
from tinybert.ship.evaluate import evaluate
from tinybert.ship.info import info
from tinybert.ship.pipeline import distill
from tinybert.text import Tokenizer

KINDS = {"story": ("fine", "great"), "film": ("awful", "cruel")}
FILLER = ("a", "the", "very", "and", "was", "it", "this", "one")


def rows(count, seed):
    """A question of one word asks for the word of its kind; one in four has no answer."""
    random = np.random.default_rng(seed)
    for i in range(count):
        asked = [*KINDS][i % 2]
        words = list(random.choice(FILLER, random.integers(1, 14)))
        for kind in KINDS:
            if kind != asked or i % 8 > 1:
                words.insert(random.integers(0, len(words) + 1), random.choice(KINDS[kind]))
        context = " ".join(words)
        answers = [word for word in words if word in KINDS[asked]]
        starts = [len(" ".join(["", *words[: words.index(word)]])) for word in answers]
        yield {"question": f"the {asked}", "context": context,
               "answers": {"text": answers, "answer_start": starts}}  # fmt: skip


def write(place, sizes=(160, 32, 32)):
    place.mkdir()
    for seed, (name, size) in enumerate(zip(("train", "dev", "test"), sizes, strict=True)):
        lines = (json.dumps(row) for row in rows(size, seed))
        (place / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture
def asked(settings, wide_encoder, tmp_path):
    return settings | {
        "data.source": str(write(tmp_path / "asked")),
        "data.overlap": 4,
        "teacher.model": str(wide_encoder(2)),
        "teacher.epochs": 5,
        "teacher.batch_size": 8,
        "prediction_stage.batch_size": 8,
        "max_length": 20,
        "student.layers": 1,
        "layer_stage.epochs": 2,
        "layer_stage.batch_size": 8,
        "prediction_stage.epochs": 3,
        "ship.keep_fp32": True,
        "ship.max_flips": 0.05,
        "ship.max_drop": 0.05,
    }


@pytest.mark.usefixtures("untimed")
def test_from_questions_to_answers(asked, tmp_path):
    more = tmp_path / "more.jsonl"
    more.write_text('{"question": "the film", "context": "a cruel and lovely one"}\n')
    said = []
    run = distill(recipes.load(None, asked | {"data.unlabelled": [str(more)]}), said.append)
    assert "1 unlabelled texts added for the teacher" in said
    assert "answers in contexts, or none" in said[0]
    about = json.loads((run / "run.json").read_text())
    assert (about["task"], about["labels"]) == ("answering", [])
    assert about["dev"]["teacher"]["answer_f1"] > 0.9
    assert about["dev"]["student"]["has_answer_f1"] > 0.9
    assert about["dev"]["student"]["no_answer_exact"] > 0.5

    model = tinybert.load(run / "artifact")
    assert isinstance(model, QuestionAnswerer)
    context = "It was  very FINE and awful, a one"
    answer = model.ask("the story", context)
    assert (answer.text, answer.start, context[answer.start : answer.end]) == ("FINE", 13, "FINE")
    assert 0.5 < answer.score <= 1
    (none,) = model([("the film", "it was great")])
    assert (none.text, none.start, none.end) == ("", 0, 0)

    found = json.loads((run / "report.json").read_text())
    assert [row["system"] for row in found["systems"]] == [
        "unread", "overlap", "teacher", "student", "artifact",
    ]  # fmt: skip
    assert {"answer_f1", "has_answer_exact", "no_answer_exact"} < set(
        found["systems"][0]["quality"]
    )
    page = (run / "report.html").read_text()
    assert "the teacher is nearer to what is right" in page
    assert "dev answer_f1" in page
    assert "Recall by" not in page
    card = read_card(run / "artifact")
    assert card.parity["max_logit_difference"] < 0.5
    assert card.parity["metric"] == "answer_f1"
    assert (card.pair, card.reading["overlap"]) == (True, 4)
    assert isinstance(card.reading["threshold"], float)
    readme = (run / "artifact" / "README.md").read_text()
    assert "pipeline_tag: question-answering" in readme
    assert "in windows of 20 tokens that share 4" in readme
    check_folders(run)
    check_commands(run, tmp_path / "asked" / "test.jsonl")


def check_folders(run):
    """Both folders are measured alike, and Hugging Face loads the student."""
    data = data_room.load_saved(run)
    figures = evaluate(run / "student", data, "dev", max_length=20)
    assert figures == json.loads((run / "run.json").read_text())["dev"]["student"]
    assert evaluate(run / "artifact", data, "dev") == pytest.approx(figures, abs=0.1)
    assert info(run / "artifact")["reading"]["answer_length"] == 30
    network = AutoModelForQuestionAnswering.from_pretrained(run / "student").eval()
    ids, types = Tokenizer(run / "student", max_length=20).encode(["the film"], ["a dull one"])
    with torch.inference_mode():
        out = network(torch.tensor(ids), token_type_ids=torch.tensor(types))
    row = predict_logits(run / "student", ["the film"], ["a dull one"], max_length=20)
    best = max(
        out.start_logits[0, i] + out.end_logits[0, j] for i in range(4, 7) for j in range(i, 7)
    )
    assert row[0, 2] == pytest.approx(float(best), abs=1e-4)


def check_commands(run, file):
    out = io.StringIO()
    assert predict(run / "artifact", file=str(file), out=out, format="csv") == 0
    lines = out.getvalue().splitlines()
    assert lines[0] == "line,start,end,score,text"
    assert len(lines) == 33
    out = io.StringIO()
    predict(run / "artifact", ["the story", "it was fine and awful"], out=out, format="jsonl")
    assert json.loads(out.getvalue()) | {"score": 1} == {
        "line": 1, "text": "fine", "start": 7, "end": 11, "score": 1,
    }  # fmt: skip
