"""A stage of training: its checkpoints, and what it says where there is no terminal."""

import json
import re
import signal

import pytest
import torch
from datasets import Dataset
from safetensors.torch import save_file

from tinybert.distill import checkpoints, trainer
from tinybert.distill.average import take_average
from tinybert.distill.trainer import Schedule


class Line(torch.nn.Module):
    """Learns one weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        x = torch.nn.functional.dropout(x, 0.5, self.training)
        loss = ((self.weight - 1 + x) ** 2).mean()
        return {"loss": loss, "parts": {"line": loss.detach()}}


def train(folder, scores, average=1, *, patience=None, value=0.0, seen=lambda: None):
    """Train on three batches an epoch, so many epochs as there are scores or measurements."""
    found = (row if isinstance(row, dict) else {"score": float(row)} for row in scores)

    def collate(rows):
        seen()
        return {"x": torch.tensor([row["x"] for row in rows])}

    return trainer.run_stage(
        folder,
        Line(),
        Dataset.from_dict({"x": [value] * 12, "length": [1] * 12}),
        collate,
        Schedule(epochs=len(scores), learning_rate=1e-2, batch_size=4, warmup=0.0, seed=0,
                 bf16=False, average=average, patience=patience),
        evaluate=lambda: next(found),
        keep_best="score",
    )  # fmt: skip


class Pressed:
    """Presses Ctrl-C where batches are made: where the calls reach a number that is given."""

    def __init__(self, *counts):
        self.counts, self.calls = list(counts), 0

    def __call__(self):
        self.calls += 1
        for _ in range(self.counts.count(self.calls)):
            signal.raise_signal(signal.SIGINT)


class PressedThen(float):
    """A score in whose measurement Ctrl-C is pressed."""

    def __float__(self):
        signal.raise_signal(signal.SIGINT)
        return super().__float__()


def test_beta2_reaches_the_optimizer(tmp_path, monkeypatch):
    seen = []

    class Watched(trainer._Trainer):
        def train(self, **given):
            found = super().train(**given)
            seen.extend(group["betas"] for group in self.optimizer.param_groups)
            return found

    monkeypatch.setattr(trainer, "_Trainer", Watched)
    rows = Dataset.from_dict({"x": [0.0] * 4, "length": [1] * 4})
    pace = {"learning_rate": 1e-2, "batch_size": 4, "warmup": 0.0, "seed": 0, "bf16": False}
    for more in ({}, {"beta2": 0.9}):
        schedule = Schedule(epochs=1, **pace, **more)
        collate = lambda rows: {"x": torch.tensor([row["x"] for row in rows])}  # noqa: E731
        trainer.run_stage(tmp_path / str(len(more)), Line(), rows, collate, schedule)
    assert {*seen} == {(0.9, 0.999), (0.9, 0.9)}


def names(folder):
    return sorted(path.name for path in folder.glob("checkpoint-*"))


def test_an_interrupted_stage_loses_nothing(tmp_path, capsys):
    whole = train(tmp_path / "whole", [0.1, 0.2, 0.3, 0.4], value=1.0).weight.item()
    place, handler = tmp_path / "stage", signal.getsignal(signal.SIGINT)
    scores = [0.1, 0.2, 0.3, 0.4]
    with pytest.raises(KeyboardInterrupt):
        train(place, scores, value=1.0, seen=Pressed(5))
    assert signal.getsignal(signal.SIGINT) is handler
    assert "writing a checkpoint" in capsys.readouterr().err
    (newest,) = set(names(place)) - {"checkpoint-3"}
    step = int(newest.split("-")[1])
    assert step % 3
    again = Pressed()
    assert train(place, [*scores[1:], 0.0], value=1.0, seen=again).weight.item() == whole
    assert 12 - step <= again.calls < 12


def test_an_interruption_in_the_last_step_loses_nothing(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", [0.1, 0.2], value=1.0).weight.item()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train("stage", [0.1, PressedThen(0.2)], value=1.0)
    assert names(tmp_path / "stage") == ["checkpoint-6"]
    again = Pressed()
    assert train(tmp_path / "stage", [0.0, 0.0], value=1.0, seen=again).weight.item() == whole
    assert not again.calls


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal; what a shell starts in the background is born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_ends_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stage", [0.1, 0.2], seen=Pressed(5, 5))
    assert names(tmp_path / "stage") == ["checkpoint-3"]


def test_long_epochs_are_saved_between(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_PAUSE", -1.0)
    monkeypatch.setattr(trainer, "take_average", lambda *_: False)
    kept = []
    scores = [0.9, 0.1, 0.2, 0.3]
    train(
        tmp_path / "stage", scores, average=2, seen=lambda: kept.append(names(tmp_path / "stage"))
    )
    assert ["checkpoint-3", "checkpoint-4"] in kept
    assert ["checkpoint-10", "checkpoint-3", "checkpoint-6", "checkpoint-9"] in kept


def test_the_last_checkpoints_are_averaged_wherever_the_best_one_was(tmp_path, monkeypatch):
    averaged = []
    monkeypatch.setattr(trainer, "take_average", lambda _, last, *__: averaged.extend(last))
    train(tmp_path / "stage", [0.9, 0.1, 0.2, 0.3, 0.4, 0.5], average=3)
    assert [place.name for place in averaged] == [f"checkpoint-{3 * n}" for n in (4, 5, 6)]


def test_patience_ends_a_stage_that_gets_no_better(tmp_path, capsys):
    train(tmp_path / "stage", [0.1, 0.3, 0.2, 0.3, 0.9], patience=2)
    assert "step 12/15" in capsys.readouterr().out.splitlines()[-1]


def test_patience_waits_until_answers_differ(tmp_path, capsys):
    alike = [{"score": score, "distinct": 0.1} for score in (0.4, 0.1, 0.2, 0.1)]
    apart = [{"score": score, "distinct": 0.9} for score in (0.2, 0.9, 0.8, 0.8, 0.1)]
    train(tmp_path / "stage", alike + apart, patience=2)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 8
    assert told[-1].startswith("  step 24/27: dev score 0.8000, distinct 0.9000;")


def test_patience_outlives_an_interruption(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stage", [0.9, 0.1, 0.2, 0.3], patience=2, seen=Pressed(8))
    train(tmp_path / "stage", [0.2, 0.3, 0.4, 0.5], patience=2)
    assert "step 9/12" in capsys.readouterr().out.splitlines()[-1]


def test_what_had_ended_is_not_trained_on(tmp_path, monkeypatch):
    averaged = []

    def average(_, last, *__):
        averaged.append([place.name for place in last])
        if len(averaged) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "take_average", average)
    scores = [0.1, 0.3, 0.2, 0.3, 0.9, 0.9]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stage", scores, patience=2, average=3)
    train(tmp_path / "stage", scores, patience=2, average=3)
    assert averaged == [[f"checkpoint-{n}" for n in (6, 9, 12)]] * 2
    history = json.loads((tmp_path / "stage" / "log.json").read_text())
    assert [row["eval_score"] for row in history if "eval_score" in row] == scores[:4]


def test_each_measurement_is_told(tmp_path, capsys):
    train(tmp_path / "stage", [0.25, 0.5, 0.75], average=1)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "  step 3/9: dev score 0.2500; about 1 min left",
        "  step 6/9: dev score 0.5000; about 1 min left",
        "  step 9/9: dev score 0.7500",
    ]


def test_long_epochs_are_not_silent(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trainer, "SILENCE", 0.0)
    train(tmp_path / "stage", [0.25], average=1)
    told = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"  step 1/3: loss 1\.0000; about 1 min left", told[0])
    assert [line.split(":")[0].strip() for line in told] == [
        "step 1/3", "step 2/3", "step 3/3", "step 3/3",
    ]  # fmt: skip


def test_the_mean_of_weights_is_taken_where_it_is_better(tmp_path):
    module = torch.nn.Linear(1, 1, bias=False)
    for i, value in enumerate((1.0, 3.0)):
        (tmp_path / str(i)).mkdir()
        save_file({"weight": torch.tensor([[value]])}, tmp_path / str(i) / "model.safetensors")
    folders = [tmp_path / "0", tmp_path / "1"]
    for best, own, taken in ((2.0, 3.0, True), (3.0, 3.0, False)):
        module.weight.data.fill_(own)
        measure = lambda best=best: {"m": -abs(module.weight.item() - best)}  # noqa: E731
        assert take_average(module, folders, measure, "m") is taken
        assert module.weight.item() == (2.0 if taken else own)
    assert not take_average(module, folders[:1], measure, "m")
