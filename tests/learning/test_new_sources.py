"""A teacher writes targets for the sources of train with other words in places."""

import json
import math

import pytest
import torch

from small_writers import word_pairs, write_pairs, writer_settings
from tinybert.bart import new_writer
from tinybert.distill import seq2seq_recipe
from tinybert.distill.writer_targets import new_sources, targets
from tinybert.distill.writers import open_vocabulary
from tinybert.errors import ConfigError
from tinybert.pairs import load_pairs
from tinybert.ship.writing import seq2seq
from tinybert.subwords import train_tokenizer
from tinybert.text import Tokenizer

MORE = ["red cat red cat red"]


@pytest.fixture
def made_of(tmp_path):
    write_pairs(tmp_path / "pairs", 0.2)
    texts = [text for pair in word_pairs(200) for text in pair]
    train_tokenizer(texts, tmp_path / "stages" / "tokenizer", vocab_size=330)
    size = Tokenizer(tmp_path / "stages" / "tokenizer", max_length=16).vocab_size
    torch.manual_seed(0)
    ids = {"start": 0, "pad": 1, "eos": 2}
    teacher = new_writer(size, layers=(1, 1), hidden=32, positions=64, **ids)
    data = load_pairs(str(tmp_path / "pairs"), task="translation")
    said = []

    def make(p):
        near = {"augment.source": "embeddings", "augment.copies": 2, "augment.p": p}
        recipe = seq2seq_recipe.load(None, writer_settings(tmp_path, **near))
        made = new_sources(recipe, teacher, data, MORE, tmp_path / "stages", said.append)
        return recipe, made

    return make, teacher, data, said


def test_they_are_made_once_and_stand_nowhere_else(made_of):
    make, _, data, said = made_of
    _, made = make(0.9)
    assert said == [f"{len(made):,} sources made of {len(data.train):,} by embeddings"]
    old = {text for split in data.splits().values() for text in split["source"]} | {*MORE}
    assert 0 < len(made) == len(set(made) - old) <= 2 * len(data.train)
    assert make(0.9)[1] == made
    assert len(said) == 1


def test_the_teacher_writes_their_targets(made_of, tmp_path):
    make, teacher, data, said = made_of
    recipe, made = make(0.9)
    tokenizers = open_vocabulary(tmp_path / "stages" / "tokenizer", (16, 16))
    texts = targets(
        recipe, teacher, data, MORE, tokenizers, tmp_path / "stages", said.append, made=made
    )
    assert set(texts.sources) <= {*data.train["source"], *MORE, *made}
    assert texts.made == sum(text in made for text in texts.sources) > 0
    assert all(len(row) == 1 for row in texts.targets[-texts.made :])
    assert not set(made) & set(texts.texts()[0])
    assert len(texts.texts()[0]) == len(texts.sources) - texts.made


def test_no_new_word_is_an_error(made_of):
    with pytest.raises(ConfigError, match="made no new source; wanted another one, or a larger"):
        made_of[0](0.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"targets.references": 1.0}, "augment.source is `embeddings` and targets.references is 1"),
        ({"augment.source": "wordnet"}, "augment.wordnet is not set"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(tmp_path, more, message):
    write_pairs(tmp_path / "pairs", 0.2)
    settings = writer_settings(tmp_path, **{"augment.source": "embeddings"} | more)
    with pytest.raises(ConfigError, match=message):
        seq2seq(seq2seq_recipe.load(None, settings), lambda _: None)
    assert not (tmp_path / "run").exists()


def test_a_whole_run_learns_from_them(tmp_path):
    write_pairs(tmp_path / "pairs", 0.2)
    near = {"augment.source": "embeddings", "augment.copies": 2, "student.vocabulary": "texts"}
    more = {"training.hidden": 0, "training.cross_attention": 0, "teaching.epochs": 4}
    said = []
    settings = writer_settings(tmp_path, **near, **more, **{"ship.max_drop": 100})
    folder = seq2seq(seq2seq_recipe.load(None, settings), said.append)
    made = len((folder / "stages" / "sources.jsonl").read_text().splitlines())
    assert f"{made:,} sources made of 48 by embeddings" in said
    assert f"teacher answers for {48 + made:,} sources, once" in said
    rows = json.loads((folder / "run.json").read_text())["rows"]
    batch = round(16 / ((rows + 48) / rows))
    assert batch > 8
    log = json.loads((folder / "stages" / "writing" / "log.json").read_text())
    assert log[-1]["step"] == 2 * math.ceil(rows / batch)
