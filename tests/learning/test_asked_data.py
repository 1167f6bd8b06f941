"""Questions about contexts: how they are read, cut into windows and measured; bad ones named."""

import json

import numpy as np
import pytest
from datasets import Dataset

from tinybert import answer_baselines, metrics
from tinybert import data as data_room
from tinybert.answer_metrics import choose_threshold, exact, f1
from tinybert.distill.outputs import NO_LABEL, Collator, tokenize
from tinybert.distill.windows import positions
from tinybert.errors import ConfigError, DataError
from tinybert.spans import NEVER, Reading, best_places, cut_windows
from tinybert.text import Tokenizer

CONTEXT = "Ann met Li in Rome. Li went home."


def squad(*qas, context=CONTEXT):
    return {"data": [{"paragraphs": [{"context": context, "qas": list(qas)}]}]}


def question(text, start, **more):
    answers = [{"text": text, "answer_start": start}]
    return {"question": "who?", "answers": answers, **more}


def write(path, value):
    path.write_text(json.dumps(value) if path.suffix == ".json" else
                    "\n".join(map(json.dumps, value)))  # fmt: skip
    return path


def test_squad_is_read(tmp_path):
    none = {"question": "why?", "answers": [], "is_impossible": True}
    two = question("Li", 8) | {"question": "where?"}
    two["answers"].append({"text": "Rome", "answer_start": 14})
    write(tmp_path / "train-v2.0.json", squad(question("Ann", 0), none, two))
    write(tmp_path / "dev-v2.0.json", squad(question("Rome", 14)))
    data = data_room.load(tmp_path)
    assert (data.task, data.metric, data.pair, data.labels) == ("answering", "answer_f1", True, ())
    assert data.train["label"][:] == [[[0, 3]], [], [[8, 10], [14, 18]]]
    assert data.train["text2"][0] == CONTEXT
    assert data.inputs("dev") == [("who?", CONTEXT)]
    assert data.unanswerable
    data_room.save(data, tmp_path / "run" / "data")
    again = data_room.load_saved(tmp_path / "run")
    assert again.reading == data.reading == Reading()
    assert again.targets("train").tolist() == data.targets("train").tolist()


def test_tables_are_read_in_every_form(tmp_path):
    lists = {"text": ["Rome"], "answer_start": [14]}
    pairs = [{"text": "Rome", "answer_start": 14}]
    rows = [{"question": "where?", "context": CONTEXT + str(i), "answers": answers}
            for i, answers in enumerate((lists, pairs, json.dumps(lists), lists, pairs))]  # fmt: skip
    file = write(tmp_path / "rows.jsonl", rows)
    data = data_room.load(file, overlap=9, dev_fraction=0.2)
    assert data.reading.overlap == 9
    assert len(data.train) + len(data.dev) == 5
    assert {tuple(map(tuple, row)) for row in data.train["label"]} == {((14, 18),)}
    assert not data.unanswerable
    Dataset.from_list([row | {"answers": lists} for row in rows]).to_parquet(tmp_path / "r.parquet")
    assert data_room.load_rows(tmp_path / "r.parquet", task="auto").test["label"][0] == [[14, 18]]
    renamed = [{"q": r["question"], "c": r["context"], "a": lists} for r in rows]
    given = {"text": "q", "text2": "c", "label": "a", "task": "answering"}
    assert len(data_room.load_rows(write(tmp_path / "n.jsonl", renamed), **given).dev) == 5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x.json", squad(question("Rome", 15)), r"x.json data\[0\].paragraphs\[0\].qas\[0\]: answer_"
         r"start is 15, where the context reads `ome\.`; wanted the place of `Rome`, it stands at 14"),
        ("x.json", squad(question("Oslo", 3)), "`Oslo`, it stands nowhere in it"),
        ("x.json", squad(question("Oslo", 3), context=" "), "column `context` is empty"),
        ("x.json", squad({"question": "who?", "answers": []}), "`answers` is empty; wanted an answ"),
        ("x.json", squad({"question": "who?"}), r"qas\[0\] has no `answers` \(it has: question\)"),
        ("x.json", squad({"question": 3, "answers": []}), "`question` is '3'; wanted a text"),
        ("x.json", {"data": [{}]}, r"x.json data\[0\] has no `paragraphs`"),
        ("x.json", {"data": []}, "x.json holds no question"),
        ("x.json", squad(*[{"question": "who?", "answers": [], "is_impossible": True}] * 2),
         "no train question has an answer"),
        ("x.jsonl", [{"question": "who?", "context": CONTEXT, "answers": "Ann"}],
         "line 1: column `answers` is `Ann`; wanted"),
        ("x.jsonl", [{"question": "who?", "context": CONTEXT, "answers": {"text": ["Ann"]}}],
         "line 1: column `answers` is .*; wanted"),
        ("x.jsonl", [{"question": "who?", "context": CONTEXT,
                      "answers": {"text": [""], "answer_start": [0]}}], "line 1: answer ''; wanted"),
        ("x.jsonl", [{"question": "who?", "context": CONTEXT,
                      "answers": {"text": ["Ann"], "answer_start": ["0"]}}],
         "answer_start '0' of `Ann`; wanted a whole number"),
        ("x.jsonl", [{"question": None, "context": CONTEXT,
                      "answers": {"text": ["Ann"], "answer_start": [0]}}],
         "line 1: column `question` is None; wanted a text"),
        ("x.jsonl", [{"question": "who?", "text": "no context"}], "has no column `context`; it has"),
    ],
)  # fmt: skip
def test_bad_questions_are_named(tmp_path, name, value, message):
    with pytest.raises(DataError, match=message):
        data_room.load(write(tmp_path / name, value), task="answering")


