"""The order of the steps, and what the demonstration asks for."""

import pytest

from tinybert.distill import recipe as recipes
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship import pipeline


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """Stand in for every step and record the order."""
    done = []
    run = tmp_path / "run"

    def train(recipe, _):
        done.append(("train", recipe))
        return run

    monkeypatch.setattr(pipeline.task, "distill", train)
    monkeypatch.setattr(pipeline, "ship", lambda *_: done.append(("ship", run)))
    monkeypatch.setattr(pipeline, "report", lambda *_, **__: done.append(("report", run)))
    return done


def test_trains_ships_reports(steps, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    pipeline.distill(recipes.Recipe(), lambda _: None)
    assert [name for name, _ in steps] == ["train", "ship", "report"]


def test_only_the_first_process_ships(steps, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    pipeline.distill(recipes.Recipe(), lambda _: None)
    assert [name for name, _ in steps] == ["train"]


def test_demo_asks_for_the_embedded_messages(steps, tmp_path):
    pipeline.demo("zh", tmp_path / "zh", seed=4, say=lambda _: None)
    recipe = steps[0][1]
    assert (recipe.data.source, recipe.data.language, recipe.seed) == ("helpdesk", "zh", 4)
    assert recipe.out == str(tmp_path / "zh")


def test_demo_refuses_a_language_it_lacks(steps):
    with pytest.raises(ConfigError, match="language is `de`; wanted en or zh"):
        pipeline.demo("de")
    assert steps == []


def test_ship_wants_a_run(tmp_path):
    with pytest.raises(ArtifactError, match=r"has no run\.json"):
        pipeline.ship(tmp_path, recipes.Recipe())
