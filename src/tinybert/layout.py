"""What each architecture calls its parts: the only file that knows foreign names."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from tinybert.errors import UnsupportedModelError
from tinybert.heads import head_of

__all__ = ["PRUNED", "Layout", "guess_type", "layout_of", "sizes_of"]

PRUNED = ("layer_heads", "layer_intermediate")
_WIDE = "embeddings_project"
_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True)
class Layout:
    """Module names of an encoder, those of a layer relative to that layer.

    Args:
        base: Attribute of the classifier that holds the encoder.
        layers: Path of the list of layers inside the encoder.
        query, key, value, attention_out: The attention's four projections.
        attention_norm, output_norm: The layer's two layer norms.
        inner, outer: The feed-forward's two matrices.
        intermediate: Name of the feed-forward width in the config.
        head_inner, head_outer: The two matrices of the head that reads a text, an activation
            between them.
        head_tokens: The matrix of the head that reads each token.
        head_spans: The matrix of the head that says where answers start and end.
        old_base: Another name under which published weights hold the encoder.
    """

    base: str
    layers: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attention_out: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    inner: str = "intermediate.dense"
    outer: str = "output.dense"
    output_norm: str = "output.LayerNorm"
    intermediate: str = "intermediate_size"
    head_inner: str = "classifier.dense"
    head_outer: str = "classifier.out_proj"
    head_tokens: str = "classifier"
    head_spans: str = "qa_outputs"
    old_base: str = ""

    def encoder(self, model: nn.Module) -> nn.Module:
        """Return the encoder inside a model with a head, or the one that has no head itself."""
        return model.get_submodule(self.base) if hasattr(model, self.base) else model

    def layer_list(self, model: nn.Module) -> nn.ModuleList:
        """Return the list of encoder layers of a model with a head."""
        found = self.encoder(model).get_submodule(self.layers)
        assert isinstance(found, nn.ModuleList)
        return found

    def head(self, model: nn.Module) -> tuple[str, ...]:
        """Return the names of the matrices of a model's head, from its states to its answers."""
        parts = {"word": (self.head_tokens,), "span": (self.head_spans,)}
        return parts.get(head_of(model), (self.head_inner, self.head_outer))

    def holds_head(self, names: Iterable[str]) -> bool:
        """Whether weights of these names include both matrices of the head.

        A head of the official TinyBERT code does not count: it stands behind a ReLU that no Hugging
        Face head has. Weights of that code are known by their projections, ``fit_dense``.
        """
        found = {self.todays_name(name) for name in names}
        wanted = {f"{part}.weight" for part in (self.head_inner, self.head_outer)}
        return wanted <= found and not any(name.startswith("fit_dense") for name in found)

    def todays_name(self, name: str) -> str:
        """Return what a classifier of today calls a weight of a published file."""
        for old, new in _RENAMED.items():
            if name.endswith(old):
                name = name.removesuffix(old) + new
        first, _, rest = name.partition(".")
        if first == self.old_base:
            return f"{self.base}.{rest}"
        part = self.layers.partition(".")[0]
        return f"{self.base}.{name}" if first in ("embeddings", part, "pooler", _WIDE) else name

    def embedding(self, model: nn.Module) -> nn.Module:
        """Return the module whose output enters the first layer."""
        encoder = self.encoder(model)
        wide = getattr(encoder, _WIDE, None)
        return wide if isinstance(wide, nn.Module) else encoder.get_submodule("embeddings")


_LAYOUTS = {
    "bert": Layout(base="bert", head_inner="bert.pooler.dense", head_outer="classifier"),
    "ernie": Layout(
        base="ernie", head_inner="ernie.pooler.dense", head_outer="classifier", old_base="bert"
    ),
    "roberta": Layout(base="roberta"),
    "xlm-roberta": Layout(base="roberta"),
    "camembert": Layout(base="roberta"),
    "electra": Layout(base="electra"),
    "distilbert": Layout(
        base="distilbert",
        layers="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_out="attention.out_lin",
        attention_norm="sa_layer_norm",
        inner="ffn.lin1",
        outer="ffn.lin2",
        output_norm="output_layer_norm",
        intermediate="hidden_dim",
        head_inner="pre_classifier",
        head_outer="classifier",
    ),
}


def layout_of(config: Any) -> Layout:
    """Return the module names for a model's config.

    Raises:
        UnsupportedModelError: The model type is not one of those known here.
    """
    kind = getattr(config, "model_type", None)
    if kind not in _LAYOUTS:
        raise UnsupportedModelError(
            f"model type `{kind}` cannot be observed layer by layer; "
            f"wanted one of {', '.join(_LAYOUTS)}"
        )
    return _LAYOUTS[kind]


def sizes_of(config: Any) -> dict[str, int | list[int]]:
    """Return layers, widths, heads and vocabulary of a config, as far as they are known there.

    Where layers differ from what the config says of all (see ``pruned``), each one's is told.
    """
    found = {
        "layers": config.num_hidden_layers,
        **({"decoder_layers": config.decoder_layers} if _writes(config) else {}),
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "vocabulary": config.vocab_size,
        "embedding": getattr(config, "embedding_size", config.hidden_size),
    }
    if config.model_type in _LAYOUTS:
        found["intermediate"] = getattr(config, _LAYOUTS[config.model_type].intermediate)
    pruned = {name: list(getattr(config, name)) for name in PRUNED if hasattr(config, name)}
    return {name: int(value) for name, value in found.items()} | pruned


def _writes(config: Any) -> bool:
    """Whether a config is that of an encoder-decoder that counts its decoder's layers."""
    return bool(config.is_encoder_decoder) and hasattr(config, "decoder_layers")


def guess_type(config: dict[str, Any], names: Iterable[str]) -> str | None:
    """Return the model type of a config without ``model_type``, or None where it is not certain.

    Weights under ``bert.`` are BERT's; so are bare ones with a pooler, except where the config
    tells one segment alone, as RoBERTa's does. A table of task types makes it an ERNIE.

    Args:
        config: The config's values.
        names: Names of the weights.
    """
    found = set(names)
    bare = "pooler.dense.weight" in found and int(config.get("type_vocab_size", 2)) > 1
    for prefix in ("bert.", *([""] if bare else [])):
        if f"{prefix}embeddings.word_embeddings.weight" in found:
            task_types = f"{prefix}embeddings.task_type_embeddings.weight" in found
            return "ernie" if task_types else "bert"
    return None
