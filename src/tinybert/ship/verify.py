"""Proof that an artifact answers as the PyTorch model it came from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert import metrics, runtime
from tinybert.artifact import FP32, INT8, VALUED, Card, read_card, write_card
from tinybert.data import TaskData
from tinybert.distill.infer import predict_logits
from tinybert.errors import ArtifactError, ConfigError
from tinybert.pairs import PairData
from tinybert.runtime.engines import engine_name
from tinybert.ship.embedder import verify_encoder
from tinybert.ship.evaluate import check_answers
from tinybert.ship.lost_answers import changed
from tinybert.ship.model_card import write_model_card
from tinybert.spans import Reading
from tinybert.tags import PLAIN, scheme_of, spans

__all__ = ["verify"]

_FP32_LIMIT = 1e-3
_VALUE_LIMIT = 0.05
_FLIPS, _DROP = 0.005, 0.003
# How many answers' worth of a metric one changed answer may cost, and of which answers it is one.
_AT_STAKE = {
    "accuracy": (1, "texts"),
    "answer_f1": (1, "texts"),
    "f1": (2, "texts"),
    "matthews": (2, "texts"),
    "micro_f1": (2, "texts"),
    "entity_f1": (2, "entities"),
    "token_accuracy": (1, "words"),
}


_UNOPTIMIZED = "max_logit_difference_unoptimized"


def verify(
    artifact: str | Path,
    model: str | Path,
    data: TaskData | PairData,
    *,
    max_flips: float | None = None,
    max_drop: float | None = None,
) -> dict[str, Any]:
    """Compare an artifact with its PyTorch model on the dev texts and write the outcome into it.

    The artifact answers through ``tinybert.load``, int8 in each engine that is there. Refused past
    ``max_flips`` or ``max_drop``, where that is more than chance (on few texts a few more than the
    share prove nothing: see ``metrics.chance``); a float32 model must also give the same logits to
    1e-3, with ONNX Runtime's optimizations on and off. The values of a regression may differ by 5 %
    of their standard deviation on average. An embedder is held to ``embedder.verify_encoder``, what
    writes texts to ``writer.verify_writer``.

    Args:
        artifact: The shipped folder.
        model: The Hugging Face folder it was exported from.
        data: Its dev split is used.
        max_flips: Largest share of texts whose label or answer differs (of words whose tag
            does), 0..1; None takes 0.005.
        max_drop: Largest loss in accuracy (or Pearson's r), 0..1; None takes 0.003, of written
            texts 0.01 (a point of chrF or ROUGE-L).

    Returns:
        What is written into the card: texts (in tagging words and entities too), largest and mean
        logit difference, flips, the metric of both, limits, and whether it passed.

    Raises:
        ArtifactError: A limit is exceeded; the card then says so too.
        ConfigError: ``max_flips`` is given, and the artifact writes texts, or a limit, and it gives
            vectors.
        DataError: The artifact's labels are not the data's.
    """
    folder = Path(artifact)
    card = read_card(folder)
    if isinstance(data, PairData):
        return _verify_writer(folder, model, data, max_flips, max_drop)
    if card.task == "embedding":
        if max_flips is not None or max_drop is not None:
            raise ConfigError(
                f"max_flips or max_drop is given, and {folder} gives vectors, whose cosines with "
                "those of the model are compared; wanted neither"
            )
        texts, texts2 = data.texts("dev")
        return verify_encoder(folder, model, [*texts, *(texts2 or ())])
    flips = _FLIPS if max_flips is None else max_flips
    return _verify_labeler(folder, model, data, flips, _DROP if max_drop is None else max_drop)


def _verify_labeler(
    folder: Path, model: str | Path, data: TaskData, max_flips: float, max_drop: float
) -> dict[str, Any]:
    """Compare an artifact that labels, scores or finds answers with its PyTorch model."""
    card = read_card(folder)
    check_answers(str(folder), card, data)
    texts, texts2 = data.texts("dev")
    limit, outside = card.max_length, card.labels.index(card.outside) if card.outside else 0
    wanted = predict_logits(
        model,
        texts,
        texts2,
        max_length=limit,
        every_token=True,
        outside=outside,
        reading=Reading.of(card.reading),
    )
    problems: list[str] = []
    parity: dict[str, Any] = {}
    for precision, name, engine in _runs(folder, card):
        figures = _measured(folder, model, data, wanted, precision, engine)
        off = max(figures["max_logit_difference"], figures.get(_UNOPTIMIZED, 0.0))
        if precision == "fp32" and off > _FP32_LIMIT:
            problems.append(f"float32 logits differ by {off:.2g} (limit {_FP32_LIMIT:g})")
        what = precision if engine == "onnx" else f"{precision} in the {engine} engine"
        problems += _problems(what, figures, max_flips, max_drop)
        if name == card.model:
            parity = figures
    parity |= {"max_flips": max_flips, "max_drop": max_drop, "passed": not problems}
    write_card(folder, replace(card, parity=parity))
    write_model_card(folder)
    if problems:
        raise ArtifactError(
            f"{folder} does not answer as {model}: {'; '.join(problems)}; ship the float32 model "
            "(`quantize --keep-fp32`), train longer, or raise max_flips or max_drop knowingly"
        )
    return parity


def _verify_writer(
    folder: Path,
    model: str | Path,
    data: PairData,
    max_flips: float | None,
    max_drop: float | None,
) -> dict[str, Any]:
    """Compare an artifact that writes texts with its PyTorch model."""
    from tinybert.ship.writer import verify_writer

    if max_flips is not None:
        raise ConfigError(
            f"max_flips is {max_flips:g}, and {folder} writes texts; wanted max_drop alone"
        )
    return verify_writer(
        folder, model, data, max_drop=100 * (0.01 if max_drop is None else max_drop)
    )


def _runs(folder: Path, card: Card) -> list[tuple[str, str, str]]:
    """Return precision, file and engine of all that may answer; what ``load`` takes is last."""
    found = [
        (precision, name, "onnx")
        for precision, name in (("fp32", FP32), ("int8", INT8))
        if name in card.files
    ]
    chosen = engine_name(folder, card.model, max_length=card.max_length)
    return found + ([("int8", card.model, "native")] if chosen.startswith("native") else [])


def _measured(
    folder: Path,
    model: str | Path,
    data: TaskData,
    wanted: npt.NDArray[np.float32],
    precision: str,
    engine: str,
) -> dict[str, Any]:
    """Return the figures of one of the artifact's models in one engine."""
    inputs = data.inputs("dev")
    found = runtime.load_labeler(folder, precision=precision, engine=engine).logits(inputs)
    if found.shape != wanted.shape:
        raise ArtifactError(
            f"{folder} gives {found.shape[1]} logits, {model} {wanted.shape[1]}; "
            "export it again from the model you verify against"
        )
    figures = _compare(data, found, wanted) | {"engine": engine}
    if precision == "fp32":
        plain = runtime.load_labeler(folder, precision="fp32", optimize=False).logits(inputs[:16])
        figures[_UNOPTIMIZED] = float(_apart(data.task, plain, wanted[: len(plain)]).max())
    return figures


def _compare(
    data: TaskData, found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]
) -> dict[str, Any]:
    """Return the figures of one model file against PyTorch on dev."""
    task, name = data.task, data.metric
    difference = _apart(task, found, wanted)
    flips = 0 if task in VALUED else _flips(task, found, wanted)
    values = {} if task != "regression" else {"spread": float(wanted.std())}
    counts = {"texts": len(wanted)}
    if task == "tagging":
        counts = {"texts": len(data.dev), "words": len(wanted), "entities": _entities(data)}
    return {
        **values,
        **counts,
        "max_logit_difference": float(difference.max()),
        "mean_logit_difference": float(difference.mean()),
        "label_flips": flips,
        "flip_rate": flips / len(wanted),
        "metric": name,
        "torch": metrics.measure(data, "dev", wanted)[name],
        "artifact": metrics.measure(data, "dev", found)[name],
    }


