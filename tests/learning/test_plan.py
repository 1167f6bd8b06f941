"""Whole plans on a tiny teacher: limits, halving, time, resuming, and what is written."""

import json
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from typer.testing import CliRunner

import tinybert
import trainings
from tinybert.artifact import read_card
from tinybert.cli import app
from tinybert.distill import recipe as recipes
from tinybert.errors import ArtifactError, ConfigError, MissingExtraError
from tinybert.ship import costs, plan_page, planner, runs

PLAIN = {"student.embedding": [None], "pruning.intermediate": [None], "ship.trim": [False]}
SPACE = PLAIN | {"student.layers": [1, 3], "student.hidden": [16, 32]}
WIDE = SPACE | {"student.hidden": [32]}

LIMIT = {"ship.max_flips": 0.2, "ship.max_drop": 0.2}


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """Latency by the number of layers, so that no processes start and every run has the same."""
    quicken(monkeypatch, exported="exported" in request.fixturenames)


def quicken(patch, *, exported=False):
    def by_layers(artifact, *_):
        about = json.loads((Path(artifact) / "config.json").read_text())
        return about["num_hidden_layers"] * about["hidden_size"] / 100

    patch.setattr(costs, "undisturbed_ms", by_layers)
    if not exported:
        patch.setattr(costs, "write_artifact", trainings.copied)
        patch.setattr(runs, "ship", trainings.shipped)


@pytest.fixture
def exported():
    """Export, quantize and compare for once; other tests copy the student instead."""


