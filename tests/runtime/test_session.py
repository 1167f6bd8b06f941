"""Answers of a loaded artifact: any text, any order, any company, any number of threads."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinybert
from tiny_models import WORDS
from tinybert.artifact import read_card, write_card
from tinybert.errors import ConfigError, DataError

STRANGE = {
    "empty": "",
    "spaces": " \t \n \u3000 ",
    "100,000 words": "refund " * 100_000,
    "one word of 100,000 characters": "x" * 100_000,
    "emoji": "🙈🙉🙊 👩‍👩‍👧‍👦 🏳️‍🌈",
    "scripts": "refund 登录 مرحبا नमस्ते Ω ﬀ",
    "controls": "\x00 refund\x00 \x07\x1b[31m \u200b\u202e \ufffe\uffff",
    "newlines": "refund\r\nlate\u2028parcel",
}


def texts(count, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(0, 40))) for _ in range(count)]


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_strange_text_gets_an_answer(classifier, text):
    (answer,) = classifier([text])
    assert list(answer.scores) == ["refund", "parcel", "登录"]
    assert sum(answer.scores.values()) == pytest.approx(1)
    assert answer.score == answer.scores[answer.label] == max(answer.scores.values())


def test_long_text_is_its_first_tokens(classifier):
    wanted = classifier.logits(["refund " * 30])
    assert np.array_equal(classifier.logits(["refund " * 100_000]), wanted)
    assert not np.array_equal(classifier.logits(["refund " * 29]), wanted)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=6))
def test_any_unicode_gets_finite_logits(classifier, found):
    logits = classifier.logits(found)
    assert logits.shape == (len(found), 3)
    assert np.isfinite(logits).all()


def test_half_a_surrogate_pair_is_named(classifier, paired):
    with pytest.raises(DataError, match=r"input 1 holds U\+D83D at character 3, half of a surro"):
        classifier(["late", "a \ud83d", "\udcff"])
    with pytest.raises(DataError, match=r"input 0 holds U\+DCFF at character 1, half of a surro"):
        paired([("late", "\udcff")])


def test_empty_list(classifier, paired, regressor):
    assert classifier([]) == paired([]) == regressor([]) == []
    assert classifier.logits([]).shape == (0, 3)
    assert regressor.logits([]).shape == (0, 1)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("late", r"one text was given; wanted a list: \['late'\]"),
        (None, "None was given; wanted a list, each item a text"),
        (5, "5 was given; wanted a list, each item a text"),
        (["late", None], "input 1 is None; wanted a text"),
        (["late", "my", 3.5], r"input 2 is 3\.5; wanted a text"),
        ([b"late"], "input 0 is b'late'; wanted a text"),
        (b"late", "input 0 is 108; wanted a text"),
        ([["late"]], r"input 0 is \['late'\]; wanted a text"),
        ([("late", "my card")], r"input 0 is \('late', 'my card'\); wanted a text"),
        ([["x" * 99]], r"input 0 is \['x{55}\.\.\.; wanted a text"),
    ],
)
def test_what_is_no_list_of_texts_is_named(classifier, inputs, message):
    with pytest.raises(DataError, match=message):
        classifier(inputs)


@pytest.mark.parametrize(
    ("inputs", "shown"),
    [
        (["late"], "input 0 is 'late'"),
        (["ab"], "input 0 is 'ab'"),
        (("late", "my card"), "input 0 is 'late'"),
        ([("late", "my"), ("late",)], r"input 1 is \('late',\)"),
        ([("late", "my", "card")], r"input 0 is \('late', 'my', 'card'\)"),
        ([("late", None)], r"input 0 is \('late', None\)"),
        ([{"text": "late", "text2": "my"}], "input 0 is {'text': 'late', 'text2': 'my'}"),
    ],
)
def test_what_is_no_list_of_pairs_is_named(paired, inputs, shown):
    with pytest.raises(DataError, match=rf"{shown}; wanted a pair of texts \(text, text2\)"):
        paired(inputs)


def test_pairs(paired, classifier):
    logits = paired.logits([("late parcel", "my card"), ["my card", "late parcel"]])
    assert not np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], classifier.logits(["late parcel my card"])[0])
    long = "refund " * 500
    (a, b, c) = paired.logits([("late", long), ("late", long + "card"), ("my", long)])
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_numbers(regressor):
    values = regressor(["late parcel", "my card"])
    assert all(type(value) is float for value in values)
    assert values == regressor.logits(["late parcel", "my card"])[:, 0].tolist()
    assert values[0] != values[1]


def test_any_iterable_is_taken_once(classifier):
    found = texts(5)
    assert classifier(iter(found)) == classifier(tuple(found)) == classifier(found)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_order_and_company_do_not_matter(shipped, precision):
    """Padding moves a sum by its last bit; in int8 that may once in a while cross a rounding edge."""
    found = texts(200)
    alone_model = tinybert.load(shipped, threads=1, precision=precision, batch_size=1)
    alone = alone_model.logits(found)
    assert len(np.unique(alone, axis=0)) > 150
    for size in (2, 7, 32, 500):
        model = tinybert.load(shipped, threads=1, precision=precision, batch_size=size)
        for order in (np.arange(200), np.random.default_rng(size).permutation(200)):
            moved = np.abs(model.logits([found[i] for i in order]) - alone[order]).max(axis=1)
            assert np.quantile(moved, 0.98) < 1e-5
            assert moved.max() < (2e-2 if precision == "int8" else 1e-5)


def test_one_model_answers_eight_threads(classifier):
    jobs = [texts(20, seed) for seed in range(8)] * 3
    wanted = [classifier(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(classifier, jobs)) == wanted


def test_threads_give_the_same_answers(shipped, classifier):
    found = texts(40)
    for threads in (2, 3, None):
        model = tinybert.load(shipped, threads=threads)
        np.testing.assert_allclose(model.logits(found), classifier.logits(found), atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"threads": 0}, "threads is 0; wanted at least 1"),
        ({"batch_size": -3}, "batch_size is -3; wanted at least 1"),
        ({"precision": "fp16"}, "precision is `fp16`; wanted int8 or fp32"),
    ],
)
def test_settings_out_of_range(shipped, setting, message):
    with pytest.raises(ConfigError, match=message):
        tinybert.load(shipped, **setting)


def test_precision(shipped, regressor):
    whole = tinybert.load(shipped, precision="fp32", threads=1)
    small = tinybert.load(shipped, precision="int8", threads=1)
    found = texts(50)
    assert tinybert.load(shipped).card.model == small.card.model == "onnx/model_quantized.onnx"
    assert whole.card.model == "onnx/model.onnx"
    assert 0 < np.abs(whole.logits(found) - small.logits(found)).mean() < 0.1
    assert regressor.card.model == "onnx/model.onnx"


def test_precision_that_is_not_there(folder):
    card = read_card(folder)
    files = {name: digest for name, digest in card.files.items() if name != "onnx/model.onnx"}
    write_card(folder, replace(card, files=files))
    with pytest.raises(ConfigError, match="holds no fp32 model; it has onnx/model_quantized"):
        tinybert.load(folder, precision="fp32")
