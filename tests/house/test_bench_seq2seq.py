"""Students that write are measured beside their teacher and a student that learns alone."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("bench")


def test_jobs(asked, tmp_path):
    import seq2seq

    arguments = asked(
        seq2seq, f"--data {tmp_path} --sets multi30k --seeds 0 1 --set training.epochs=2"
    )
    with pytest.raises(SystemExit, match="multi30k needs --data DIR with a folder multi30k in it"):
        seq2seq.jobs("multi30k", arguments)
    (tmp_path / "multi30k").mkdir()
    jobs = seq2seq.jobs("multi30k", arguments)
    assert [(job["seed"], job["data"]) for job in jobs] == [
        (s, f"{tmp_path}/multi30k") for s in (0, 1)
    ]
    assert jobs[0]["settings"] == {"training.epochs": "2"}
    assert len({job["run"] for job in jobs}) == 2
    assert seq2seq.jobs("helpdesk", asked(seq2seq, ""))[0]["data"] == ""


def test_beginnings_as_summaries(tmp_path):
    import seq2seq
    from tinybert.pairs import load_pairs, save_pairs

    rows = "\n".join(f"Call me now. It is about order {i}.\tcall me now" for i in range(40))
    (tmp_path / "pairs.tsv").write_text(f"source\ttarget\n{rows}\n")
    data = load_pairs(tmp_path / "pairs.tsv", task="summarization")
    save_pairs(data, tmp_path / "run" / "data")
    about = {"set": "aeslc", "seed": 0, "settings": {}, "metric": "rougeL", "signatures": {}}
    first, eight = seq2seq.leads(tmp_path / "run", about | {"system": "teacher"})
    assert (first["system"], first["rougeL"]) == ("first sentence", 100.0)
    assert (eight["system"], round(eight["rougeL"], 1)) == ("first 8 words", 54.5)
    chinese = "我在科伦坡的姨妈太客气，不肯说，可视频时我看到了。我寄的相框到手时玻璃就碎了，她套了个塑料袋。"
    assert seq2seq.beginning(chinese) == "我在科伦坡的姨妈太客气，不肯说，"


def test_rows_of_a_report(tmp_path):
    import seq2seq

    systems = [
        {"system": name, "file_mb": 1.0, "quality": {"chrf": 50.0}, "name": name}
        for name in ("teacher", "student", "artifact")
    ]
    report = {"metric": "chrf", "signatures": {}, "systems": systems}
    (tmp_path / "report.json").write_text(json.dumps(report))
    job = {"set": "multi30k", "seed": 3, "settings": {}}
    rows = seq2seq.measured(tmp_path, job)
    assert [row["system"] for row in rows] == ["teacher", "student", "int8"]
    assert rows[0]["chrf"] == 50.0
    (alone,) = seq2seq.measured(tmp_path, job, only="student", called="alone")
    assert (alone["system"], alone["seed"]) == ("alone", 3)
