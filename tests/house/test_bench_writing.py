"""How the time of written texts is told, and the tables of what was written."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("bench")


def test_leads_are_medians_over_sentences(monkeypatch):
    import _turns
    import writing

    clock = [0.0]
    monkeypatch.setattr(_turns, "perf_counter", lambda: clock[0])
    takes = {"artifact": {"a": 0.001, "b": 0.002}, "student_torch": {"a": 0.004, "b": 0.016}}

    def answering(name):
        def answer(text):
            clock[0] += takes[name][text]

        return answer

    found = writing.spent({name: answering(name) for name in takes}, ["a", "b"])
    assert found == {"artifact_ms": 1.5, "student_torch_ms": 10.0, "faster_than_student_torch": 6.0}


def test_a_training_step_is_timed_both_ways(monkeypatch):
    import attention

    used = []

    def small(tokens):
        network, step = attention.encoder(tokens)
        return network, lambda: used.append(network.config._attn_implementation) or step()

    monkeypatch.setitem(attention.MODELS, "small", small)
    row = attention.measure("small", 4, rounds=1)
    assert used == ["eager", "sdpa"] * 2
    assert (row["model"], row["tokens"]) == ("small", 4)
    assert {"plain_ms", "fused_ms", "faster_than_fused"} < set(row)


def test_the_teacher_of_a_run_and_of_a_plan(tmp_path):
    import ratio

    (tmp_path / "run.json").write_text(json.dumps({"teacher": "runs/one/teacher"}))
    assert ratio.teacher_of(tmp_path) == "runs/one/teacher"
    (tmp_path / "plan.json").write_text(json.dumps({"teacher": {"folder": "runs/two", "dev": {}}}))
    assert ratio.teacher_of(tmp_path) == "runs/two"


def test_table_of_ratios():
    import _results
    from _details import details

    row = {"batch": 32, "artifact_per_s": 2000.0, "teacher_per_s": 100.0, "bert_base_per_s": 10.0}
    row |= {"faster_than_teacher": 20.0, "faster_than_bert_base": 200.0}
    _results.RESULTS.mkdir()
    content = json.dumps({"artifact_mb": 3.4, "rows": [row]})
    (_results.RESULTS / "ratio-banking77.json").write_text(content)
    assert "| banking77 | 3.4 MB | 32 | 2,000 | 100.0 (**20**) | 10.0 (**200**) |" in details()


def test_tables_of_what_was_written():
    import _results
    from _details import details

    rows = [
        {"set": "multi30k", "seed": 0, "system": system, "metric": "chrf", "mb": mb}
        | {"bleu": bleu, "chrf": 50.0 + bleu / 10, "rougeL": 30.0, "lost_numbers": 0.0}
        for system, mb, bleu in (
            ("teacher", 10.0, 40.0),
            ("student", 8.0, 39.0),
            ("int8", 2.0, 38.0),
        )
    ]
    _results.RESULTS.mkdir()
    (_results.RESULTS / "seq2seq-multi30k.json").write_text(json.dumps({"rows": rows}))
    same = {"texts": 1000, "metric": "chrf", "fp32": 54.0, "int8": 53.9, "alone_differs": 0}
    timed = {"beams": 4, "sentences": 24, "artifact_ms": 5.0}
    timed |= {f"{name}_torch_ms": 60.0 for name in ("student", "teacher")}
    timed |= {f"faster_than_{name}_torch": 12.0 for name in ("student", "teacher")}
    content = {"rows": [timed], "sameness": same | {"unlike_fp32": 90}}
    (_results.RESULTS / "writing-multi30k-0.json").write_text(json.dumps(content))
    text = details()
    assert "| multi30k | Student, int8 | 1 | **38.0** | 95.0 |" in text
    assert "| multi30k-0 | 4 | 5.0 | 60.0 (12.0) | 60.0 (12.0) |" in text
    assert "| multi30k-0 | 1,000 | chrf | 54.00 | 53.90 | 90 | 0 |" in text
