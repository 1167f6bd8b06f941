"""Pairs in which other numbers, names and addresses are to be copied."""

import re

import pytest
from datasets import Dataset

from tinybert.distill.copied import copied_pairs, with_copied
from tinybert.pairs import PairData

SOURCES = [
    "Texas sees 3 men in Texas with 12 dogs.",
    "write to a.b@c.org or www.d.com/e?f=1, Anna!",
    "nothing here",
    "在北京 15:30 见 Anna",
    "Paris is large",
]
TARGETS = [
    "Texas sieht 3 Männer mit 12 Hunden und 12 Katzen.",
    "an a.b@c.org oder www.d.com/e?f=1 schreiben, Anna!",
    "hier ist nichts",
    "meet Anna in Beijing at 15:30",
    "Paris ist groß",
]


def data_of(sources, targets):
    rows = {"source": sources, "target": targets, "references": [[t] for t in targets]}
    train = Dataset.from_dict(rows | {"line": list(range(2, 2 + len(sources)))})
    return PairData(train, train, None, "translation", "x")


def test_what_stands_on_both_sides_is_replaced_by_the_same():
    made = copied_pairs(SOURCES, TARGETS, 400, seed=1)
    assert len(made) == 400
    assert {i for i, _, _ in made} == {0, 1, 3}
    forms = {
        0: (r"Texas sees (\S+) men in Texas with 12 dogs\.", r"Texas sieht (\S+) Männer mit 12 .*"),
        1: (r"write to (\S+) or (\S+), (\S+)!", r"an (\S+) oder (\S+) schreiben, (\S+)!"),
        3: (r"在北京 (?P<b>\S+) 见 (?P<a>\S+)", r"meet (?P<a>\S+) in Beijing at (?P<b>\S+)"),
    }
    for i, source, target in made:
        here, there = (re.fullmatch(f, t) for f, t in zip(forms[i], (source, target), strict=True))
        assert sorted(here.groups()) == sorted(there.groups())
        assert here.groupdict() == there.groupdict()
    numbers = [re.findall(r"sees (\S+) men", source) for i, source, _ in made if i == 0]
    assert len({found[0] for found in numbers}) > 60
    assert 0.5 < sum(bool(re.match(r"\d", found[0])) for found in numbers) / len(numbers) < 0.95


@pytest.mark.parametrize("inside", ["A380", "12th", "3.5km", "iPhone", "v2.0"])
def test_parts_of_words_stay(inside):
    assert copied_pairs([f"an {inside} here"], [f"hier {inside} da"], 5, seed=0) == []
    (pair,) = copied_pairs([f"an {inside} 7"], [f"hier {inside}, 7"], 1, seed=0)
    assert pair[1].startswith(f"an {inside} ")
    assert pair[2].startswith(f"hier {inside}, ")


def test_the_draw_is_the_seeds():
    one, again, other = (copied_pairs(SOURCES, TARGETS, 20, seed=s) for s in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.4, 2), (1.0, 5)])
def test_train_grows_by_a_share(share, count):
    data = data_of(SOURCES, TARGETS)
    found = with_copied(data, share, 0)
    assert len(found.train) == 5 + count
    assert list(found.train["source"][:5]) == SOURCES
    for row in list(found.train)[5:]:
        assert row["references"] == [row["target"]]
        assert row["line"] in (2, 3, 5)
    assert found.dev is data.dev
    wanted = (f"{count} pairs with other numbers, names and addresses than they had",)
    assert found.notes == (wanted if count else ())


def test_nothing_to_copy_is_told():
    found = with_copied(data_of(["a b"], ["c d"]), 1.0, 0)
    assert found.notes == ("data.copied: no pair has a number, a name or an address on both sides",)
    assert len(found.train) == 1
