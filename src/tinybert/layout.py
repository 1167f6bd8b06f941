"""What each architecture calls its parts: the only file that knows foreign names."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from tinybert.errors import UnsupportedModelError

__all__ = ["Layout", "layout_of"]


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
        head_inner, head_outer: The head's two matrices, an activation between them.
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

    def encoder(self, model: nn.Module) -> nn.Module:
        """Return the encoder inside a model with a head."""
        return model.get_submodule(self.base)

    def layer_list(self, model: nn.Module) -> nn.ModuleList:
        """Return the list of encoder layers of a model with a head."""
        found = self.encoder(model).get_submodule(self.layers)
        assert isinstance(found, nn.ModuleList)
        return found

    def embedding(self, model: nn.Module) -> nn.Module:
        """Return the module whose output enters the first layer."""
        encoder = self.encoder(model)
        wide = getattr(encoder, "embeddings_project", None)
        return wide if isinstance(wide, nn.Module) else encoder.get_submodule("embeddings")


_LAYOUTS = {
    "bert": Layout(base="bert", head_inner="bert.pooler.dense", head_outer="classifier"),
    "roberta": Layout(base="roberta"),
    "xlm-roberta": Layout(base="roberta"),
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
