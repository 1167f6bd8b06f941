"""The report of a tiny run: figures, page, table."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from datasets import Dataset

from tiny_models import WORDS, save_model
from tinybert import data as data_room
from tinybert.artifact import INT8
from tinybert.data import TaskData
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship import figures as figures_room
from tinybert.ship import lost
from tinybert.ship.export import export
from tinybert.ship.measure import Figures, Subject, measure
from tinybert.ship.quantize import quantize
from tinybert.ship.report import print_table, report
from tinybert.ship.table import written_headline
from tinybert.ship.verify import verify

EVIL = "<script>alert(1)</script>"
LABELS = ("refund", "delivery <b>", "登录")


def split(count, seed, kind, pair):
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(WORDS, 4)) for _ in range(count)]
    texts[0] = f"{texts[0]} {EVIL}"
    labels = random.permutation(np.arange(count) % 3)
    columns = {"text": texts, "line": list(range(count))}
    columns["label"] = (labels / 2.0).tolist() if kind == "regression" else labels.tolist()
    if pair:
        columns["text2"] = texts[::-1]
    return Dataset.from_dict(columns)


def make_run(folder, kind="classification", *, pair=False, test=True, label_only=True):
    labels = LABELS if kind == "classification" else ()
    parts = [split(count, seed, kind, pair) for seed, count in enumerate((60, 24, 30))]
    data = TaskData(
        train=parts[0],
        dev=parts[1],
        test=parts[2] if test else None,
        task=kind,
        labels=labels,
        pair=pair,
        name=f"messages {EVIL}",
        metric=data_room.MAIN[kind],
        notes=("3 duplicate rows in train: kept",),
    )
    folder.mkdir()
    data_room.save(data, folder / "data")
    outputs = len(labels) or 1
    save_model(folder / "teacher", outputs, 2, seed=0)
    save_model(folder / "student", outputs, 1, seed=1)
    if label_only:
        save_model(folder / "label_only", outputs, 1, seed=2)
    for stage in ("layer", "prediction"):
        (folder / "stages" / stage).mkdir(parents=True)
        log = [
            {"step": s, "loss": 1 / s, "hidden/1": 2 / s, "attention/1": 3 / s, "prediction": 1 / s}
            for s in range(1, 6)
        ]
        log += [{"step": 5, "eval_accuracy": 0.5}, {"step": 5, "train_runtime": 1.0}]
        (folder / "stages" / stage / "log.json").write_text(json.dumps(log))
    about = {
        "task": kind,
        "labels": list(labels),
        "pair": pair,
        "max_length": 16,
        "teacher": str(folder / "teacher"),
        "seed": 3,
        "stages": {"layer": 1.5},
        "notes": [],
        "versions": {"tinybert": "0", "torch": "2"},
    }
    (folder / "run.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Stand in for the processes that are timed."""

    def fake(subjects, *_, **__):
        return {
            s.name: Figures(1.0 + i, 80.0, 2.0 + i, 3.0 + i, 100.0, 90.0, 3, (0.9, 2.0))
            for i, s in enumerate(subjects)
        }

    monkeypatch.setattr(figures_room, "measure", fake)


