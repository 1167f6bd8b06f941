"""The benchmarks know what is done, and refuse what was made with other settings."""

import argparse
import json
import sys
from pathlib import Path

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
        **{"name": None, "layers": None, "seeds": [0, 1], "again": False, "set": []} | changes
    )


def test_students_in_the_results_are_not_made_again(quality, tmp_path):
    assert quality.missing("toy", tmp_path, asked()) == [(0, 2), (1, 3), (1, 2)]
    kept = json.loads(quality.row_path(tmp_path, "toy", 0, 3).read_text())
    assert kept["epochs"] == [4, 2]
    assert quality.missing("toy", tmp_path, asked(layers=[3], seeds=[0])) == []
    other = asked(layers=[3], seeds=[0], set=["layer_stage.attention=1"])
    (tmp_path / "other").mkdir()
    assert quality.missing("toy", tmp_path / "other", other) == [(0, 3)]
    everything = quality.missing("toy", tmp_path, asked(again=True))
    assert everything == [(0, 3), (0, 2), (1, 3), (1, 2)]


def test_a_row_of_other_settings_is_refused(quality, tmp_path):
    path = quality.row_path(tmp_path, "toy", 1, 2)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"seed": 1, "layers": 2, "epochs": [1, 1]}))
    with pytest.raises(SystemExit, match="was made with other settings; remove it"):
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
    _jobs.start(str(script), {"yes": 1, "work": "."}, tmp_path / "done", log, "a job")
    with pytest.raises(
        SystemExit, match=r"done was made with another yes; remove it and .*job\.job"
    ):
        _jobs.start(str(script), {"yes": 2}, tmp_path / "done", log, "a job")


@pytest.mark.usefixtures("bench")
def test_a_demonstration_is_timed_whole_and_by_stage(monkeypatch):
    import demo

    asked = []

    def tinybert(command, *, env, **_):
        out = Path(command[command.index("--out") + 1])
        asked.append((command[1:3], Path(env["TINYBERT_CACHE"]).parent == out.parent))
        out.mkdir()
        dev = {name: {"accuracy": share} for name, share in (("teacher", 0.75), ("student", 0.7))}
        about = {"stages": {"teach": 71.61, "layer": 5.0}, "dev": dev}
        (out / "run.json").write_text(json.dumps(about))

    monkeypatch.setattr(demo.subprocess, "run", tinybert)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--rounds", "2"])
    monkeypatch.setattr(demo, "write", lambda name, rows, *_, **__: asked.append((name, rows)))
    demo.main()
    assert asked[:2] == [(["demo", "--no-open"], True)] * 2
    name, rows = asked[2]
    assert (name, [row["round"] for row in rows]) == ("demo", [1, 2])
    assert rows[0]["seconds"] >= 0
    stages = {"teach_s": 71.6, "layer_s": 5.0, "dev_teacher": 0.75, "dev_student": 0.7}
    assert stages.items() <= rows[0].items()
