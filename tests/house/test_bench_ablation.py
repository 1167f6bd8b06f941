"""An ablation changes one thing at a time and loses no student that was made."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("bench")


def test_each_variant_changes_one_thing(asked, tmp_path):
    import ablation
    import quality

    found = ablation.variants("mrpc", 3)
    assert "no-augmentation" not in ablation.variants("banking77", 3)
    assert ablation.variants("helpdesk", 3)["no-augmentation"] == {
        "augment.source": "none",
        "augment.pairs": 0,
    }
    assert found["first-layers"] == {"student.mapping": [1, 2, 3]}
    for settings in found.values():
        quality.load_recipe("mrpc", {"student.layers": 3, **settings})
    arguments = asked(ablation, "--sets mrpc --seeds 0 1 --variants whole last-layers")
    wanted = ablation.chosen("mrpc", 3, arguments)
    assert list(wanted) == ["whole", "last-layers"]
    own = ablation.variant_arguments("mrpc", "last-layers", wanted["last-layers"], 3, arguments)
    assert quality.given(own) == {"student.mapping": '"last"', "ship.baselines": "false"}
    assert quality.missing("mrpc", tmp_path, own) == [(0, 3), (1, 3)]
    arguments.variants = ["lasst"]
    with pytest.raises(SystemExit, match="mrpc has no variant lasst; it has whole, no-layer"):
        ablation.chosen("mrpc", 3, arguments)


def test_it_goes_on_from_its_results(asked, tmp_path):
    import ablation
    import quality

    arguments = asked(ablation, "--sets mrpc --seeds 0 1 --layers 3")
    wanted = {"random-start": {"student.start": "random"}}
    row = {"variant": "random-start", "seed": 0, "layers": 3, "epochs": quality.epochs("mrpc", 3)}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "ablation-mrpc.json").write_text(json.dumps({"rows": [row]}))
    ablation.restore("mrpc", tmp_path, wanted | {"whole": {}})
    assert not list(tmp_path.rglob("seed-*.json"))
    ablation.restore("mrpc", tmp_path, wanted)
    (tmp_path / "mrpc").mkdir()
    ablation.write_results("mrpc", str(tmp_path / "mrpc"), 3, tmp_path, wanted, arguments)
    content = json.loads((tmp_path / "results" / "ablation-mrpc.json").read_text())
    assert content["rows"] == [row]