def test_answers_are_mended_where_that_is_asked_for(tmp_path):
    file = write(tmp_path / "x.json", squad(
        question("Li", 18), question("Oslo", 0), question("Rome", -1), question("Ann", 0),
    ))  # fmt: skip
    data = data_room.load(file, dev=file, mend_answers=True)
    assert data.train["label"][:] == [[[20, 22]], [[14, 18]], [[0, 3]]]
    assert "2 answers moved to where their text stands, 1 that stand nowhere" in data.notes[0]


@pytest.fixture
def tokenizer(tmp_path, write_tokenizer):
    write_tokenizer(tmp_path)
    return Tokenizer(tmp_path, max_length=12)


def test_windows_cover_the_context(tokenizer):
    """Neighbors share what they shall, and a context that fits is a pair like any other."""
    words = ["the", "film", "was", "very", "fine", "and", "great"]
    long = "  ".join([*words, *words, *words])
    (windows, short, empty), (again, *_) = (
        cut_windows(tokenizer, [q, "the film", ""], [long, "it was", ""], Reading(overlap=3))
        for q in ("this one", "this one " * 9)
    )
    assert [len(w.ids) for w in windows] == [12] * 4 + [10]
    seen = [place for w in windows for place in w.places]
    assert {long[a:b] for a, b in seen} == set(words)
    assert windows[0].places[-3:] == windows[1].places[:3]
    assert sorted({*seen})[-1][1] == len(long)
    ids, types = tokenizer.encode(["the film"], ["it was"])
    assert (short[0].ids, short[0].type_ids) == (ids[0], types[0])
    assert (len(empty), empty[0].places) == (1, [])
    assert again[0].first == 1 + 4 + 1
    small = Tokenizer.__new__(Tokenizer)
    small.__dict__ |= tokenizer.__dict__ | {"max_length": 4}
    with pytest.raises(ConfigError, match="max_length is 4; wanted at least 5 tokens"):
        cut_windows(small, ["a"], ["b"], Reading())


def test_windows_are_labelled_where_they_hold_an_answer(tokenizer):
    rows = Dataset.from_dict({
        "text": ["this one"] * 3,
        "text2": ["the film was very fine and great it was it was"] * 3,
        "label": [[[18, 22]], [], None],
    })  # fmt: skip
    data = data_room.TaskData(rows, rows, None, "answering", (), True, "x", "answer_f1",
                              reading=Reading(overlap=2))  # fmt: skip
    found = tokenize(rows, tokenizer, data)
    assert found["labels"][:] == [[8, 8], *[[0, 0]] * 3, *[[NO_LABEL] * 2] * 2]
    batch = Collator(0)([found[0], found[1]])
    assert batch["labels"].tolist() == [[8, 8], [0, 0]]
    assert batch["span_mask"][0].tolist() == [True] + [False] * 3 + [True] * 7 + [False]
    window = cut_windows(tokenizer, ["this"], ["the film was"], Reading())[0][0]
    assert positions(window, [(0, 99), (5, 8), (0, 3)]) == [4, 4]


