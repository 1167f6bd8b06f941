"""Students that write are measured beside their teacher and a student that learns alone."""

import json
from pathlib import Path

import pytest

from tinybert.artifact import Card, write_card
from tinybert.pairs import load_pairs, save_pairs

pytestmark = pytest.mark.usefixtures("bench")


def test_jobs(asked, tmp_path):
    import seq2seq

    arguments = asked(
        seq2seq,
        f"--data {tmp_path} --sets multi30k --seeds 0 1 --set training.epochs=2 --set seed=3",
    )
    with pytest.raises(SystemExit, match="multi30k needs --data DIR with a folder multi30k in it"):
        seq2seq.jobs("multi30k", arguments)
    (tmp_path / "multi30k").mkdir()
    jobs = seq2seq.jobs("multi30k", arguments)
    assert [(job["seed"], job["data"]) for job in jobs] == [
        (s, f"{tmp_path}/multi30k") for s in (0, 1)
    ]
    assert jobs[0]["settings"] == {"training.epochs": "2", "seed": "3"}
    assert len({job["run"] for job in jobs}) == 2
    first = seq2seq.without_jobs(jobs)[0]
    assert (first["run"], first["teacher"]) == (
        f"{jobs[0]['run']}-alone",
        f"{jobs[0]['run']}/teacher",
    )
    assert not seq2seq.without_jobs([job | {"set": "aeslc"} for job in jobs])
    both = seq2seq.without_jobs([jobs[0] | {"set": "3am"}])
    assert [job["called"] for job in both] == ["alone", "scratch"]
    assert seq2seq.jobs("helpdesk", asked(seq2seq, ""))[0]["data"] == ""
    (chinese,) = seq2seq.jobs("helpdesk-zh", asked(seq2seq, f"--work {tmp_path} --seeds 0"))
    assert chinese["bert"] == f"{tmp_path}/encoder-zh"


def test_a_chinese_teacher_begins_as_an_encoder(asked, tmp_path, monkeypatch):
    import seq2seq

    class Stopped(Exception):
        pass

    seen = {}

    def stop(recipe):
        seen["bert"], seen["epochs"] = recipe.teacher.bert, recipe.training.epochs
        raise Stopped

    monkeypatch.setattr("tinybert.ship.writing.seq2seq", stop)
    (job,) = seq2seq.jobs("helpdesk-zh", asked(seq2seq, f"--work {tmp_path} --seeds 0"))
    with pytest.raises(Stopped):
        seq2seq.run_job(**job)
    assert seen == {"bert": f"{tmp_path}/encoder-zh", "epochs": 8}
    (alone,) = seq2seq.without_jobs([job])
    pairs = load_pairs("helpdesk", task="summarization", language="zh")
    save_pairs(pairs, Path(job["run"]) / "data")
    (Path(job["run"]) / "run.json").write_text(json.dumps({"rows": 3 * len(pairs.train)}))
    with pytest.raises(Stopped):
        seq2seq.run_job(**alone)
    assert seen == {"bert": None, "epochs": 4 * 8}
    with pytest.raises(SystemExit, match="helpdesk-zh needs --data DIR with"):
        seq2seq.quality.make_encoder("helpdesk-zh", tmp_path, asked(seq2seq, ""))


def test_rows_are_written_before_the_students_that_learn_alone(asked, tmp_path, monkeypatch):
    import seq2seq

    started, written = [], []

    def start(job):
        started.append("called" in job)
        seq2seq.row_path(job).write_text('[{"system": "student"}]')

    given = asked(seq2seq, f"--work {tmp_path} --seeds 0 1")
    monkeypatch.setattr(seq2seq, "parse", lambda: given)
    monkeypatch.setattr(seq2seq, "start_job", start)
    monkeypatch.setattr("_results.write", lambda _, rows, *__, **___: written.append(len(rows)))
    seq2seq.main()
    assert started == [False, False, True, True]
    assert written == [2, 4]


def test_rows_of_a_report(tmp_path):
    import seq2seq

    systems = [
        {"system": name, "file_mb": mb, "quality": {"chrf": 50.0}, "name": name}
        for name, mb in (("teacher", 1.0), ("student", 1.0), ("artifact", 1.0), ("source", None))
    ]
    report = {"metric": "chrf", "signatures": {}, "systems": systems}
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "artifact").mkdir()
    parity = {"torch": 61.0, "artifact": 60.5}
    write_card(tmp_path / "artifact", Card("translation", (), False, 16, parity=parity))
    job = {"set": "multi30k", "seed": 3, "settings": {}}
    rows = seq2seq.measured(tmp_path, job)
    assert [row["system"] for row in rows] == ["teacher", "student", "int8", "source"]
    assert [row["mb"] for row in rows] == [1.0, 1.0, 1.0, 0.0]
    assert [row["dev"] for row in rows] == [None, 61.0, 60.5, None]
    assert rows[0]["chrf"] == 50.0
    (alone,) = seq2seq.measured(tmp_path, job, only="student", called="alone")
    assert (alone["system"], alone["seed"]) == ("alone", 3)
