"""Students with and without general distillation differ in nothing else."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("bench")


def test_students_differ_in_start_and_base_alone(asked, tmp_path):
    import general
    import quality

    arguments = asked(general, f"--text t.txt --sets mrpc --seeds 0 1 --work {tmp_path}")
    jobs = general.encoder_jobs(tmp_path, arguments)
    assert len({job["out"] for job in jobs.values()}) == len(jobs) == 4
    assert {job["steps"] for job in jobs.values()} == {1200}
    titles = set()
    for (shape, start), job in jobs.items():
        for base in (None, Path(job["out"])):
            own = general.student_arguments("mrpc", shape, start, base, arguments)
            titles.add(own.name)
            settings = {key: json.loads(value) for key, value in quality.given(own).items()}
            quality.load_recipe("mrpc", {"student.layers": own.layers[0], **settings})
            if base:
                assert settings == {"student.base": job["out"], "ship.baselines": False}
            else:
                assert settings["student.start"] == start
            assert quality.missing("mrpc", tmp_path, own) == [
                (0, own.layers[0]),
                (1, own.layers[0]),
            ]
    assert len(titles) == 8


def test_rows_say_what_came_before_and_name_no_folder(asked, tmp_path):
    import general
    import quality

    line = f"--text {tmp_path}/t.txt --sets helpdesk --seeds 0 --shapes 2-layers --starts random"
    arguments = asked(general, f"{line} --steps 7 --work {tmp_path}")
    (tmp_path / "t.txt").write_text("text\n")
    encoders = general.encoder_jobs(tmp_path, arguments)
    (job,) = encoders.values()
    out = Path(job["out"])
    out.mkdir()
    (out / "general.json").write_text(json.dumps({"steps": 7, "tokens": 900}))
    for base, value in ((None, 0.5), (out, 0.6)):
        path = quality.row_path(
            tmp_path, general.title("helpdesk", "2-layers", "random", base), 0, 2
        )
        path.parent.mkdir()
        settings = {"student.base": f'"{out}"'} if base else {"student.start": '"random"'}
        row = {"set": "helpdesk", "seed": 0, "layers": 2, "dev_student": value}
        path.write_text(json.dumps(row | {"settings": settings}))
    general.write_results("helpdesk", "", encoders, tmp_path, arguments)
    content = json.loads((tmp_path / "results" / "general-helpdesk.json").read_text())
    assert str(tmp_path) not in json.dumps(content)
    assert "--steps 7" in content["command"]
    plain, taught = content["rows"]
    assert (plain["general_steps"], plain["dev_student"]) == (0, 0.5)
    assert (taught["general_tokens"], taught["dev_student"]) == (900, 0.6)


def test_text_is_wanted(asked, capsys):
    import general

    with pytest.raises(SystemExit):
        asked(general, "--sets helpdesk")
    assert "or --text FILE" in capsys.readouterr().err