def _apart(task: str, found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return how far logits are apart; in answering those of the best spans and of no answer."""
    apart: npt.NDArray[Any] = np.abs(found - wanted)
    return apart[:, 2:] if task == "answering" else apart


def _entities(data: TaskData) -> int:
    """Count the entities of dev; 0 of plain tags."""
    if scheme_of(data.labels) == PLAIN:
        return 0
    return sum(len(spans([data.labels[tag] for tag in row])) for row in data.dev["label"])


def _flips(task: str, found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> int:
    """Count the texts whose label, or any of whose labels, or whose answer differs."""
    if task == "answering":
        return int(changed(found, wanted).sum())
    other = metrics.answers(task, found) != metrics.answers(task, wanted)
    return int(other.reshape(len(other), -1).any(axis=1).sum())


def _problems(
    precision: str, figures: dict[str, Any], max_flips: float, max_drop: float
) -> list[str]:
    """Say which limits the figures exceed."""
    problems = []
    if not np.isfinite(figures["max_logit_difference"]):
        problems.append(f"{precision}: logits are not finite")
    limit = max(_FP32_LIMIT, _VALUE_LIMIT * figures.get("spread", 0))
    if "spread" in figures and figures["mean_logit_difference"] > limit:
        problems.append(
            f"{precision}: values differ by {figures['mean_logit_difference']:.3g} on average "
            f"(limit {limit:.3g}, {_VALUE_LIMIT:.0%} of their standard deviation)"
        )
    what, thing = ("words", "tags") if "words" in figures else ("texts", "labels")
    thing = "answers" if figures["metric"] == "answer_f1" else thing
    allowed = metrics.chance(max_flips, figures[what])
    if figures["label_flips"] > allowed:
        problems.append(
            f"{precision}: {figures['label_flips']} of {figures[what]} {thing} flip "
            f"({figures['flip_rate']:.2%}; limit {max_flips:.2%}, {allowed} {what})"
        )
    drop = figures["torch"] - figures["artifact"]
    answers, unit = _AT_STAKE.get(figures["metric"], (0, what))
    count = max(1, figures[unit])
    least = answers * metrics.chance(max_drop, count) / count
    if drop > max(max_drop, least) + 1e-9:
        problems.append(
            f"{precision}: {figures['metric']} falls by {drop:.4f} (limit {max_drop:g})"
        )
    return problems
