"""The benchmarks know what is done, and refuse what was made with other settings."""

import argparse
import json

import pytest


@pytest.fixture
def quality(bench, monkeypatch, tmp_path):  # noqa: ARG001
    import _sets
    import quality

    monkeypatch.setitem(quality.SETS, "toy", _sets.Set({3: (4, 2), 2: (5, 3)}))
    (tmp_path / "results").mkdir()
    rows = [
        {"seed": 0, "layers": 3, "epochs": [4, 2]},
        {"seed": 0, "layers": 2, "epochs": [1, 1]},
    ]
    (tmp_path / "results" / "quality-toy.json").write_text(json.dumps({"rows": rows}))
    return quality


def asked(**changes):
    return argparse.Namespace(
        **{"name": None, "layers": None, "seeds": [0, 1], "again": False} | changes
    )


def test_students_in_the_results_are_not_made_again(quality, tmp_path):
    assert quality.missing("toy", tmp_path, asked()) == [(0, 2), (1, 3), (1, 2)]
    kept = json.loads(quality.row_path(tmp_path, "toy", 0, 3).read_text())
    assert kept["epochs"] == [4, 2]
    assert quality.missing("toy", tmp_path, asked(layers=[3], seeds=[0])) == []
    everything = quality.missing("toy", tmp_path, asked(again=True))
    assert everything == [(0, 3), (0, 2), (1, 3), (1, 2)]


def test_a_row_of_other_settings_is_refused(quality, tmp_path):
    path = quality.row_path(tmp_path, "toy", 1, 2)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"seed": 1, "layers": 2, "epochs": [1, 1]}))
    with pytest.raises(SystemExit, match="was made with other epochs; remove it"):
        quality.missing("toy", tmp_path, asked())


@pytest.mark.usefixtures("quality")
def test_jobs_say_where_their_log_is(tmp_path):
    import _jobs

    script = tmp_path / "job.py"
    script.write_text("import sys; print(sys.argv[2]); sys.exit('no' in sys.argv[2])\n")
    log = tmp_path / "logs" / "job.log"
    _jobs.start(str(script), {"yes": 1}, tmp_path / "done", log, "a job")
    assert json.loads(log.read_text()) == {"yes": 1}
    with pytest.raises(SystemExit, match=r"job\.log tells why this failed: a job"):
        _jobs.start(str(script), {"no": 1}, tmp_path / "done", log, "a job")
    (tmp_path / "done").touch()
    _jobs.start(str(script), {"no": 1}, tmp_path / "done", log, "a job")
