"""Every recipe parses, and the demonstration's is a shorter recipes/helpdesk.toml."""

import re
import tomllib
from pathlib import Path

import pytest

from tinybert.distill import general_recipe, seq2seq_recipe
from tinybert.distill import recipe as recipes

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "recipes").glob("*.toml"))


def test_there_are_recipes():
    assert {"helpdesk", "sst2", "general-4x312"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_recipe_parses_and_survives_saving(path, tmp_path):
    kinds = {"general": general_recipe, "translate": seq2seq_recipe, "summarize": seq2seq_recipe}
    load = kinds.get(path.stem.partition("-")[0], recipes).load
    recipe = load(path)
    recipes.save(recipe, tmp_path / "again.toml")
    assert load(tmp_path / "again.toml") == recipe


def test_demo_is_a_shorter_helpdesk_recipe():
    from tinybert.ship.pipeline import DEMO

    whole = recipes.load(ROOT / "recipes" / "helpdesk.toml")
    short = recipes.load(None, {**DEMO, "data.language": "en", "out": whole.out})
    assert short.teacher.model_copy(update={"epochs": whole.teacher.epochs}) == whole.teacher
    for section in ("student", "data", "ship"):
        assert getattr(short, section) == getattr(whole, section)
    for own, full in (
        (short.teacher, whole.teacher),
        (short.layer_stage, whole.layer_stage),
        (short.prediction_stage, whole.prediction_stage),
    ):
        assert own.epochs <= full.epochs
    assert short.augment.copies <= whole.augment.copies


def pins(name):
    """Return the packages that a requirements file, and those it includes, pin."""
    found = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if line.startswith("-r "):
            found |= pins(line.split()[1].removesuffix(".txt"))
        elif line and not line.startswith("#"):
            package, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()
            found[re.sub(r"[-_.]+", "-", package).lower()] = version
    return found


@pytest.mark.parametrize("name", ["base", "seq2seq", "train", "demo", "dev"])
def test_requirements_pin_what_the_extras_ask_for(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = project["dependencies"] if name == "base" else extras[name]
    pinned = pins(name)
    for requirement in asked:
        package = re.match(r"[\w-]+", requirement).group().lower()
        assert package == "tinybert" or package in pinned, requirement
    if name not in ("base", "seq2seq"):
        assert pinned["torch"] == "2.13.0"
