"""New texts: words, Algorithm 1, the labels that the teacher gives, and a run that uses them."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoModelForSequenceClassification,
)

from tinybert import data as data_room
from tinybert.data import TaskData
from tinybert.distill import recipe as recipes
from tinybert.distill.augment import augment, vary
from tinybert.distill.crops import add_crops
from tinybert.distill.infer import predict_logits
from tinybert.distill.objective import Objective
from tinybert.distill.outputs import NO_LABEL, tokenize
from tinybert.distill.proposals import Source, by_word, check_source
from tinybert.distill.recipe import AugmentSettings, Stage
from tinybert.distill.task import distill
from tinybert.distill.words import splitter
from tinybert.errors import ConfigError, DataError
from tinybert.tables import read_table
from tinybert.text import Tokenizer, pad_batch


def quiet(_):
    pass


# Words


@given(st.text(st.sampled_from("aB3 é_'’-.,\t\n快递好😀ि")))
def test_words_and_gaps_are_the_text(text):
    found = splitter({"快递"})(text)
    assert found.join() == text
    assert [text[a:b] for a, b in found.spans()] == list(found.words)
    assert len(found.gaps) == len(found.words) + 1


def test_chinese_is_cut_into_the_longest_known_words():
    split = splitter({"快递", "快递公司"})
    assert split("快递公司的快递ABC12到了!").words == (
        "快递公司",
        "的",
        "快递",
        "ABC12",
        "到",
        "了",
    )
    assert splitter()("快递 don't x_y").words == ("快", "递", "don't", "x", "y")


# Algorithm 1


def table_source(**table):
    return by_word("table", {word: tuple(found) for word, found in table.items()}, 15)


def test_every_word_is_replaced_at_p_1_and_none_at_p_0():
    source = table_source(good=["great", "fine"], film=["movie"])
    text = "  A GOOD film,\tGood-natured (film)…"
    for made in vary([text], source, copies=9, p=1.0, seed=0)[0]:
        assert "good" not in made.lower()
        assert made.replace("GREAT", "FINE").replace("Great", "Fine") == (
            "  A FINE movie,\tFine-natured (movie)…"
        )
    assert vary([text], source, copies=3, p=0.0, seed=0) == [[text] * 3]


def test_each_word_is_replaced_with_probability_p_by_each_candidate_alike():
    source = table_source(a=["b", "c", "d", "e"])
    made = vary(["a " * 500], source, copies=8, p=0.4, seed=1)[0]
    counts = Counter(word for text in made for word in text.split())
    assert abs(counts["a"] / 4000 - 0.6) < 0.03
    for word in "bcde":
        assert abs(counts[word] / 4000 - 0.1) < 0.02


def test_seed_decides_and_the_batches_do_not(monkeypatch):
    source = table_source(a=["b", "c", "d"], x=["y", "z"])
    texts = [f"a x {i} a" for i in range(20)]
    first = vary(texts, source, copies=4, p=0.5, seed=3)
    assert first != vary(texts, source, copies=4, p=0.5, seed=4)
    monkeypatch.setattr("tinybert.distill.augment._CHUNK", 3)
    assert first == vary(texts, source, copies=4, p=0.5, seed=3)


def test_candidates_are_asked_only_for_words_that_are_replaced():
    asked = []

    def propose(splits, slots):
        asked.extend(splits[i].words[j] for i, j in slots)
        return [["new"]] * len(slots)

    made = vary(["one two three four five six"], Source("s", propose), copies=1, p=0.4, seed=0)
    old = {"one", "two", "three", "four", "five", "six"} - set(made[0][0].split())
    assert set(asked) == old
    assert 0 < len(asked) < 6


def test_capitals_follow_the_word_that_is_replaced():
    source = table_source(paris=["New York", "london"])
    made = vary(["Paris paris PARIS"], source, copies=30, p=1.0, seed=0)[0]
    first, second, third = (set(words) for words in zip(*(t.replace("w Y", "w_Y").replace("w y", "w_y").replace("W Y", "W_Y").split() for t in made), strict=True))  # fmt: skip
    assert first == {"London", "New_York"}
    assert second == {"london", "new_york"}
    assert third == {"LONDON", "NEW_YORK"}


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "vectors"}, r"augment\.vectors is not set; name it with --vectors"),
        ({"source": "mlm"}, r"augment\.mlm is not set; name it with --mlm"),
        ({"source": "wordnet", "wordnet": "no/wn"}, r"augment\.wordnet is `no/wn`, which does not exist"),
        ({"source": "embeddings", "vectors": "v"}, r"which the source `embeddings` does not read; set augment\.source to vectors or mlm"),
    ],
)  # fmt: skip
def test_sources_without_what_they_read_are_refused_before_the_run(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        check_source(AugmentSettings(**settings))
    overrides = {f"augment.{name}": value for name, value in settings.items()}
    with pytest.raises(ConfigError, match=message):
        distill(recipes.load(None, overrides | {"out": str(tmp_path / "run")}), quiet)
    assert not (tmp_path / "run").exists()


# Labels


def test_rows_without_a_label_add_nothing_to_the_labels_loss(encoder):
    student = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3).eval()
    ids = torch.tensor([[2, 5, 3], [2, 6, 3], [2, 7, 3]])
    batch = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    stage = Stage(hard_labels=0.5)
    objective = Objective(student, stage, (), 32, task="classification")
    labels = torch.tensor([NO_LABEL, 2, NO_LABEL])
    found = objective(**batch, labels=labels)
    one = -torch.log_softmax(found["logits"][1], dim=0)[2]
    torch.testing.assert_close(found["parts"]["labels"], one / 3)
    torch.testing.assert_close(found["loss"], 0.5 * one / 3)
    assert objective(**batch, labels=torch.full((3,), NO_LABEL))["loss"] == 0
    whole = objective(**batch, labels=torch.tensor([0, 2, 1]))["parts"]["labels"]
    torch.testing.assert_close(
        whole, torch.nn.functional.cross_entropy(found["logits"], torch.tensor([0, 2, 1]))
    )


def test_targets_that_nobody_gave_add_nothing_either(encoder):
    student = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=1).eval()
    ids = torch.tensor([[2, 5, 3], [2, 6, 3]])
    batch = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    objective = Objective(student, Stage(hard_labels=1.0), (), 32, task="regression")
    found = objective(**batch, labels=torch.tensor([torch.nan, 4.0]))
    torch.testing.assert_close(found["loss"], (found["logits"][1, 0] - 4) ** 2 / 2)
    found["loss"].backward()
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_passages_have_no_label_to_learn_from(encoder, task):
    rows = Dataset.from_dict({"text": ["a the film story was it one"], "label": [1], "line": [1]})
    labels = ("x", "y") if task == "classification" else ()
    data = TaskData(rows, rows, None, task, labels, pair=False, name="t", metric="accuracy")
    tokens = tokenize(add_crops(rows, 5, seed=0), Tokenizer(encoder, max_length=32), data)
    first, *rest = tokens["labels"]
    assert first == 1
    assert rest
    missing = [x == NO_LABEL if task == "classification" else np.isnan(x) for x in rest]
    assert all(missing)


def fitted(encoder, folder, source, labels):
    """Write a teacher: random layers, and a head fitted to the train split by least squares."""
    rows = data_room.load(source).train
    names = {"num_labels": len(labels), "id2label": dict(enumerate(labels))}
    settings = names if labels else {"num_labels": 1, "problem_type": "regression"}
    model = AutoModelForSequenceClassification.from_pretrained(encoder, **settings).eval()
    for weight in (w for w in model.bert.parameters() if w.dim() == 2):
        weight.data *= 10
    tokenizer = Tokenizer(encoder, max_length=32)
    second = rows["text2"] if "text2" in rows.column_names else None
    batch = pad_batch(*tokenizer.encode(rows["text"], second), 0)
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    with torch.inference_mode():
        states = model.bert(**tensors).pooler_output.double()
    target = torch.tensor(rows["label"][:])
    wanted = torch.nn.functional.one_hot(target).double() if labels else target[:, None].double()
    inputs = torch.cat([states, torch.ones(len(states), 1)], dim=1)
    found = torch.linalg.lstsq(inputs, wanted, rcond=1e-2, driver="gelsd").solution.T.float()
    found *= 8 if labels else 1
    model.classifier.weight.data, model.classifier.bias.data = (
        found[:, :-1].clone(),
        found[:, -1].clone(),
    )
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((encoder / name).read_bytes())
    return str(folder)


@pytest.fixture
def taught(settings, encoder, table, tmp_path):
    """A recipe's overrides with a teacher that is any good."""
    teacher = fitted(encoder, tmp_path / "teacher", table, ["bad", "good", "odd"])
    return settings | {"teacher.model": teacher}


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_augment_writes_what_the_teacher_says_of_new_texts(taught, tmp_path, table):
    said = []
    more = taught | {"augment.copies": 3, "seed": 2}
    path = augment(recipes.load(None, more), tmp_path / "new" / "a.jsonl", said.append)
    rows = read(path)
    assert list(rows[0]) == ["text", "label", "score", "origin", "source", "copy"]
    texts = [row["text"] for row in rows]
    old = {r["text"] for n in ("train", "dev", "test") for r in read_table(table / f"{n}.csv")}
    assert len(set(texts)) == len(texts)
    assert not old & set(texts)
    logits = predict_logits(taught["teacher.model"], texts, max_length=32)
    sure = torch.softmax(torch.from_numpy(logits).double(), 1)
    assert [row["label"] for row in rows] == [["bad", "good", "odd"][i] for i in sure.argmax(1)]
    np.testing.assert_allclose([row["score"] for row in rows], sure.max(1).values, atol=1e-5)
    lines = {r["line"]: r["text"] for r in read_table(table / "train.csv")}
    for row in rows:
        assert len(row["text"].split()) == len(lines[row["origin"]].split())
        assert row["source"] == "embeddings"
        assert row["copy"] in (1, 2, 3)
    dropped = 96 * 3 - len(rows)
    assert (
        f"{len(rows)} texts made of 96 by embeddings; dropped: {dropped} duplicates or texts of "
        "the data, 0 for confidence below 0" in said
    )
    again = augment(recipes.load(None, more), tmp_path / "b.jsonl", said.append)
    assert again.read_bytes() == path.read_bytes()
    assert "read from" in said[-3]
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]


