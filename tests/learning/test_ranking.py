"""The order of passages for a query: data, metrics, distillation, artifact."""

import json
import math

import numpy as np
import pytest
import torch

import tinybert
from tinybert import baselines, metrics
from tinybert import data as data_room
from tinybert.artifact import read_card
from tinybert.distill import recipe as recipes
from tinybert.distill.infer import load_classifier
from tinybert.distill.objective import Objective
from tinybert.distill.recipe import Stage
from tinybert.errors import ConfigError, DataError
from tinybert.ranking import rank_metrics
from tinybert.runtime import Reranker
from tinybert.ship.pipeline import distill


def test_metrics_by_hand():
    queries = ["a"] * 3 + ["b"] * 2 + ["c"]
    scores = np.array([3.0, 2, 1, 5, 6, 1])
    relevance = np.array([0.0, 1, 0.5, 1, 0, 0])
    found = rank_metrics(scores, relevance, queries)
    a = (1 / math.log2(3) + 0.5 / 2) / (1 + 0.5 / math.log2(3))
    b = 1 / math.log2(3)
    assert found["ndcg@10"] == pytest.approx((a + b) / 2)
    assert found["mrr@10"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert rank_metrics(scores, relevance, queries, depth=1) == {"ndcg@1": 0, "mrr@1": 0}
    assert rank_metrics(scores, 0 * relevance, queries) == {"ndcg@10": 0, "mrr@10": 0}


def test_ties_are_no_merit():
    """Whatever order the rows stand in, equal scores earn what a random order would."""
    relevance = np.array([1.0, 0, 0])
    wanted = np.mean([1, 1 / math.log2(3), 1 / 2])
    for shift in range(3):
        found = rank_metrics(np.zeros(3), np.roll(relevance, shift), ["q"] * 3)
        assert found["ndcg@10"] == pytest.approx(wanted)
        assert found["mrr@10"] == pytest.approx(1 / 2)


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_passages_of_a_query_stay_together(tmp_path):
    rows = [
        {"query": f"q{i // 3}", "passage": f"p{i}", "label": float(i % 3 == 0)} for i in range(60)
    ]
    data = data_room.load(write(tmp_path / "rows.jsonl", rows), task="ranking", dev_fraction=0.2)
    assert (data.metric, data.labels, data.pair) == ("ndcg@10", (), True)
    assert not set(data.train["text"]) & set(data.dev["text"])
    assert len(set(data.dev["text"])) == 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q", "passage": "p", "label": 3.5}, "line 2: relevance is 3.5; wanted 0 to 1"),
        ({"query": "q", "passage": "p", "label": -2}, "line 2: relevance is -2; wanted 0 to 1"),
        ({"query": "q", "passage": "p", "label": None}, "line 2: target is None; wanted a finite"),
    ],
)
def test_relevance_is_a_share(tmp_path, row, message):
    rows = [{"query": "q", "passage": "o", "label": 1}, row]
    with pytest.raises(DataError, match=message):
        data_room.load(write(tmp_path / "rows.jsonl", rows), task="ranking")


def test_grades_are_divided_by_the_highest(tmp_path):
    rows = [{"query": f"q{i}", "passage": f"p{i}", "label": i % 4} for i in range(20)]
    found = data_room.load(write(tmp_path / "rows.jsonl", rows), task="ranking")
    assert {*found.train["label"], *found.dev["label"]} == {0, 1 / 3, 2 / 3, 1}
    assert "relevance is in grades up to 3: each is divided by 3" in found.notes
    hidden = write(tmp_path / "test.jsonl", [row | {"label": -1} for row in rows])
    found = data_room.load(tmp_path / "rows.jsonl", task="ranking", test=hidden)
    assert found.test is None
    assert max(found.train["label"]) == 1