class Reader(HTMLParser):
    """Collects tags and what they point at."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(path):
    page = Reader()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


@pytest.mark.usefixtures("quick")
def test_page_stands_alone_and_shows_texts_as_texts(tmp_path):
    path = report(make_run(tmp_path / "run"))
    page, text = read(path), path.read_text(encoding="utf-8")
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert page.tags.count("svg") == 6  # size, latency, confusion, reliability, two stages
    assert "alert(1)" in text
    assert "prefers-color-scheme: dark" in text
    assert "3 duplicate rows" in text
    assert not re.search(r"#010203", text)


@pytest.mark.usefixtures("quick")
def test_figures_of_every_system(tmp_path):
    run = make_run(tmp_path / "run")
    report(run)
    found = json.loads((run / "report.json").read_text(encoding="utf-8"))
    rows = {row["system"]: row for row in found["systems"]}
    assert list(rows) == ["majority", "tfidf", "label_only", "teacher", "student"]
    assert found["split"] == "test"
    teacher, student = rows["teacher"], rows["student"]
    assert teacher["kept"] == 1.0
    kept = student["quality"]["accuracy"] / teacher["quality"]["accuracy"]
    assert student["kept"] == pytest.approx(kept)
    weights = (run / "student" / "model.safetensors").stat().st_size
    assert student["file_mb"] == pytest.approx(weights / 1e6)
    assert student["parameters"] * 4 == pytest.approx(weights, rel=0.25)
    assert rows["label_only"]["p50_ms"] == student["p50_ms"]
    assert rows["tfidf"]["p50_ms"] is None
    apart = found["differences"]
    assert apart["count"] == apart["lost"] + apart["won"] + apart["neither"] > 0


@pytest.mark.usefixtures("quick")
def test_without_test_split_and_baseline(tmp_path, capsys):
    run = make_run(tmp_path / "run", test=False, label_only=False)
    path = report(run)
    assert "there is no test split" in path.read_text(encoding="utf-8")
    print_table(path)
    table = capsys.readouterr().out
    assert "dev also chose" in table
    assert "Student without" not in table
    with pytest.raises(ConfigError, match=r"split is `test`; .* has train, dev"):
        report(run, split="test")


@pytest.mark.usefixtures("quick")
def test_regression_on_pairs(tmp_path):
    run = make_run(tmp_path / "run", "regression", pair=True)
    page = read(report(run))
    found = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert found["metric"] == "pearson"
    assert found["systems"][0]["system"] == "mean"
    texts = found["differences"]["texts"]
    gaps = [abs(entry["difference"]) for entry in texts]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] == pytest.approx(found["differences"]["largest"])
    assert "\n" in texts[0]["text"]
    assert page.tags.count("svg") == 5


@pytest.mark.usefixtures("quick")
def test_table_in_the_terminal(tmp_path, capsys):
    print_table(report(make_run(tmp_path / "run")))
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.strip().startswith("Teacher"))
    assert "100.0%" in row
    assert "2.00" in row


@pytest.mark.usefixtures("quick")
def test_with_an_artifact(tmp_path, capsys):
    run = make_run(tmp_path / "run", pair=True, label_only=False)
    export(run / "student", run / "artifact", max_length=16, pair=True, labels=LABELS)
    quantize(run / "artifact")
    data = data_room.load_saved(run)
    verify(run / "artifact", run / "student", data, max_flips=1.0, max_drop=1.0)
    page = report(run)
    found = json.loads((run / "report.json").read_text(encoding="utf-8"))
    last = found["systems"][-1]
    assert (last["system"], last["name"]) == ("artifact", "Artifact (int8)")
    assert last["file_mb"] == (run / "artifact" / INT8).stat().st_size / 1e6
    assert abs(last["quality"]["accuracy"] - found["systems"][-2]["quality"]["accuracy"]) < 0.2
    assert found["parity"]["passed"] is True
    text = page.read_text(encoding="utf-8")
    assert "max logit difference" in text
    assert "From student to artifact" in text
    assert read(page).tags.count("svg") == 7
    print_table(page)
    assert "Artifact (int8)" in capsys.readouterr().out
    subject = Subject("artifact", "artifact", run / "artifact")
    pairs = [("late", "my card")] * 3
    timed = measure([subject], *zip(*pairs, strict=True), max_length=16, rounds=2)["artifact"]
    assert timed.rounds == 2
    assert timed.load_range_s[0] <= timed.load_s <= timed.load_range_s[1]
    assert timed.first_mb is None or timed.first_mb < 200


def test_refuses_what_is_no_run(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not a folder; wanted the folder of a run"):
        report(tmp_path / "none")
    with pytest.raises(ArtifactError, match=r"has no run\.json"):
        report(tmp_path)
    run = make_run(tmp_path / "run")
    (run / "student").rename(run / "gone")
    with pytest.raises(ArtifactError, match="has no student folder"):
        report(run)


def test_differences_by_hand():
    sharp = 10 * np.eye(3)
    teacher, student = sharp[[0, 1, 2, 0, 1]], sharp[[0, 2, 1, 1, 1]]
    gold = np.array([0, 1, 1, 2, 1])
    found = lost.answer_differences(
        list("abcde"), {"teacher": teacher, "student": student}, gold, LABELS
    )
    assert {k: found[k] for k in ("count", "lost", "won", "neither")} == {
        "count": 3,
        "lost": 1,
        "won": 1,
        "neither": 1,
    }
    assert [(t["kind"], t["text"]) for t in found["texts"]] == [
        ("lost", "b"),
        ("won", "c"),
        ("neither", "d"),
    ]
    assert found["texts"][0]["teacher"]["score"] == pytest.approx(1 / (1 + 2 * np.exp(-10)))
    recalls = lost.recalls({"teacher": teacher, "student": student}, gold, LABELS)
    by_label = {row["label"]: (row["teacher"], row["student"]) for row in recalls}
    assert by_label == {LABELS[0]: (1, 1), LABELS[1]: (2 / 3, 2 / 3), LABELS[2]: (0, 0)}
    assert lost.confusion(student, gold, 3) == [[1, 0, 0], [0, 2, 1], [0, 1, 0]]


def test_list_of_differences_is_shared_out():
    sharp = 10 * np.eye(3)
    gold = np.array([0] * 90 + [1] * 8)
    teacher = sharp[[0] * 98]
    student = sharp[[1] * 98]
    found = lost.answer_differences(
        ["x"] * 98, {"teacher": teacher, "student": student}, gold, LABELS, most=20
    )
    kinds = [entry["kind"] for entry in found["texts"]]
    assert (kinds.count("lost"), kinds.count("won"), len(kinds)) == (15, 5, 20)


def test_measure_in_processes_of_its_own(tmp_path):
    save_model(tmp_path / "model", 3, 1, seed=0)
    subject = Subject("student", "torch", tmp_path / "model")
    texts = ["late parcel", "my card"]
    found = measure([subject], texts, max_length=16, rounds=1, singles=2, batched=2)["student"]
    assert found.load_s > found.p50_ms / 1e3 > 0
    assert found.p95_ms >= found.p50_ms
    assert found.texts_per_s > 0
    assert found.first_mb is None or 50 < found.first_mb <= found.peak_mb


def test_measure_says_why_a_process_failed(tmp_path):
    subject = Subject("student", "torch", tmp_path / "none")
    with pytest.raises(ArtifactError, match="cannot be measured"):
        measure([subject], ["a"], max_length=16, rounds=1)
    with pytest.raises(ConfigError, match="0 texts, 1 rounds"):
        measure([subject], [], max_length=16, rounds=1)


@pytest.mark.usefixtures("bench")
def test_a_run_is_timed_beside_its_teacher_and_a_bert_base(tmp_path, monkeypatch):
    import ratio

    run = tmp_path / "run"
    make_run(run)
    export(run / "student", run / "artifact", max_length=16, labels=LABELS)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    monkeypatch.setattr(ratio, "BASE", small)
    one, many = ratio.measure(run, [1, 4], rounds=1)
    assert (one["batch"], one["texts"]) == (1, 24)
    assert (many["batch"], many["texts"]) == (4, 8)
    for row in (one, many):
        assert {"artifact_per_s", "teacher_per_s", "bert_base_per_s"} < set(row)
        assert {"faster_than_teacher", "faster_than_bert_base"} < set(row)
    make_run(tmp_path / "pairs", pair=True)
    with pytest.raises(SystemExit, match="labels pairs; wanted a run of single texts"):
        ratio.measure(tmp_path / "pairs", [1], rounds=1)


def test_a_writer_worth_less_than_no_model_is_named():
    rows = {"teacher": 40.0, "student": 30.0, "artifact": 20.0, "first sentence": 25.0}
    best = 40.0
    found = {
        "metric": "rougeL",
        "data": {"name": "mails", "split": "dev", "rows": 1200},
        "systems": [
            {"system": key, "name": key.capitalize(), "quality": {"rougeL": value}}
            | {"kept": value / best}
            for key, value in rows.items()
        ],
    }
    assert written_headline(found) == (
        "the int8 student keeps 50.0 % of the teacher's rougeL on mails, dev split, 1,200 texts "
        "(dev also chose the epochs); but `First sentence`, without any model, reaches 25.00"
    )
    found["systems"][3]["quality"]["rougeL"] = 19.0
    assert written_headline(found).endswith("epochs)")
