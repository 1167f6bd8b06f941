"""One training stage on ``transformers.Trainer``: resumable, logged, with its losses in parts."""

import json
import math
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import get_last_checkpoint

from tinybert.artifact import write_atomic
from tinybert.distill import processes
from tinybert.distill.attention import plain_attention
from tinybert.distill.average import take_average
from tinybert.distill.checkpoints import Checkpoints, drop_half_written, written
from tinybert.distill.progress import SILENCE, time_left

__all__ = ["Schedule", "run_stage", "schedule_of", "use_bf16"]

_FINAL = "final.safetensors"
_LOG = "log.json"
_APART = 0.5
_ALWAYS: dict[str, Any] = {
    "weight_decay": 0.01,
    "optim": "adamw_torch_fused",
    "use_cpu": not torch.cuda.is_available(),
    "dataloader_pin_memory": torch.cuda.is_available(),
    "report_to": ["tensorboard"],
    "remove_unused_columns": False,
    "disable_tqdm": not sys.stderr.isatty(),
    "ddp_find_unused_parameters": True,
}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage trains.

    Args:
        learning_rate: Its peak.
        batch_size: Rows a step and device.
        warmup: Share of the steps during which the rate rises.
        seed: Seeds order and dropout.
        bf16: Use bfloat16 for matrix products.
        epochs: Passes over the rows; not for a stream.
        steps: Batches to take from a stream.
        every: Most steps between two checkpoints.
        decay: How the rate falls after its rise, by the library's name: ``linear``,
            ``inverse_sqrt``.
        average: Take the mean of the weights of so many last checkpoints, where it measures better
            than what would be taken without; 1 does not try.
        patience: Stop after so many measurements without a better one; None trains to the end.
            Those whose ``distinct`` says that most answers are alike do not count.
        beta2: How much of the mean of squared gradients each step keeps.
    """

    learning_rate: float
    batch_size: int
    warmup: float
    seed: int
    bf16: bool
    epochs: float | None = None
    steps: int | None = None
    every: int = 1000
    decay: str = "linear"
    average: int = 1
    patience: int | None = None
    beta2: float = 0.999


def schedule_of(stage: Any, recipe: Any, **more: Any) -> Schedule:
    """Return the schedule that a recipe gives one of its stages.

    Args:
        stage: Section with ``epochs``, ``learning_rate``, ``batch_size``, ``warmup``.
        recipe: Has ``seed`` and ``precision``.
        more: Other fields, which go before those.
    """
    named = ("epochs", "learning_rate", "batch_size", "warmup")
    found = {name: getattr(stage, name) for name in named}
    found |= {"seed": recipe.seed, "bf16": use_bf16(recipe.precision)}
    return Schedule(**found | more)


def run_stage(
    folder: str | Path,
    module: nn.Module,
    dataset: Dataset | IterableDataset[dict[str, Any]],
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    schedule: Schedule,
    *,
    evaluate: Callable[[], dict[str, float]] | None = None,
    keep_best: str | None = None,
    longest: int | None = None,
) -> nn.Module:
    """Train a module to the end, continuing from whatever an earlier, interrupted call left.

    Args:
        folder: Holds checkpoints, the TensorBoard log, ``log.json`` and the final weights.
        module: Its forward takes a collated batch and returns ``loss``; trained in place.
        dataset: Training rows with a column ``length`` (tokens), by which, or by ``order`` where
            there is one, neighbors share a batch; or an endless stream of rows, the same on each
            call; a continued call passes over those that were seen.
        collate: Turns rows into a batch.
        schedule: How long and how fast.
        evaluate: Gives the dev metrics; called once an epoch, at least ``schedule.every`` so many
            steps.
        keep_best: Name of the dev metric whose best checkpoint is taken at the end; None takes the
            last.
        longest: Most tokens that attend to each other; None takes the greatest ``length``, and of a
            stream does not know it.

    Returns:
        The trained module.
    """
    place = Path(folder)
    if (place / _LOG).is_file():
        module.load_state_dict(load_file(place / _FINAL))
        return module
    place.mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(
        model=module,
        args=_arguments(place, dataset, schedule, evaluate is not None, keep_best),
        train_dataset=dataset,
        eval_dataset=[] if evaluate else None,
        data_collator=collate,
    )
    trainer.measure = evaluate
    for noisy in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(noisy)
    trainer.add_callback(_Progress if sys.stderr.isatty() else _Lines)
    checkpoints = Checkpoints(place, schedule.average if keep_best is not None else 1)
    trainer.add_callback(checkpoints)
    if schedule.patience is not None and keep_best is not None:
        trainer.add_callback(_Patience(schedule.patience, keep_best))
    with processes.first_alone() as first:
        if first:
            drop_half_written(place)
    if longest is None and not isinstance(dataset, IterableDataset):
        longest = max(dataset["length"])
    plain = plain_attention(module, bf16=schedule.bf16, longest=longest)
    with plain, checkpoints.finishing_the_step():
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(place)))
    with processes.first_alone() as first:
        if first:
            if schedule.average > 1 and evaluate is not None and keep_best is not None:
                last = written(place)[-schedule.average :]
                take_average(module, last, evaluate, keep_best)
            _finish(place, module, trainer)
    return module


def _arguments(
    place: Path,
    dataset: Dataset | IterableDataset[dict[str, Any]],
    schedule: Schedule,
    measured: bool,
    keep_best: str | None,
) -> TrainingArguments:
    """Return what the library's trainer is told."""
    length: dict[str, Any] = {"num_train_epochs": schedule.epochs}
    if isinstance(dataset, IterableDataset):
        assert schedule.steps is not None
        span, length = schedule.steps, {"max_steps": schedule.steps}
    else:
        span = math.ceil(len(dataset) / (schedule.batch_size * processes.count()))
    every = min(span, schedule.every)
    found = TrainingArguments(
        output_dir=str(place),
        learning_rate=schedule.learning_rate,
        adam_beta2=schedule.beta2,
        per_device_train_batch_size=schedule.batch_size,
        warmup_steps=schedule.warmup,
        seed=schedule.seed,
        bf16=schedule.bf16,
        lr_scheduler_type=schedule.decay,
        logging_steps=max(1, min(50, span // 4)),
        **length,
        **_measuring(every, measured, keep_best),
        **_ALWAYS,
    )
    return _with_one_device(found)


def _with_one_device(arguments: TrainingArguments) -> TrainingArguments:
    """Keep the library from cutting batches apart for the GPUs of one process.

    What belongs together in a batch (targets and their source, a text and what is known of it)
    would be torn. Several GPUs are used by as many processes.
    """
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def _measuring(every: int, measured: bool, keep_best: str | None) -> dict[str, Any]:
    """Return when to measure and to write checkpoints, and which of them to take."""
    found: dict[str, Any] = {
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": None,
        "eval_strategy": "steps" if measured else "no",
        "eval_steps": every,
    }
    if keep_best is not None:
        found["load_best_model_at_end"] = True
        found["metric_for_best_model"] = f"eval_{keep_best}"
        found["greater_is_better"] = True
    return found


def use_bf16(precision: str) -> bool:
    """Whether to train in bfloat16: only where the hardware multiplies it (``auto``), or if asked.

    Without hardware support bfloat16 on a CPU is many times slower than float32.
    """
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


class _ByLength(LengthGroupedSampler):
    """Rows of like length together, in an order that seed and epoch alone decide.

    The library's own sampler draws from each process's generator. Dropout uses those up unequally,
    so that processes came to share rows and to leave others out.
    """

    def __init__(self, lengths: Any, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths), generator=torch.Generator())
        self._seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Start the order of an epoch."""
        self.generator.manual_seed(self._seed * 1_000_003 + int(epoch))


class _Trainer(Trainer):
    """``Trainer`` that logs the parts of a loss and measures dev quality by a given function."""

    measure: Callable[[], dict[str, float]] | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Return the rows' order; a stream has its own."""
        rows: Any = self.train_dataset if train_dataset is None else train_dataset
        if isinstance(rows, IterableDataset):
            return None
        order = rows["order" if "order" in rows.column_names else "length"]
        return _ByLength(order, self.args.train_batch_size, self.args.seed)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return the module's own loss and remember its parts."""
        outputs = model(**inputs)
        sums = self.__dict__.setdefault("_sums", defaultdict(lambda: [0.0, 0]))
        for name, value in outputs.get("parts", {}).items():
            sums[name][0] += value.detach()
            sums[name][1] += 1
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the mean of each part since the last log."""
        if "loss" in logs:
            sums = self.__dict__.pop("_sums", {})
            logs |= {name: float(total) / count for name, (total, count) in sums.items()}
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the dev set by the function given to the stage."""
        assert self.measure is not None
        metrics = {f"eval_{name}": value for name, value in self.measure().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


class _Patience(TrainerCallback):
    """Ends a training that gets no better; what was measured before an interruption counts."""

    def __init__(self, patience: int, metric: str) -> None:
        self._patience, self._metric = patience, f"eval_{metric}"
        self._had_ended = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """See whether an interrupted training had ended."""
        self._had_ended = self._ends(state.log_history)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """End a training that had: the library goes on for a step, of which nothing is kept."""
        if self._had_ended:
            control.should_training_stop = True
            control.should_evaluate = control.should_save = False

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Stop where the best measurement is too long ago."""
        if self._ends(state.log_history):
            control.should_training_stop = True

    def _ends(self, history: list[dict[str, float]]) -> bool:
        told = [row for row in history if self._metric in row]
        found = [row[self._metric] for row in told if row.get("eval_distinct", 1.0) >= _APART]
        return bool(found) and len(found) - 1 - found.index(max(found)) >= self._patience


class _Progress(ProgressCallback):
    """A progress bar that shows the newest figures instead of printing each log line."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Show the loss and the newest dev metric behind the bar."""
        if self.training_bar is not None and logs:
            shown = {k: v for k, v in logs.items() if k == "loss" or k.startswith("eval_")}
            if shown:
                self.training_bar.set_postfix({k: f"{v:.4g}" for k, v in shown.items()})


class _Lines(TrainerCallback):
    """Lines where there is no terminal for a bar: each measurement, and a sign of life between."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Remember when and where the training began."""
        self._begun = self._told = time.monotonic()
        self._first = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Print step, dev metrics or loss, and how long the rest will take at this pace."""
        logs, now = logs or {}, time.monotonic()
        shown = {k[5:]: v for k, v in logs.items() if k.startswith("eval_")}
        silent = "loss" not in logs or now - self._told < SILENCE
        if not state.is_world_process_zero or (not shown and silent):
            return
        figures = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
        told = f"dev {figures}" if shown else f"loss {logs['loss']:.4f}"
        done, left = state.global_step - self._first, state.max_steps - state.global_step
        pace = time_left(now - self._begun, done, left)
        self._told = now
        print(f"  step {state.global_step}/{state.max_steps}: {told}{pace}", flush=True)


def _finish(folder: Path, module: nn.Module, trainer: _Trainer) -> None:
    """Write the final weights, then the log that marks the stage as done; drop checkpoints."""
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    save_file(state, folder / f".{_FINAL}.partial")
    (folder / f".{_FINAL}.partial").replace(folder / _FINAL)
    history = json.dumps(trainer.state.log_history, indent=1)
    write_atomic(folder / _LOG, history.encode())
    for checkpoint in written(folder):
        shutil.rmtree(checkpoint)
