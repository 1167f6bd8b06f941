"""Answers of a loaded artifact: any question, any context, any batch, without torch."""

import json
import subprocess
import sys
from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest

import tinybert
from tiny_models import WORDS
from tinybert.artifact import CARD, read_card, write_card
from tinybert.errors import ArtifactError, ConfigError, DataError
from tinybert.runtime import Answer, QuestionAnswerer

BLOCKED = ("torch", "transformers", "onnx", "datasets", "sklearn", "seqeval", "pydantic")


@pytest.fixture(scope="module")
def answerer(shipped_answerer):
    return tinybert.load(shipped_answerer, threads=1)


@pytest.fixture
def doubting(shipped_answerer, tmp_path):
    """The same model, which may say that there is no answer."""
    folder = copytree(shipped_answerer, tmp_path / "artifact")
    card = read_card(folder)
    write_card(folder, replace(card, reading=dict(card.reading) | {"threshold": -1.5}))
    return tinybert.load(folder, threads=1)


def pairs(count, seed=0):
    random = np.random.default_rng(seed)
    text = lambda most: "  ".join(random.choice(WORDS, random.integers(0, most)))  # noqa: E731
    return [(text(9), text(70)) for _ in range(count)]


def test_answers_stand_in_their_contexts(answerer):
    given = pairs(30)
    answers = answerer(given)
    assert isinstance(answerer, QuestionAnswerer)
    for (_, context), answer in zip(given, answers, strict=True):
        assert answer.text == context[answer.start : answer.end]
        assert bool(answer.text) == bool(context)
        assert 0 < answer.score <= 1
        assert len(answer.text.split()) <= 4
    assert max(answer.start for answer in answers) > 100


def test_alone_and_in_a_batch(answerer):
    given = pairs(20, seed=1)
    for pair, answer in zip(given, answerer(given), strict=True):
        alone = answerer.ask(*pair)
        assert (alone.text, alone.start, alone.end) == (answer.text, answer.start, answer.end)
        assert alone.score == pytest.approx(answer.score, abs=1e-5)
    assert answerer([]) == []
    assert answerer.logits([]).shape == (0, 4)


def test_strange_texts_get_an_answer(answerer):
    texts = [
        "",
        " \t\n\u3000",
        "refund " * 500,
        "x" * 2_000,
        "🙈 my🙉 refund",
        "高勇，男，中国",
        "\x00\u200b",
    ]
    given = [(a, b) for a in ("", texts[2], texts[4]) for b in texts]
    for (_, context), answer in zip(given, answerer(given), strict=True):
        assert answer.text == context[answer.start : answer.end]
    assert answerer.ask("refund", "") == Answer("", 0, 0, 1.0)


def test_the_best_come_first(answerer, doubting):
    given = pairs(12, seed=2)
    for model in (answerer, doubting):
        for best, several in zip(model(given), model(given, n_best=5), strict=True):
            assert several[0] == best
            assert len(several) <= 5
            scores = [answer.score for answer in several]
            assert scores == sorted(scores, reverse=True)
            assert sum(scores) <= 1 + 1e-9
            assert len({(a.start, a.end) for a in several}) == len(several)
    with pytest.raises(ConfigError, match="n_best is 0; wanted at least 1"):
        answerer(given, n_best=0)


def test_no_answer_is_given_past_the_threshold(answerer, doubting):
    given = pairs(40, seed=3)
    rows = doubting.logits(given)
    silent = rows[:, 3] > rows[:, 2]
    assert 0 < silent.sum() < 40
    assert [not answer.text for answer in doubting(given)] == list(
        silent | np.array([not context for _, context in given])
    )
    assert (answerer.logits(given)[:, :3] == rows[:, :3]).all()


def test_wrong_inputs_are_named(answerer):
    with pytest.raises(DataError, match=r"input 1 is 'what\?'; wanted a pair of texts"):
        answerer([("who?", "Ann"), "what?"])
    with pytest.raises(DataError, match=r"input 0 .*wanted a pair of texts"):
        answerer.ask("who?", None)
    with pytest.raises(DataError, match="half of a surrogate pair"):
        answerer.ask("who?", chr(0xD83D))


def test_damaged_cards_are_named(shipped_answerer, tmp_path):
    folder = copytree(shipped_answerer, tmp_path / "artifact")
    card = json.loads((folder / CARD).read_text())
    for name, value, message in (
        ("overlap", None, r"`reading.overlap` is None; wanted a whole number from 0"),
        ("answer_length", 0, r"`reading.answer_length` is 0; wanted a whole number from 1"),
        ("threshold", "much", r"`reading.threshold` is 'much'; wanted a number or null"),
    ):
        reading = card["reading"] | {name: value}
        (folder / CARD).write_text(json.dumps(card | {"reading": reading}))
        with pytest.raises(ArtifactError, match=message):
            tinybert.load(folder)
    (folder / CARD).write_text(json.dumps(card | {"task": "tagging", "labels": ["O", "B-A"],
                                                  "outside": "O"}))  # fmt: skip
    assert tinybert.load(folder).labels == ("O", "B-A")
    (folder / CARD).write_text(json.dumps(card | {"task": "ranking"}))
    with pytest.raises(ArtifactError, match="gives 2 values a text, the card wants 1"):
        tinybert.load(folder)


def test_answers_without_torch(shipped_answerer):
    code = (
        "import sys\n"
        f"for name in {BLOCKED!r}: sys.modules[name] = None\n"
        "import tinybert\n"
        f"print(tinybert.load({str(shipped_answerer)!r}).ask('my card', 'late parcel').text)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in "late parcel"