@pytest.fixture
def asked(taught, tmp_path):
    """Overrides of a recipe for a plan in tmp_path."""
    return taught | LIMIT | {"out": str(tmp_path / "plan")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, taught_in):
    """Overrides of plans that ended, by the limit in ``max_mb`` or in ``max_ms``."""
    found = {}
    for limit, value, space in (("max_mb", 9, WIDE), ("max_ms", 0.6, SPACE)):
        place = tmp_path_factory.mktemp(limit)
        found[limit] = taught_in(place) | LIMIT | {"out": str(place / "plan")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TINYBERT_CACHE", str(place / "cache"))
            quicken(patch)
            planned(found[limit], space=space, **{limit: value})
    return found


def planned(asked, said=None, space=SPACE, **limits):
    say = (lambda _: None) if said is None else said.append
    return planner.plan(recipes.load(None, asked), space=space, say=say, **limits)


def read(folder):
    return json.loads((folder / "plan.json").read_text())


def by_name(folder):
    return {one["name"]: one for one in read(folder)["candidates"]}


def test_the_best_that_fits_is_chosen_and_made_again_by_its_recipe(whole):
    folder = Path(whole["max_ms"]["out"])
    about, found = read(folder), by_name(folder)
    assert len(found) == 4
    over = found["layers-3_hidden-32"]
    assert (over["state"], over["why"], over["quality"]) == ("over", "max_ms", {})
    assert {one["state"] for one in found.values()} <= {"over", "chosen", "trained", "stopped"}
    best = found[about["chosen"]]
    assert best["quality"].keys() == {"0.25", "0.5", "1"}
    assert best["artifact"] == max(one["artifact"] or 0 for one in found.values())
    assert best["ms"] <= 0.6
    assert about["teacher"]["dev"]["accuracy"] > 0.8
    assert best["artifact"] > 0.6
    artifact = folder / "artifact"
    size = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
    assert best["mb"] == pytest.approx(size / 1e6, abs=0.002)
    again = recipes.load(folder / "recipe.toml")
    assert again.student.layers == best["settings"]["student.layers"]
    assert again.student.hidden == best["settings"]["student.hidden"]
    assert (again.layer_stage.epochs, again.prediction_stage.epochs) == (2, 4)
    page = (folder / "plan.html").read_text()
    assert page.count("<svg") == 2
    assert all(name in page for name in found)


def test_other_values_leave_what_was_found_out(asked):
    planned(asked, space=WIDE, max_mb=9, minutes=1e-6)
    folder = Path(asked["out"])
    before = by_name(folder)["layers-3_hidden-32"]
    planned(asked, space=WIDE | {"student.layers": [2]}, max_mb=9, minutes=1e-6)
    about = read(folder)
    assert [one["name"] for one in about["candidates"]] == ["layers-2_hidden-32"]
    assert {one["name"] for one in about["others"]} == {"layers-1_hidden-32", "layers-3_hidden-32"}
    assert about["chosen"] == "layers-2_hidden-32"
    planned(asked, space=WIDE, max_mb=9, minutes=1e-6)
    assert by_name(folder)["layers-3_hidden-32"]["quality"] == before["quality"] != {}
    assert [one["name"] for one in read(folder)["others"]] == ["layers-2_hidden-32"]


def test_a_plan_that_finds_none_shows_how_near_each_came(asked):
    recipe = Path(asked["out"]).with_name("asked.toml")
    recipes.save(recipes.load(None, asked), recipe)
    line = f"plan --recipe {recipe} --max-mb 0.01 --try student.layers=[1] --try ship.trim=false"
    found = CliRunner().invoke(app, [*line.split(), "--try", "student.hidden=[16,32]"])
    assert found.exit_code == 2
    assert "layers-1_hidden-16" in found.stdout
    assert "over: max_mb" in found.stdout


@pytest.mark.usefixtures("exported")
def test_trimming_is_a_choice_of_its_own_and_trains_nothing_twice(asked, tmp_path, monkeypatch):
    teacher = tmp_path / "specials"
    shutil.copytree(asked["teacher.model"], teacher)
    spec = json.loads((teacher / "tokenizer.json").read_text())
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    spec["added_tokens"] = [
        {"id": i, "content": name, "special": True} | usual for i, name in enumerate(names)
    ]
    (teacher / "tokenizer.json").write_text(json.dumps(spec))
    asked = asked | {"teacher.model": str(teacher)}
    trained = []
    distill = runs.task.distill
    monkeypatch.setattr(
        runs.task, "distill", lambda recipe, say: trained.append(recipe.out) or distill(recipe, say)
    )
    sizes = {"student.layers": [1], "student.hidden": [32]}
    space = PLAIN | sizes | {"ship.trim": [False, True]}
    folder = planned(asked, space=space, max_mb=9)
    found = by_name(folder)
    assert len(trained) == len(set(trained)) == 3
    whole, cut = found["layers-1_hidden-32"], found["layers-1_hidden-32_trim"]
    assert cut["mb"] < whole["mb"] + 0.01
    assert cut["quality"].keys() == whole["quality"].keys()
    assert cut["ms"] == whole["ms"]
    artifact = folder / "artifact"
    assert read_card(artifact).parity["passed"]
    assert tinybert.load(artifact)(["a great film"])[0].label in ("bad", "good", "odd")
    for one in (whole, cut):
        card = read_card(folder / "artifacts" / one["name"])
        assert one["artifact"] == card.parity["artifact"]


def test_other_settings_of_shipping_ship_again_and_train_nothing(asked, monkeypatch):
    sizes = {"student.layers": [1], "student.hidden": [16]}
    planned(asked, space=PLAIN | sizes, max_mb=9)
    shipped, trained = [], []
    ship, distill = runs.ship, runs.task.distill
    monkeypatch.setattr(runs, "ship", lambda *given: shipped.append(given) or ship(*given))
    monkeypatch.setattr(
        runs.task, "distill", lambda recipe, say: trained.append(recipe.out) or distill(recipe, say)
    )
    planned(asked, space=PLAIN | sizes, max_mb=9)
    assert not shipped
    other = asked | {"ship.max_drop": 0.5}
    folder = planned(other, space=PLAIN | sizes, max_mb=9)
    assert len(shipped) == 1
    assert len(trained) <= 1
    assert read(folder)["ship"]["max_drop"] == 0.5
    assert recipes.load(folder / "recipe.toml").ship.max_drop == 0.5
    planned(other, space=PLAIN | sizes, max_mb=9)
    assert len(shipped) == 1


def test_the_smallest_that_keeps_enough_is_chosen(asked):
    said = []
    folder = planned(asked, said, keep=0.5)
    found = by_name(folder)
    chosen = found[read(folder)["chosen"]]
    top = read(folder)["teacher"]["dev"]["accuracy"]
    assert chosen["artifact"] >= 0.5 * top
    smaller = [one for one in found.values() if one["mb"] < chosen["mb"]]
    assert all(one["state"] in ("short", "stopped") for one in smaller)
    assert any(one["state"] == "larger" and not one["quality"] for one in found.values())
    assert said[-1].startswith(f"chosen: {chosen['name']}")


def test_nothing_keeps_enough(asked, monkeypatch):
    monkeypatch.setattr(runs.Runs, "_quality", lambda *_: 0.4)
    space = SPACE | {"student.layers": [1], "student.hidden": [16]}
    with pytest.raises(
        ConfigError, match=r"no candidate that fits keeps 100 % of the teacher's"
    ) as e:
        planned(
            asked | {"layer_stage.epochs": 0.2, "prediction_stage.epochs": 0.2}, space=space, keep=1
        )
    assert "layers-1_hidden-16 with" in str(e.value)
    assert "give --keep " in str(e.value)
    assert read(Path(asked["out"]))["chosen"] is None


def test_nothing_fits_and_nothing_trains(asked):
    with pytest.raises(ConfigError) as raised:
        planned(asked, max_mb=0.01, max_ms=0.2)
    message = str(raised.value)
    assert message.startswith("of 4 candidates 4 are over 0.01 MB and ")
    assert "3 are over 0.2 ms; the smallest, layers-1_hidden-16, has" in message
    assert "raise --max-ms" not in message
    folder = Path(asked["out"])
    assert {one["state"] for one in read(folder)["candidates"]} == {"over"}
    assert not (folder / "runs").exists()
    assert (folder / "plan.html").is_file()
    least = min(read(folder)["candidates"], key=lambda one: one["mb"])
    assert least["measured"]
    raised_to = float(message.split("raise --max-mb to ")[1].split(",")[0])
    assert least["mb"] <= raised_to < 1.2 * least["mb"]


def test_estimates_are_near_what_is_measured(asked, tmp_path):
    with pytest.raises(ConfigError):
        planned(asked, max_mb=0.01)
    guessed = by_name(Path(asked["out"]))
    planned(asked | {"out": str(tmp_path / "other")}, max_mb=9, minutes=1e-6)
    assert sum(one["measured"] for one in guessed.values()) == 1
    from tinybert.ship.candidates import Candidate

    recipe = recipes.load(None, asked | {"out": str(tmp_path / "other")})
    ready = runs.prepare(recipe, tmp_path / "other", lambda _: None)
    made, sizes = planner.candidates(recipe, ready.teacher, SPACE)
    scale = costs.Costs(recipe, ready.shared, ready.source, ready.teacher, ready.data, sizes)
    for one in made:
        assert isinstance(one, Candidate)
        scale.measure(one, made)
        assert guessed[one.name]["mb"] == pytest.approx(one.mb, rel=0.35)


def test_time_ends_and_the_same_command_goes_on(asked):
    said = []
    folder = planned(asked, said, WIDE, max_mb=9, minutes=1e-6)
    about = read(folder)
    first = by_name(folder)[about["chosen"]]
    assert (first["shipped"], list(first["quality"])) == ("0.25", ["0.25"])
    assert "after a quarter of the epochs; time ended" in about["verdict"]
    assert "the same command goes on" in said[-1]
    part = folder / "runs" / about["chosen"] / "epochs-0.25"
    assert recipes.load(part / "recipe.toml").ship.quantization == "never"
    assert not (part / "stages").exists()
    assert recipes.load(folder / "recipe.toml").prediction_stage.epochs == 1
    planned(asked, space=WIDE, max_mb=9)
    about = read(folder)
    assert by_name(folder)[about["chosen"]]["shipped"] == "1"
    run = folder / "runs" / about["chosen"] / "epochs-1"
    assert recipes.load(run / "recipe.toml").ship.quantization == "needed"
    assert (run / "stages" / "prediction").is_dir()
    assert recipes.load(folder / "recipe.toml").prediction_stage.epochs == 4
    assert "time ended" not in about["verdict"]


def test_a_killed_plan_ends_as_a_whole_one(asked, whole, kill_at_checkpoint):
    killed = Path(asked["out"])
    largest = killed / "runs" / "layers-3_hidden-32"
    stage = largest / "epochs-1" / "stages" / "prediction"
    kill_at_checkpoint(trainings.planned, asked | {"limits": {"max_mb": 9}, "space": WIDE}, stage)
    before = by_name(killed)["layers-3_hidden-32"]["quality"]
    assert before.keys() == {"0.25", "0.5"}
    planned(asked, space=WIDE, max_mb=9)
    a, b = by_name(Path(whole["max_mb"]["out"])), by_name(killed)
    assert {n: (c["state"], c["quality"]) for n, c in a.items()} == {
        n: (c["state"], c["quality"]) for n, c in b.items()
    }


def test_a_finished_plan_trains_nothing_again(whole, monkeypatch):
    folder = Path(whole["max_mb"]["out"])
    before = read(folder)
    monkeypatch.setattr(runs.task, "distill", lambda *_: pytest.fail("trained again"))
    planned(whole["max_mb"], space=WIDE, max_mb=9)
    assert read(folder)["chosen"] == before["chosen"]
    assert {n: c["state"] for n, c in by_name(folder).items()} == {
        c["name"]: c["state"] for c in before["candidates"]
    }


def test_a_refused_artifact_is_not_chosen(asked, monkeypatch):
    ship = runs.ship

    def refuse(run, recipe, say):
        if recipe.student.layers == 3:
            raise ArtifactError("labels flip")
        return ship(run, recipe, say)

    monkeypatch.setattr(runs, "ship", refuse)
    folder = planned(asked, space=WIDE, max_mb=9)
    found = by_name(folder)
    refused = found["layers-3_hidden-32"]
    assert (refused["state"], refused["why"]) == ("refused", "labels flip")
    assert found[read(folder)["chosen"]]["settings"]["student.layers"] == 1


def test_another_recipe_in_the_same_folder_is_refused(asked):
    planned(asked, max_mb=9, minutes=1e-6)
    with pytest.raises(ConfigError, match=r"other settings \(max_length\)"):
        planned(asked | {"max_length": 24}, max_mb=9)


@pytest.mark.parametrize(
    ("limits", "changes", "space", "message"),
    [
        ({}, {}, {}, "a plan wants a limit: --max-mb, --max-ms or --keep"),
        ({"max_mb": 0, "keep": 1.5}, {}, {}, "--max-mb is 0; wanted a number above 0; --keep is 1.5"),
        ({"max_mb": 4, "minutes": -1}, {}, {}, "--minutes is -1; wanted a number above 0"),
        ({"max_mb": 4}, {"student.base": "x"}, {}, "student.base is x: its sizes are fixed"),
        ({"max_mb": 4}, {}, {"student.layers": []}, "--try student.layers has no values"),
        ({"max_mb": 4}, {}, {"teacher.epochs": [1]}, "--try teacher.epochs is no setting of a student"),
        ({"max_mb": 4}, {}, {"student.vocabulary": [99]}, "--try student.vocabulary cannot be planned"),
        ({"max_mb": 4}, {}, {"student.hiden": [8]}, "unknown setting `student.hiden`; did you mean `hidden`?"),
        ({"max_mb": 4}, {}, {"student.hidden": [7]}, "hidden 7 is not a multiple of heads 4"),
    ],
)  # fmt: skip
def test_wrong_settings(asked, limits, changes, space, message):
    with pytest.raises(ConfigError) as raised:
        planned(asked | changes, space=space, **limits)
    assert message in str(raised.value)
    assert "hidden 7" in message or not Path(asked["out"]).exists()


def test_the_table_is_printed(whole, capsys):
    folder = Path(whole["max_ms"]["out"])
    plan_page.print_plan(folder)
    printed = capsys.readouterr().out
    assert read(folder)["chosen"] in printed
    assert "1 candidates more were over a limit" in printed


def test_optuna_is_asked_for_before_anything_runs(asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in ("study", "search"):
        monkeypatch.delitem(sys.modules, f"tinybert.ship.{name}", raising=False)
    with pytest.raises(MissingExtraError, match=r"package optuna.*pip install 'tinybert\[plan\]'"):
        planned(asked, max_mb=4)
    assert not Path(asked["out"]).exists()


def test_the_recipe_is_toml(whole):
    text = (Path(whole["max_mb"]["out"]) / "recipe.toml").read_text()
    assert tomllib.loads(text)["out"].endswith("again")
