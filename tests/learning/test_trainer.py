"""A stage of training: which checkpoints it takes, what it says where there is no terminal."""

import re

import torch
from datasets import Dataset
from safetensors.torch import save_file

from tinybert.distill import trainer
from tinybert.distill.average import take_average
from tinybert.distill.trainer import Schedule


class Line(torch.nn.Module):
    """Learns one weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        loss = ((self.weight - 1 + x) ** 2).mean()
        return {"loss": loss, "parts": {"line": loss.detach()}}


def train(folder, scores, average):
    """Train on three batches an epoch, so many epochs as there are scores."""
    found = iter(scores)
    trainer.run_stage(
        folder,
        Line(),
        Dataset.from_dict({"x": [0.0] * 12, "length": [1] * 12}),
        lambda rows: {"x": torch.tensor([row["x"] for row in rows])},
        Schedule(epochs=len(scores), learning_rate=1e-2, batch_size=4, warmup=0.0, seed=0,
                 bf16=False, average=average),
        evaluate=lambda: {"score": next(found)},
        keep_best="score",
    )  # fmt: skip


def test_the_last_checkpoints_are_averaged_wherever_the_best_one_was(tmp_path, monkeypatch):
    averaged = []
    monkeypatch.setattr(trainer, "take_average", lambda _, last, *__: averaged.extend(last))
    train(tmp_path / "stage", [0.9, 0.1, 0.2, 0.3, 0.4, 0.5], average=3)
    assert [place.name for place in averaged] == [f"checkpoint-{3 * n}" for n in (4, 5, 6)]


def test_each_measurement_is_told(tmp_path, capsys):
    train(tmp_path / "stage", [0.25, 0.5, 0.75], average=1)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "  step 3/9: dev score 0.2500; about 1 min left",
        "  step 6/9: dev score 0.5000; about 1 min left",
        "  step 9/9: dev score 0.7500",
    ]


def test_long_epochs_are_not_silent(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trainer, "_SILENCE", 0.0)
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