def test_the_best_span_is_the_best_of_all(tokenizer):
    (windows,) = cut_windows(tokenizer, ["this"], ["the film was very fine and great it was it"],
                             Reading(overlap=3))  # fmt: skip
    random = np.random.default_rng(0)
    logits = [random.normal(size=(12, 2)) for _ in windows]
    places, none = best_places(windows, logits, 3)
    loop = {}
    for window, own in zip(windows, logits, strict=True):
        for i in range(len(window.places)):
            for j in range(i, min(i + 3, len(window.places))):
                key = window.places[i][0], window.places[j][1]
                score = own[window.first + i, 0] + own[window.first + j, 1]
                loop[key] = max(score, loop.get(key, score))
    assert {(p.start, p.end): p.logit for p in places[:1]} == {
        max(loop, key=loop.get): pytest.approx(max(loop.values()))
    }
    assert [p.logit for p in places] == sorted(loop.values(), reverse=True)[: len(places)]
    assert none == pytest.approx(min(own[0].sum() for own in logits))


def test_answers_are_compared_as_the_official_code_compares_them():
    assert exact("the Rhine!", "Rhine") == 1
    assert exact("an apple", "apples") == 0
    assert f1("in the year 1999", "1999 year") == pytest.approx(0.8)
    assert f1("", "") == 1
    assert f1("Rhine", "") == f1("the", "Rhine") == 0
    assert f1("北京大学附近", "北京的大学", spaceless=True) == pytest.approx(2 * 2 / 11)
    assert exact("“1999年”", "1999 年。", spaceless=True) == 1
    assert f1("1999年", "99年", spaceless=True) == pytest.approx(0.5)


def asked(*golds):
    return Dataset.from_dict({
        "text": ["who?"] * len(golds), "text2": [CONTEXT] * len(golds), "label": list(golds),
    })  # fmt: skip


def test_questions_without_an_answer_are_measured_apart():
    rows = asked([[0, 3], [0, 10]], [[14, 18]], [])
    data = data_room.TaskData(rows, rows, None, "answering", (), True, "x", "answer_f1")
    found = np.array([[0, 10, 1, NEVER], [14, 18, 0.0, 0.5], [8, 10, 2, 1]])
    assert metrics.measure(data, "dev", found) == pytest.approx({
        "answer_f1": 1 / 3, "exact": 1 / 3, "has_answer_f1": 0.5, "has_answer_exact": 0.5,
        "no_answer_exact": 0.0,
    })  # fmt: skip
    with_all = asked([[0, 3], [0, 10]])
    answered = data_room.TaskData(with_all, with_all, None, "answering", (), True, "x", "answer_f1")
    assert metrics.measure(answered, "dev", found[:1]) == {"answer_f1": 1.0, "exact": 1.0}


def test_the_threshold_is_the_best_one():
    golds = [[[0, 3]], [], [[14, 18]], []]
    rows = asked(*golds)
    found = np.array([[0, 3, 5, 0], [0, 3, 1, 2.0], [0, 3, 0, 3], [8, 10, 4, 1]])
    threshold = choose_threshold(rows, found)
    data = data_room.TaskData(rows, rows, None, "answering", (), True, "x", "answer_f1")

    def quality(t):
        return metrics.measure(data, "dev", found - np.array([0, 0, 0, t]))["answer_f1"]

    assert quality(threshold) == max(quality(t) for t in np.arange(-4, 5)) == 0.75


def test_baselines_read_no_labels():
    rows = asked([[14, 18]], [[0, 3]])
    data = data_room.TaskData(rows, rows, None, "answering", (), True, "x", "answer_f1")
    first = answer_baselines.unread(data)
    assert [CONTEXT[int(a) : int(b)] for a, b in first[:, :2]] == ["Ann met Li in Rome."] * 2
    near = Dataset.from_dict({"text": ["Who went home?", "张三在哪里？"],
                              "text2": [CONTEXT, "李四在上海。张三在北京。"], "label": [[], []]})  # fmt: skip
    silent = data_room.TaskData(near, near, None, "answering", (), True, "x", "answer_f1")
    assert metrics.measure(silent, "dev", answer_baselines.unread(silent))["no_answer_exact"] == 1
    found = answer_baselines.overlap(silent)[:, :2].astype(int)
    assert [near["text2"][i][a:b] for i, (a, b) in enumerate(found)] == ["Li", "北京"]
