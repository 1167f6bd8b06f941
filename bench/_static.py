"""Static embeddings that model2vec distils from an encoder, and small models on them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["logits", "size_mb", "static_model"]

Array = npt.NDArray[Any]
STRENGTHS = (0.1, 1.0, 10.0, 100.0)


def static_model(encoder: str, folder: Path) -> Any:
    """Return the static embeddings of an encoder with model2vec's own settings, made once.

    Args:
        encoder: Folder or hub id of a Hugging Face encoder.
        folder: Where they are kept.
    """
    from model2vec import StaticModel
    from model2vec.distill import distill

    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        distill(encoder, device="cpu").save_pretrained(str(partial))
        try:
            partial.rename(folder)
        except OSError:  # another process was quicker
            shutil.rmtree(partial)
    return StaticModel.from_pretrained(str(folder))


def size_mb(folder: Path) -> float:
    """Return the size of the embeddings and their tokenizer."""
    files = (folder / "model.safetensors", folder / "tokenizer.json")
    return sum(file.stat().st_size for file in files) / 1e6


def logits(model: Any, data: Any, seed: int) -> Callable[[str], Array]:
    """Train on train, choose on dev, and return what gives the logits (N, C) of a split.

    Single texts of a class: model2vec's own classifier, embeddings trained too. Pairs: logistic
    regression, or ridge regression of values, on |u - v| and u·v.
    """
    if data.task == "classification" and not data.pair:
        return _classifier(model, data, seed)
    return _on_vectors(model, data)


def _classifier(model: Any, data: Any, seed: int) -> Callable[[str], Array]:
    """Train ``StaticModelForClassification``."""
    from model2vec.train import StaticModelForClassification

    trained = StaticModelForClassification.from_static_model(model=model).fit(
        list(data.train["text"]),
        list(data.train["label"]),
        X_val=list(data.dev["text"]),
        y_val=list(data.dev["label"]),
        random_seed=seed,
        device="cpu",
    )

    def answer(split: str) -> Array:
        texts, _ = data.texts(split)
        found = np.full((len(texts), len(data.labels)), -1e9)
        found[:, trained.classes.astype(int)] = np.log(trained.predict_proba(texts) + 1e-12)
        return found

    return answer


def features(model: Any, texts: list[str], texts2: list[str] | None) -> Array:
    """Return the vectors of texts, or |u - v| beside u·v of pairs."""
    first: Array = model.encode(texts)
    if texts2 is None:
        return first
    second: Array = model.encode(texts2)
    return np.concatenate([np.abs(first - second), first * second], axis=1)


def _on_vectors(model: Any, data: Any) -> Callable[[str], Array]:
    """Train a linear model on vectors; its strength is chosen on dev."""
    from sklearn.linear_model import LogisticRegression, Ridge

    from tinybert import metrics

    inputs = {split: features(model, *data.texts(split)) for split in data.splits()}
    targets = np.asarray(data.train["label"])

    def fitted(strength: float) -> Callable[[str], Array]:
        if data.task == "regression":
            ridge = Ridge(alpha=1 / strength).fit(inputs["train"], targets)
            return lambda split: ridge.predict(inputs[split]).reshape(-1, 1)
        linear = LogisticRegression(C=strength, max_iter=2000).fit(inputs["train"], targets)

        def answer(split: str) -> Array:
            found = np.full((len(inputs[split]), len(data.labels)), -1e9)
            found[:, linear.classes_] = linear.predict_log_proba(inputs[split])
            return found

        return answer

    models = [fitted(strength) for strength in STRENGTHS]
    return max(models, key=lambda one: metrics.measure(data, "dev", one("dev"))[data.metric])