def test_ranking_wants_pairs(tmp_path):
    with pytest.raises(DataError, match="ranking wants query and passage"):
        data_room.load(write(tmp_path / "rows.jsonl", [{"text": "a", "label": 1}]), task="ranking")


def test_relevance_is_learned_as_a_probability(wide_encoder):
    student = load_classifier(wide_encoder(1), num_labels=1)
    objective = Objective(student, Stage(hard_labels=1.0), (), 128, task="ranking").eval()
    ids = torch.tensor([[2, 5, 3], [2, 6, 3]])
    inputs = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    logits = [float(z) for z in student(**inputs).logits.detach()]
    found = objective(**inputs, labels=torch.tensor([1.0, 0.25]))["loss"].item()
    wanted = 0.0
    for z, relevance in zip(logits, (1.0, 0.25), strict=True):
        p = 1 / (1 + math.exp(-z))
        wanted -= (relevance * math.log(p) + (1 - relevance) * math.log(1 - p)) / 2
    assert found == pytest.approx(wanted, rel=1e-4)


@pytest.fixture
def searches(settings, wide_encoder, tmp_path):
    """A passage is relevant where it holds a good word."""
    place = tmp_path / "searches"
    place.mkdir()
    for name, count, seed in (("train", 120, 0), ("dev", 30, 1), ("test", 30, 2)):
        random = np.random.default_rng(seed)
        rows = []
        for i in range(count):
            for right in (1, 0, 0):
                passage = f"{random.choice(('film', 'story', 'it was'))} "
                passage += random.choice(("fine", "great") if right else ("awful", "dull", "blue"))
                rows.append({"query": f"the film {i}", "passage": passage, "label": right})
        write(place / f"{name}.jsonl", rows)
    return settings | {
        "data.source": str(place),
        "data.task": "ranking",
        "teacher.model": str(wide_encoder(2)),
        "teacher.epochs": 6,
        "student.layers": 1,
        "layer_stage.epochs": 3,
        "ship.max_drop": 0.2,
    }


@pytest.mark.usefixtures("untimed")
def test_from_relevance_to_an_order(searches):
    run = distill(recipes.load(None, searches), lambda _: None)
    about = json.loads((run / "run.json").read_text())
    assert about["dev"]["teacher"]["mrr@10"] > 0.9
    assert about["dev"]["student"]["mrr@10"] > 0.85
    data = data_room.load_saved(run)
    assert data.task == "ranking"
    assert baselines.majority(data)["mrr@10"] == pytest.approx(0.5, abs=0.01)
    assert metrics.measure(data, "dev", baselines.tfidf(data))["mrr@10"] < 0.9

    model = tinybert.load(run / "artifact")
    assert isinstance(model, Reranker)
    passages = ["story dull", "film great", "it was seven"]
    ranked = model.rank("the film", passages)
    assert ranked[0].passage == "film great"
    assert [passages[entry.index] for entry in ranked] == [entry.passage for entry in ranked]
    scores = [entry.score for entry in ranked]
    assert scores == sorted(scores, reverse=True)
    assert model([("the film", "film great")]) == pytest.approx([ranked[0].score], abs=0.02)
    assert all(0 <= score <= 1 for score in scores)
    assert len(model.rank("the film", passages, top=2)) == 2
    assert model.rank("the film", []) == []
    with pytest.raises(ConfigError, match="top is 0; wanted at least 1"):
        model.rank("the film", passages, top=0)
    with pytest.raises(DataError):
        model.rank("the film", ["film", None])

    found = json.loads((run / "report.json").read_text())
    assert [row["system"] for row in found["systems"]] == [
        "unordered", "tfidf_cosine", "teacher", "student", "artifact",
    ]  # fmt: skip
    assert found["metric"] == "ndcg@10"
    assert all(0 <= entry["student"] <= 1 for entry in found["differences"]["texts"])
    assert read_card(run / "artifact").task == "ranking"
    assert "how relevant a passage is" in (run / "artifact" / "README.md").read_text()