def test_doubted_texts_are_dropped_and_counted(taught, tmp_path):
    def made(limit, name):
        said = []
        more = taught | {"augment.copies": 2, "augment.min_confidence": limit}
        return read(augment(recipes.load(None, more), tmp_path / name, said.append)), said

    every, _ = made(0.0, "all.jsonl")
    limit = sorted(row["score"] for row in every)[len(every) // 2]
    some, said = made(limit, "some.jsonl")
    assert some == [row for row in every if row["score"] >= limit]
    assert 0 < len(some) < len(every)
    assert f"{len(every) - len(some)} for confidence below" in said[-2]
    with pytest.raises(ConfigError, match=r"0 texts made of 96 by embeddings; .* lower min_conf"):
        made(1.0, "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_augmented_tables_are_read_back(taught, tmp_path, suffix):
    more = recipes.load(None, taught | {"augment.copies": 1})
    rows = read(augment(more, tmp_path / "a.jsonl", quiet))
    found = read_table(augment(more, tmp_path / f"a.{suffix}", quiet))
    assert found["text"][:] == [row["text"] for row in rows]
    assert [float(s) for s in found["score"]] == [row["score"] for row in rows]
    assert found.column_names[:-1] == list(rows[0])


def test_augment_refuses_what_it_cannot_write_or_ask(taught, tmp_path, encoder):
    recipe = recipes.load(None, taught)
    with pytest.raises(ConfigError, match=r"--to is .*a\.xlsx; wanted a file that ends in \.jsonl"):
        augment(recipe, tmp_path / "a.xlsx", quiet)
    bare = recipes.load(None, taught | {"teacher.model": str(encoder)})
    with pytest.raises(ConfigError, match=r"no fine-tuned head to label texts with"):
        augment(bare, tmp_path / "a.csv", quiet)
    lines = [{"text": f"a\tfilm {i}", "label": "good" if i % 2 else "bad"} for i in range(9)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tabs = recipes.load(None, taught | {"data.source": str(tmp_path / "t.jsonl")})
    with pytest.raises(DataError, match=r"t line 1: the text holds a tab"):
        augment(tabs, tmp_path / "a.tsv", quiet)


def test_both_texts_of_a_pair_are_made_of_their_own(settings, encoder, pairs, tmp_path):
    """A chain of words: a copy made of a copy would hold the second next word."""
    source = pairs(tmp_path / "pairs", number=True)
    chain = ["fine awful sweet", "awful sweet fine", "great dull ugly", "dull ugly great"]
    words = [(n, word) for n, line in enumerate(chain) for word in line.split()[:2]]
    lemmas = "".join(f"{n}\t{word}\n" for n, word in words)
    folder = tmp_path / "wn"
    folder.mkdir()
    (folder / "lemmas.tsv").write_text(lemmas)
    teacher = fitted(encoder, tmp_path / "teacher", source, [])
    more = settings | {"data.source": source, "teacher.model": teacher}
    more |= {"augment.source": "wordnet", "augment.wordnet": str(folder)}
    more |= {"augment.p": 1.0, "augment.copies": 4, "augment.min_confidence": 0.9}
    said = []
    rows = read(augment(recipes.load(None, more), tmp_path / "a.jsonl", said.append))
    assert list(rows[0]) == ["text", "text2", "label", "score", "origin", "source", "copy"]
    near = {
        "fine": {"awful"},
        "awful": {"fine", "sweet"},
        "great": {"dull"},
        "dull": {"great", "ugly"},
    }
    lines = {r["line"]: r for r in read_table(tmp_path / "pairs" / "train.csv")}
    for row in rows:
        for ours, theirs in (("text", "sentence1"), ("text2", "sentence2")):
            new, old = row[ours].split(), lines[row["origin"]][theirs].split()
            assert new[0] in near[old[0]]
            assert new[1:] == old[1:]
    assert all(row["score"] is None and isinstance(row["label"], float) for row in rows)
    assert "min_confidence is for labels: where the teacher gives values all texts are kept" in said


# Inside a run


def log(folder, stage):
    return json.loads((folder / "stages" / stage / "log.json").read_text())


def steps(folder, stage):
    return [row["step"] for row in log(folder, stage)][-1]


def test_a_run_learns_from_augmented_and_unlabelled_texts(taught, tmp_path):
    pool = tmp_path / "pool.txt"
    pool.write_text("\n".join(["a fine film", "", "the awful story", "one very blue story"]))
    more = taught | {
        "augment.source": "embeddings",
        "augment.copies": 1,
        "data.unlabelled": str(pool),
        "student.crops": 1,
        "prediction_stage.hard_labels": 0.5,
        "ship.baselines": True,
        "layer_stage.epochs": 1,
        "prediction_stage.epochs": 1,
    }
    said = []
    recipe = recipes.load(None, more)
    folder = distill(recipe, said.append)
    made = len(read(folder / "augmented.jsonl"))
    passages = next(int(line.split()[0]) for line in said if "passages" in line)
    count = 96 + passages + made + 3
    assert f"{made} augmented texts added for the teacher ({folder / 'augmented.jsonl'})" in said
    assert "3 unlabelled texts added for the teacher" in said
    assert any("unlabelled pool.txt: 3 texts; dropped: 1 empty" in line for line in said)
    assert steps(folder, "layer") == -(-count // 16)
    assert steps(folder, "prediction") == -(-count // 16)
    assert steps(folder, "label_only") == 2 * 96 / 16
    assert json.loads((folder / "run.json").read_text())["data"]["train"] == 96
    stamp = (folder / "augmented.jsonl").stat().st_mtime_ns
    distill(recipe, said.append)
    assert (folder / "augmented.jsonl").stat().st_mtime_ns == stamp


def test_a_stage_may_read_the_datas_own_rows_alone(taught, tmp_path):
    pool = tmp_path / "pool.txt"
    pool.write_text("a fine film\nthe awful story\n")
    more = taught | {
        "data.unlabelled": str(pool),
        "student.crops": 1,
        "layer_stage.epochs": 1,
        "prediction_stage.epochs": 1,
        "prediction_stage.texts": "labelled",
    }
    folder = distill(recipes.load(None, more), quiet)
    assert steps(folder, "layer") > 96 / 16
    assert steps(folder, "prediction") == 96 / 16
