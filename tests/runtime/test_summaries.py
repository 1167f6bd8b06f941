"""What a summarizer reads of texts that are too long to be read at once."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from datasets import Dataset

from tinybert.artifact import Card, read_card, write_card
from tinybert.distill import seq2seq_recipe
from tinybert.errors import ArtifactError, ConfigError
from tinybert.runtime import Hypothesis, Summarizer
from tinybert.ship import writer, writing
from tinybert.ship.model_card import write_model_card

CARD = Card("summarization", labels=(), pair=False, max_length=6, generation={"max_tokens": 12})
FIRST, SECOND = "One two three. Four five six.", "Seven eight nine. Ten."


class Words:
    """Stands in for a model of six tokens, each a word."""

    def __init__(self, answer):
        self.tokenizer, self.answer, self.asked = SimpleNamespace(max_length=6), answer, []

    def lengths(self, texts):
        return [len(text.split()) for text in texts]

    def __call__(self, texts, *_):
        self.asked += [list(texts)] if texts else []
        return [[Hypothesis(self.answer(text), 0.0)] for text in texts]


def last_word():
    return Words(lambda text: text.split()[-1])


def test_summaries_of_windows_take_the_place_of_a_text():
    short = Words(lambda text: text.split()[0])
    assert Summarizer(short, CARD)([f"{FIRST} {SECOND}"]) == ["One"]
    assert short.asked == [[FIRST, SECOND], ["One\nSeven"]]
    long = Words(lambda text: f"{text} {text}")
    assert Summarizer(long, CARD)([f"{FIRST}\n{SECOND}"]) == [f"{FIRST} {FIRST}"]
    assert long.asked == [[FIRST, SECOND], [FIRST]]


def test_what_fits_may_count_alone():
    words = last_word()
    assert Summarizer(words, CARD)([f"{FIRST} Seven.", " "], truncation=True) == ["six.", ""]
    assert words.asked == [[FIRST]]
    card = replace(CARD, generation={**CARD.generation, "truncation": True})
    assert Summarizer(words, card)([f"{FIRST} Seven."]) == ["six."]
    assert Summarizer(words, card)([f"{FIRST} Seven."], truncation=False) == ["Seven."]


def test_a_card_of_another_version_is_told_from_a_wrong_setting():
    card = replace(CARD, generation={"beam_groups": 2})
    with pytest.raises(ArtifactError, match=r"unknown setting `beam_groups`.*; upgrade tinybert"):
        Summarizer(last_word(), card)
    with pytest.raises(ConfigError, match=r"^unknown setting `beam_groups`"):
        Summarizer(last_word(), CARD)(["a"], beam_groups=2)


def test_a_first_window_of_a_few_words_does_not_count_alone():
    words = last_word()
    words.cut = lambda text: [" ".join(text.split()[:6]) + " ", "the rest"]
    long = " ".join("abcdefgh")
    assert Summarizer(words, CARD)([f"Hi,\n{long}"], truncation=True) == ["e"]


@pytest.mark.parametrize(("right", "truncation"), [("six.", True), ("Seven.", False)])
def test_dev_chooses(tmp_path, monkeypatch, right, truncation):
    words = last_word()
    write_card(tmp_path, CARD)
    monkeypatch.setattr(writer.runtime, "load", lambda _: Summarizer(words, CARD))
    rows = {"source": ["short", f"{FIRST} Seven."], "references": [["other"], [right]]}
    data = SimpleNamespace(dev=Dataset.from_dict(rows), task="summarization")
    found = writer.choose_truncation(tmp_path, data)
    assert found == {truncation: pytest.approx(100), not truncation: 0}
    assert ["short"] not in words.asked
    assert read_card(tmp_path).decoding()["truncation"] is truncation
    write_model_card(tmp_path)
    read = "the beginning is read" if truncation else "are summarized in windows"
    assert read in (tmp_path / "README.md").read_text()
    data.dev = data.dev.select([0])
    assert writer.choose_truncation(tmp_path, data) == {}
    assert read_card(tmp_path).decoding()["truncation"] is truncation


@pytest.mark.parametrize("given", [None, True, False])
def test_a_run_asks_dev_where_its_recipe_does_not_say(tmp_path, monkeypatch, given):
    asked, said, searched = [], [], []

    def choose(*_):
        asked.append(True)
        return {True: 24.0, False: 22.0}

    card = SimpleNamespace(model="card.json")
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "card.json").write_text("{}")
    parity = {"metric": "rougeL", "torch": 1.0, "artifact": 1.0}
    for name, value in (
        ("choose_truncation", choose),
        ("export_writer", lambda *_, decoding, **__: searched.append(decoding.truncation)),
        ("load_saved_pairs", lambda _: SimpleNamespace(task="summarization")),
        ("verify_writer", lambda *_, **__: parity),
        ("read_card", lambda _: card),
        ("report_writing", lambda _: None),
    ):
        monkeypatch.setattr(writing, name, value)
    monkeypatch.setattr(writing.training, "seq2seq", lambda *_: tmp_path)
    monkeypatch.setattr(writing.training, "splits_sentences", lambda _: False)
    settings = {"task": "summarization", "search.truncation": given}
    writing.seq2seq(seq2seq_recipe.load(None, settings), said.append)
    assert bool(asked) is (given is None)
    assert searched == [bool(given)]
    line = "of long sources what fits is read: rougeL on those of dev 24.00 with truncation, 22.00"
    assert any(text.startswith(line) for text in said) is (given is None)


def test_a_translator_reads_all():
    with pytest.raises(
        ConfigError, match=r"^settings: search.truncation is for summaries; a translator"
    ):
        seq2seq_recipe.load(None, {"task": "translation", "search.truncation": True})
