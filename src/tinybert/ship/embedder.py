"""Ships a sentence encoder: ONNX, int8, and the proof that its vectors stayed what they were."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert import runtime
from tinybert._version import __version__
from tinybert.artifact import FP32, INT8, Card, check_target, read_card, write_card
from tinybert.distill import embed as training
from tinybert.distill.infer import longest_input, resolve
from tinybert.distill.processes import is_first
from tinybert.distill.sentence import encode, load_encoder
from tinybert.distill.sentence_recipe import SentenceRecipe
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship.export import build
from tinybert.ship.model_card import write_model_card
from tinybert.ship.quantize import quantize
from tinybert.sources import Columns
from tinybert.text import Tokenizer
from tinybert.unlabelled import read_unlabelled

__all__ = ["embed", "export_encoder", "verify_encoder"]

_FP32_LIMIT = 1e-3
_COSINE = 0.99
_VERIFIED = 200


def embed(recipe: SentenceRecipe, say: Callable[[str], None] = print) -> Path:
    """Distil a sentence encoder and ship it; called again, it goes on where it stopped.

    Args:
        recipe: Every setting.
        say: Told of each step.

    Returns:
        The run's folder; its ``artifact`` is what ``tinybert.load`` reads.

    Raises:
        TinyBertError: Texts, teacher or settings cannot be used, or the artifact's vectors are not
            the student's.
    """
    run = training.embed(recipe, say)
    if not is_first():
        return run
    student, artifact = run / "student", run / "artifact"
    say("exporting the student to ONNX, then to int8")
    export_encoder(student, artifact, max_length=recipe.max_length, teacher=recipe.teacher)
    quantize(artifact, keep_fp32=recipe.ship.keep_fp32, table_bits=recipe.ship.table_bits)
    columns = Columns(recipe.data.column, None, "")
    texts, _ = read_unlabelled(
        recipe.data.texts, columns, held=(), known=(), rows=_VERIFIED, seed=recipe.seed
    )
    parity = verify_encoder(artifact, student, list(texts["text"]))
    size = (artifact / read_card(artifact).model).stat().st_size
    say(f"artifact: {artifact}, {size / 1e6:.1f} MB, cosine {parity['mean_cosine']:.4f}")
    return run


def export_encoder(
    model: str | Path, to: str | Path, *, max_length: int = 128, teacher: str = ""
) -> Path:
    """Write an artifact that gives vectors.

    Args:
        model: A sentence encoder's folder or hub id, or a bare encoder's (then the mean is taken).
        to: The artifact's folder; an older artifact there is replaced.
        max_length: Longest input in tokens that the artifact accepts.
        teacher: Name of the teacher, for the card.

    Returns:
        The artifact's folder.

    Raises:
        ConfigError: ``max_length`` is below 4 or exceeds the model's positions, or ``to`` holds
            something that is no artifact.
        UnsupportedModelError: The model cannot be loaded.
    """
    check_target(to)
    encoder = load_encoder(model)
    longest = longest_input(encoder.encoder.config)
    if not 4 <= max_length <= longest:
        raise ConfigError(f"max_length is {max_length}; the model takes 4 to {longest}")
    card = Card(
        task="embedding",
        labels=(),
        pair=False,
        max_length=max_length,
        parameters=sum(weight.numel() for weight in encoder.parameters()),
        teacher=teacher,
        tinybert=__version__,
    )
    return build(encoder, encoder.encoder, card, model, to, output="sentence_embedding")


def verify_encoder(
    artifact: str | Path, model: str | Path, texts: Sequence[str], *, least: float = _COSINE
) -> dict[str, Any]:
    """Compare an artifact's vectors with those of its PyTorch model; the card keeps the outcome.

    Args:
        artifact: The shipped folder.
        model: The folder it was exported from.
        texts: What to compare on.
        least: Smallest mean cosine of int8 vectors with float32 ones, 0..1; float32 vectors must
            agree to 1e-3 in every number.

    Returns:
        What is written into the card: texts, mean and least cosine, largest difference, the limit,
        and whether it passed.

    Raises:
        ArtifactError: A limit is exceeded; the card then says so too.
    """
    folder = Path(artifact)
    card = read_card(folder)
    tokenizer = Tokenizer(resolve(model), max_length=card.max_length)
    wanted = encode(load_encoder(model), tokenizer, texts)
    problems: list[str] = []
    parity: dict[str, Any] = {}
    for precision, name in (("fp32", FP32), ("int8", INT8)):
        if name not in card.files:
            continue
        figures = _compare(runtime.load_labeler(folder, precision=precision).logits(texts), wanted)
        if precision == "fp32" and figures["max_difference"] > _FP32_LIMIT:
            problems.append(
                f"float32 vectors differ by {figures['max_difference']:.2g} (limit {_FP32_LIMIT:g})"
            )
        if not figures["mean_cosine"] >= least:
            problems.append(
                f"{precision}: mean cosine {figures['mean_cosine']:.4f} (limit {least:g})"
            )
        if name == card.model:
            parity = figures
    parity |= {"least": least, "passed": not problems}
    write_card(folder, replace(card, parity=parity))
    write_model_card(folder)
    if problems:
        raise ArtifactError(f"{folder} does not answer as {model}: {'; '.join(problems)}")
    return parity


def _compare(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the figures of one model file."""
    cosines = (found * wanted).sum(axis=1)
    return {
        "texts": len(wanted),
        "mean_cosine": float(cosines.mean()),
        "least_cosine": float(cosines.min()),
        "max_difference": float(np.abs(found - wanted).max()),
    }
