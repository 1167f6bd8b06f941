"""Distils a student with TextBrewer's GeneralDistiller, on the rows and steps of a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["matches", "train"]


def matches(layer_map: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return which hidden states are matched: the embeddings and each mapped layer."""
    return [
        {"layer_T": n, "layer_S": m, "feature": "hidden", "loss": "hidden_mse", "weight": 1}
        for m, n in enumerate((0, *layer_map))
    ]


def adaptor(batch: Mapping[str, Any], outputs: Any) -> dict[str, Any]:
    """Return what a match may look at."""
    return {
        "logits": outputs.logits.float(),
        "hidden": [states.float() for states in outputs.hidden_states],
        "inputs_mask": batch["attention_mask"],
    }


def in_bf16(model: Any) -> None:
    """Let a model compute in bfloat16, as it does in our own stages."""
    import torch

    forward = model.forward

    def run(*arguments: Any, **inputs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(*arguments, **inputs)

    model.forward = run


def train(
    student: Any,
    teacher: Any,
    tokenizer: Any,
    data: Any,
    texts: Any,
    recipe: Any,
    *,
    steps: int,
    rate: float,
    folder: Path,
) -> Any:
    """Train a student on all losses at once; the epoch that is best on dev is kept.

    Args:
        student: Starts here; trained in place.
        teacher: A sequence classifier.
        tokenizer: Of both.
        data: The task; dev decides.
        texts: Rows to learn from.
        recipe: Mapping, batch size, warm-up and seed are taken from it.
        steps: Steps in all.
        rate: Peak of the linear schedule.
        folder: Receives TextBrewer's checkpoints.
    """
    import torch
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    from torch.utils.data import DataLoader
    from transformers import get_linear_schedule_with_warmup
    from transformers.trainer_pt_utils import LengthGroupedSampler

    from tinybert.artifact import VALUED
    from tinybert.distill.outputs import Collator, tokenize
    from tinybert.distill.teach import dev_metrics
    from tinybert.distill.trainer import use_bf16
    from tinybert.mapping import layer_map

    stage, config = recipe.prediction_stage, student.config
    rows, pad = tokenize(texts, tokenizer, data), Collator(tokenizer.pad_id)
    sampler = LengthGroupedSampler(
        stage.batch_size,
        lengths=list(rows["length"]),
        generator=torch.Generator().manual_seed(recipe.seed),
    )
    names = ["input_ids", "attention_mask"]
    names += ["token_type_ids"] if getattr(config, "type_vocab_size", 0) > 1 else []
    loader = DataLoader(
        rows,
        stage.batch_size,
        sampler=sampler,
        collate_fn=lambda batch: {k: v for k, v in pad(batch).items() if k in names},
    )
    measure, best = dev_metrics(student, tokenizer, data), {"figure": float("-inf")}

    def keep_best(model: Any, step: int) -> None:
        found = measure()[data.metric]
        print(f"  step {step}/{steps}: dev {data.metric} {found:.4f}", flush=True)
        if found > best["figure"]:
            best.update(figure=found, state={k: v.clone() for k, v in model.state_dict().items()})

    g = layer_map(
        recipe.student.mapping,
        int(config.num_hidden_layers),
        int(teacher.config.num_hidden_layers),
    )
    answers: dict[str, Any] = (
        {"kd_loss_type": "mse", "temperature": 1} if data.task in VALUED else {"temperature": 8}
    )
    distiller = GeneralDistiller(
        TrainingConfig(device="cpu", output_dir=str(folder), ckpt_steps=min(len(loader), steps)),
        DistillationConfig(intermediate_matches=matches(g), **answers),
        teacher,
        student,
        adaptor,
        adaptor,
    )
    if use_bf16(recipe.precision):
        in_bf16(student)
        in_bf16(teacher)
    with distiller:
        distiller.train(
            torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.0, fused=True),
            loader,
            num_steps=steps,
            scheduler_class=get_linear_schedule_with_warmup,
            scheduler_args={
                "num_warmup_steps": round(stage.warmup * steps),
                "num_training_steps": steps,
            },
            max_grad_norm=1.0,
            callback=keep_best,
            output_hidden_states=True,
        )
    student.load_state_dict(best["state"])
    student.__dict__.pop("forward", None)
    return student.eval()
