"""Rows are full, lose nothing between documents and come in an order that the seed decides."""

from itertools import count, islice

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import processors

from tinybert.corpus import open_corpus
from tinybert.errors import DataError
from tinybert.packing import PackedRows, pack, shuffle
from tinybert.text import Tokenizer

CLS, SEP = 2, 3
WORDS = ["a", "the", "film", "story", "very", "and", "was", "it", "this", "one"]


@pytest.fixture
def tokenizer(tmp_path, write_tokenizer):
    write_tokenizer(tmp_path / "tokenizer")
    return Tokenizer(tmp_path / "tokenizer", max_length=8)


def documents(amount, words=7):
    return [" ".join(WORDS[(i + j) % 10] for j in range(words)) for i in range(amount)]


def rows(tmp_path, tokenizer, amount, **settings):
    (tmp_path / "a.txt").write_text("\n\n".join(documents(amount)))
    settings = {"held_out": 2, "buffer": 5, "seed": 0} | settings
    return PackedRows(open_corpus([tmp_path / "a.txt"]), tokenizer, **settings)


def test_rows_are_full_and_hold_the_stream(tokenizer):
    texts = documents(10)
    found = list(pack(texts, tokenizer))
    assert all(row.shape == (8,) and row[0] == CLS and row[-1] == SEP for row in found)
    stream = []
    for ids in tokenizer.pieces(texts):
        stream += ([SEP] if stream else []) + ids
    inner = np.concatenate([row[1:-1] for row in found])
    # A row that ends with its document needs no separator before the next one.
    assert len(found) == len(stream) // 6
    assert inner.tolist() == stream[: len(inner)]


def test_no_row_begins_with_a_separator(tokenizer):
    found = list(pack(documents(4, words=6), tokenizer))
    assert [row[1:-1].tolist() for row in found] == tokenizer.pieces(documents(4, words=6))


def test_the_template_is_the_tokenizers_own(tmp_path, write_tokenizer):
    write_tokenizer(tmp_path)
    backend = Backend.from_file(str(tmp_path / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] [CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path, max_length=8)
    assert tokenizer.frame() == ([CLS, CLS], [SEP])
    assert next(pack(documents(2), tokenizer))[:2].tolist() == [CLS, CLS]
    assert len(tokenizer.encode(["the " * 50])[0][0]) == 8, "truncation stays as it was"


def test_the_stream_may_have_no_end(tokenizer):
    endless = (documents(1)[0] for _ in count())
    found = islice(shuffle(pack(endless, tokenizer), 100, np.random.default_rng(0)), 3)
    assert len(list(found)) == 3


def test_each_pass_has_every_row_but_the_held_out_once(tmp_path, tokenizer):
    stream = rows(tmp_path, tokenizer, 40)
    size = stream.count()
    found = [tuple(row["input_ids"]) for row in islice(iter(stream), 2 * size)]
    every = [tuple(row) for row in pack(documents(40), tokenizer)]
    assert [tuple(row) for row in stream.first()] == every[:2]
    assert sorted(found[:size]) == sorted(found[size:]) == sorted(every[2:])
    assert found[:size] != found[size:]
    assert found[:size] != every[2:]


def test_the_seed_decides_the_order(tmp_path, tokenizer):
    first, again, other = (
        [tuple(row["input_ids"]) for row in islice(iter(rows(tmp_path, tokenizer, 40, seed=s)), 60)]
        for s in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (0, "the corpus is empty; wanted more than one row of 8 tokens; name more text"),
        (2, "the corpus gives 2 rows of 8 tokens, 2 are held out for measuring; name more text"),
    ],
)
def test_too_little_text_is_named(tmp_path, tokenizer, amount, message):
    with pytest.raises(DataError, match=message):
        rows(tmp_path, tokenizer, amount).first()


def test_less_than_a_row_is_named(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("the film\n\nwas fine")
    short = PackedRows(open_corpus([tmp_path / "a.txt"]), tokenizer, held_out=2, buffer=5, seed=0)
    with pytest.raises(DataError, match="gives only 4 tokens; wanted more than one row of 8"):
        short.first()


def test_text_that_went_away_during_a_run_is_named(tmp_path, tokenizer):
    stream = rows(tmp_path, tokenizer, 40)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="fewer rows than it had when the run began"):
        next(iter(stream))
