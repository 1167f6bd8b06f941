"""A plan's results tell its command, what it tried, and what the chosen one is worth on test."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("bench")


def test_the_command_is_what_was_typed(asked):
    import plan

    line = "--sets banking77 --max-mb 4 --keep 0.98 --set layer_stage.epochs=2"
    arguments = asked(plan, f"--data DIR {line}")
    found = plan.command_line("banking77", arguments)
    assert found == (
        "python bench/plan.py --data DIR --sets banking77 --max-mb 4 --keep 0.98"
        " --set 'layer_stage.epochs=2'"
    )


def test_table_of_what_was_tried():
    import _results
    from _details import details

    def row(name, mb, quality, artifact, state):
        return {"set": "sst2", "name": name, "mb": mb, "ms": 0.25, "quality": quality} | {
            "artifact": artifact, "state": state
        }  # fmt: skip

    rows = [
        row("layers-1", 1.0, {"0.25": 0.8}, None, "stopped"),
        row("layers-2", 3.0, {"0.25": 0.85, "0.5": 0.875, "1": 0.9}, 0.899, "chosen"),
    ]
    content = {"command": "python bench/plan.py", "verdict": "chosen: layers-2", "rows": rows}
    content |= {"metric": "accuracy", "test": {"split": "test", "accuracy": 0.891}}
    content |= {"states": {"chosen": 1, "over": 7, "stopped": 1}}
    _results.RESULTS.mkdir()
    (_results.RESULTS / "plan-sst2.json").write_text(json.dumps(content))
    found = details()
    said = "`python bench/plan.py`: chosen: layers-2; 89.1 on test. Of all candidates: 1 chosen, "
    assert f"{said}7 over, 1 stopped." in found
    assert "| sst2 | MB | ms | Accuracy, dev ¼ | ½ | full | Artifact | State |" in found
    lines = [line for line in found.splitlines() if line.startswith("| layers-")]
    assert lines == [
        "| layers-2 | 3.00 | 0.25 | 85.0 | 87.5 | 90.0 | 89.9 | chosen |",
        "| layers-1 | 1.00 | 0.25 | 80.0 | – | – | – | stopped |",
    ]
