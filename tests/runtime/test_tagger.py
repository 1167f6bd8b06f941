"""Entities of a loaded artifact: any text, any order, any number of threads, without torch."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinybert
from tiny_models import WORDS
from tinybert.artifact import CARD, read_card, write_card
from tinybert.errors import ArtifactError, DataError
from tinybert.runtime import Tagger

BLOCKED = ("torch", "transformers", "onnx", "datasets", "sklearn", "seqeval", "pydantic")
STRANGE = {
    "empty": "",
    "spaces": " \t \n \u3000 ",
    "100,000 words": "refund " * 100_000,
    "one word of 100,000 characters": "x" * 100_000,
    "emoji": "🙈 my🙉 refund 👩‍👩‍👧‍👦 late",
    "no spaces": "高勇，男，中国国籍refund",
    "controls": "\x00 refund\x00 \x07 \u200b\u202e late \ufffe",
    "accents": "Réfund  LÀTE\r\nparcel",
}


@pytest.fixture(scope="module")
def tagger(shipped_tagger):
    return tinybert.load(shipped_tagger, threads=1)


def texts(count, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(0, 24))) for _ in range(count)]


def check(text, entities):
    ends = [0]
    for entity in entities:
        assert entity.text == text[entity.start : entity.end] != ""
        assert ends[-1] <= entity.start < entity.end
        assert entity.label in ("PER", "地")
        assert 0 < entity.score <= 1
        ends.append(entity.end)


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_strange_text_gets_an_answer(tagger, text):
    (answer,) = tagger([text])
    check(text, answer)
    assert tagger(text) == answer


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_unicode(tagger, found):
    for text, entities in zip(found, tagger(found), strict=True):
        check(text, entities)
    words = tagger.logits([found])
    assert words.shape == (len(found), 5)
    assert np.isfinite(words).all()


def test_whole_texts_and_lists_of_words_agree(tagger):
    for text in texts(20):
        (whole,), (listed,) = tagger([text]), tagger([text.split()])
        assert whole == listed


def test_words_past_the_limit_are_outside(tagger):
    words = ["refund", "late", "parcel"] * 10
    logits = tagger.logits([words])
    assert logits.shape == (30, 5)
    assert (logits[14:].argmax(1) == 4).all()
    assert len(np.unique(logits[:14], axis=0)) > 3
    np.testing.assert_array_equal(tagger.logits([" ".join(words)]), logits[:14])
    (entities,) = tagger([words])
    assert all(entity.words[1] <= 14 for entity in entities)


def test_a_word_cut_in_two_keeps_its_end(shipped_tagger, tmp_path):
    folder = copytree(shipped_tagger, tmp_path / "short")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    size = len(tokenizer["model"]["vocab"])
    tokenizer["model"]["vocab"] |= {"##ed": size, "##ly": size + 1}
    path.write_text(json.dumps(tokenizer))
    from tinybert.text import Tokenizer

    (aligned,) = Tokenizer(folder, max_length=5).align(["my late lateedly my"])
    assert (aligned.firsts, aligned.spans) == ([1, 2, 3], [(0, 2), (3, 7), (8, 16)])


def test_order_and_company_do_not_matter(shipped_tagger):
    found = texts(60)
    alone = tinybert.load(shipped_tagger, threads=1, precision="fp32", batch_size=1).logits(found)
    together = tinybert.load(shipped_tagger, threads=1, precision="fp32").logits(found)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_one_model_answers_eight_threads(tagger):
    jobs = [texts(10, seed) for seed in range(8)] * 2
    wanted = [tagger(job) for job in jobs]
    assert any(any(row) for row in wanted)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tagger, jobs)) == wanted


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "None was given; wanted a list, each item a text or a list of words"),
        (["late", 5], "input 1 is 5; wanted a text or a list of words"),
        ([["late", None]], r"input 0 is \['late', None\]; wanted a text or a list of words"),
        (["a", "b \ud83d"], r"input 1 holds U\+D83D at character 3, half of a surrogate pair"),
    ],
)
def test_what_is_no_list_of_texts_is_named(tagger, inputs, message):
    with pytest.raises(DataError, match=message):
        tagger(inputs)


def test_empty_lists(tagger):
    assert tagger([]) == []
    assert tagger([[]]) == [[]]
    assert tagger.logits([]).shape == tagger.logits([[], ""]).shape == (0, 5)


def test_plain_tags_answer_every_word(shipped_tagger, tmp_path):
    folder = copytree(shipped_tagger, tmp_path / "plain")
    tags = ("NOUN", "VERB", "ADJ", "DET", ".")
    write_card(folder, replace(read_card(folder), labels=tags, outside="ADJ"))
    model = tinybert.load(folder)
    assert isinstance(model, Tagger)
    words = ["my", "late", "parcel"] * 6
    (found,) = model([words])
    assert [entity.words for entity in found] == [(i, i + 1) for i in range(18)]
    assert {entity.label for entity in found} <= set(tags)
    assert [entity.label for entity in found[14:]] == ["ADJ"] * 4
    assert len(model("my late, parcel")) == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"outside": "X"}, "`outside` is 'X'; wanted one of the labels; export again"),
        ({"outside": ...}, "`outside` is None; wanted one of the labels; export again"),
        ({"labels": ["O", "B-A"], "outside": "O"}, "gives 5 values a text, the card wants 2"),
        ({"task": "classification"}, "has an output of 3 axes, the task classification wants 2"),
    ],
)
def test_damaged_cards(shipped_tagger, tmp_path, fields, message):
    folder = copytree(shipped_tagger, tmp_path / "damaged")
    card = json.loads((folder / CARD).read_text()) | fields
    card = {name: value for name, value in card.items() if value is not ...}
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(ArtifactError, match=message):
        tinybert.load(folder)


def test_no_torch_is_needed(shipped_tagger, tagger):
    code = f"""
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ImportError(name)
sys.meta_path.insert(0, Wall())
import tinybert
print([(e.start, e.end, e.label) for e in tinybert.load(sys.argv[1])("my late parcel, please")])
"""
    command = [sys.executable, "-c", code, str(shipped_tagger)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    wanted = [(e.start, e.end, e.label) for e in tagger("my late parcel, please")]
    assert done.stdout.strip() == str(wanted), done.stderr
