"""Trainings in processes of their own, to be killed or to train together."""

import json
import multiprocessing
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tinybert.artifact import Card, write_card
from tinybert.distill import augment, general_recipe, task, trainer
from tinybert.distill import recipe as recipes
from tinybert.distill.general import general

Run = Callable[[Mapping[str, Any]], Any]


def distilled(settings: Mapping[str, Any]) -> None:
    task.distill(recipes.load(None, settings), lambda _: None)


def generally_distilled(settings: Mapping[str, Any]) -> None:
    general(general_recipe.load(None, settings), lambda _: None)


def copied(student: Path, artifact: Path, *_: Any) -> None:
    """Stand in for an export: the student itself."""
    shutil.copytree(student, artifact)


def shipped(run: Path, *_: Any) -> Path:
    """Stand in for an export that is compared: the student, with a card of its dev metric."""
    copied(run / "student", run / "artifact")
    about = json.loads((run / "run.json").read_text())
    parity = {"artifact": about["dev"]["student"]["accuracy"]}
    card = Card("classification", tuple(about["labels"]), False, 32, parity=parity)
    write_card(run / "artifact", card)
    return run / "artifact"


def planned(settings: Mapping[str, Any]) -> None:
    from tinybert.ship import costs, planner, runs

    costs.undisturbed_ms, costs.write_artifact, runs.ship = lambda *_: 1.0, copied, shipped
    rest = dict(settings)
    limits, space = rest.pop("limits"), rest.pop("space")
    planner.plan(recipes.load(None, rest), space=space, say=lambda _: None, **limits)


def together(settings: Mapping[str, Any], folder: Path, count: int = 2) -> None:
    """Distil with several processes under the variables that torchrun gives them.

    Each writes what it printed to ``said-RANK``, the ids of its batches to ``seen-RANK``, and
    ``augmented-RANK`` where it augments.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_one, args=(settings, folder, i)) for i in range(count)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    sys.exit(max(abs(process.exitcode or 0) for process in ranks))


def _one(settings: Mapping[str, Any], folder: Path, rank: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    said = os.open(folder / f"said-{rank}", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    seen, plain = [], trainer._Trainer.compute_loss

    def compute_loss(self: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        seen.append([[i for i in row if i] for row in inputs["input_ids"].tolist()])
        return plain(self, model, inputs, *rest, **more)

    def augmented_rows(*given: Any) -> Any:
        (folder / f"augmented-{rank}").touch()
        return augment.augmented_rows(*given)

    trainer._Trainer.compute_loss = compute_loss
    task.augmented_rows = augmented_rows
    task.distill(recipes.load(None, settings))
    (folder / f"seen-{rank}").write_text(json.dumps(seen))
