"""Steps that the first of several processes takes for all."""

import pytest
from datasets import Dataset
from transformers import TrainingArguments

from tinybert.distill import processes, trainer


@pytest.fixture
def waits(monkeypatch):
    """Two processes of which this is the first; a list that grows whenever it waits."""
    seen = []

    class State:
        def __init__(self, **_):
            pass

        def wait_for_everyone(self):
            seen.append("wait")

    monkeypatch.setattr(processes, "PartialState", State)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    return seen


def test_all_enter_and_leave_together(waits):
    with processes.first_alone() as first:
        assert first
        waits.append("work")
    assert waits == ["wait", "work", "wait"]


def test_the_others_wait_likewise(waits, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with processes.first_alone() as first:
        assert not first
    assert waits == ["wait", "wait"]


def test_inside_of_lone_work_nobody_is_waited_for(waits):
    with processes.first_alone(), processes.first_alone() as first:
        assert first
    assert waits == ["wait", "wait"]


def test_work_that_fails_lets_the_others_go(waits):
    with pytest.raises(ValueError, match="broken"), processes.first_alone():
        raise ValueError("broken")
    assert waits == ["wait", "wait"]
    with processes.first_alone():
        pass
    assert len(waits) == 4


def test_a_process_of_its_own_waits_for_nobody(waits, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE")
    with processes.first_alone() as first:
        assert first
    assert not waits


def test_a_process_trains_on_one_device(tmp_path, monkeypatch):
    class OfThreeGpus(TrainingArguments):
        def __post_init__(self):
            super().__post_init__()
            self._n_gpu = 3

    given = OfThreeGpus(output_dir=str(tmp_path), per_device_train_batch_size=4)
    assert given.train_batch_size == 12
    monkeypatch.setattr(trainer, "TrainingArguments", OfThreeGpus)
    schedule = trainer.Schedule(1e-3, 4, warmup=0.0, seed=0, bf16=False, epochs=1)
    rows = Dataset.from_dict({"length": [1] * 8})
    found = trainer._arguments(tmp_path, rows, schedule, measured=False, keep_best=None)
    assert (found.n_gpu, found.train_batch_size) == (1, 4)
