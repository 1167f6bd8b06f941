"""A plan's candidates: what they are estimated to cost, and whose turn it is."""

import json
import types

import pytest
from transformers import BertConfig, BertForSequenceClassification

pytest.importorskip("optuna")

from tinybert import data as data_room
from tinybert.distill import recipe as recipes
from tinybert.ship import costs, search
from tinybert.ship.candidates import Candidate, candidates, space_of
from tinybert.ship.limits import Limits

TRIED = {
    "student.layers": [1, 2],
    "student.hidden": [128, 256],
    "student.embedding": [None, 64],
    "ship.table_bits": [8, 4],
}
FAR = (
    "layers-2_hidden-256_table_bits-8",
    "layers-2_hidden-256_trim_table_bits-4",
    "layers-2_hidden-256_embedding-64_pruning.intermediate-256_table_bits-4",
)


@pytest.fixture
def scaled(taught, tmp_path, write_tokenizer, monkeypatch):
    """Candidates of a teacher whose tables and products become int8, and what measures them."""
    source, shared = tmp_path / "wide", tmp_path / "shared"
    write_tokenizer(source)
    spec = json.loads((source / "tokenizer.json").read_text())
    pieces = spec["model"]["vocab"]
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    spec["added_tokens"] = [
        {"id": i, "content": name, "special": True} | usual
        for i, name in enumerate(list(pieces)[:4])
    ]
    pieces |= {f"unused{i}": len(pieces) + i for i in range(500)}
    (source / "tokenizer.json").write_text(json.dumps(spec))
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=256, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=512, max_position_embeddings=40, num_labels=3,
    )  # fmt: skip
    teacher = BertForSequenceClassification(config)
    teacher.save_pretrained(source)
    recipe = recipes.load(None, taught | {"teacher.model": str(source)})
    data = data_room.load(recipe.data.source)
    data_room.save(data, shared / "data")
    monkeypatch.setattr(costs, "undisturbed_ms", lambda *_: 1.0)
    found, sizes = candidates(recipe, teacher, space_of(recipe, teacher.config, TRIED))
    return found, costs.Costs(recipe, shared, str(source), teacher, data, sizes)


def test_sizes_are_estimated_as_they_are_measured(scaled):
    found, scale = scaled
    for trims in (True, False):
        same = [one for one in found if one.settings["ship.trim"] == trims]
        scale.measure(min(same, key=lambda one: one.work), found)
    assert scale.dropped > 400
    scale.estimate(found)
    for name in FAR:
        one = next(one for one in found if one.name == name)
        assert not one.measured
        guessed = one.mb
        scale.measure(one, found)
        assert guessed == pytest.approx(one.mb, rel=0.02)


def test_whose_turn_it_is_with_keep():
    """The middle first; upwards after one that falls short, downwards after one that keeps."""
    made = [Candidate(f"c{i}", {}, mb=float(i)) for i in range(1, 8)]
    study = types.SimpleNamespace(open_names=set)
    data = types.SimpleNamespace(metric="accuracy")
    runs = types.SimpleNamespace(top={"accuracy": 1.0}, data=data)
    turn = search.Search(runs, None, Limits(keep=0.9), made, study, None, print, print)
    assert turn._next().name == "c4"
    made[3].state = "short"
    assert turn._next().name == "c6"
    made[5].state, made[5].shipped, made[5].artifact = "trained", "1", 0.95
    assert turn._next().name == "c5"
    assert made[6].state == "larger"
    made[4].state = "stopped"
    assert turn._next().name == "c3"
