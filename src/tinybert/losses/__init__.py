"""The paper's four losses, and MiniLMv2's: pure functions of tensors that own no model."""

from tinybert.losses.attention import attention_loss
from tinybert.losses.cross_attention import cross_attention_loss
from tinybert.losses.embedding import embedding_loss
from tinybert.losses.hidden import hidden_loss
from tinybert.losses.prediction import multilabel_loss, prediction_loss, regression_loss
from tinybert.losses.relation import relation_loss
from tinybert.losses.sequence import log_probabilities, next_token_loss, smoothed_loss
from tinybert.losses.span import place_loss, span_loss
from tinybert.losses.token import tag_loss, token_loss

__all__ = [
    "attention_loss",
    "cross_attention_loss",
    "embedding_loss",
    "hidden_loss",
    "log_probabilities",
    "multilabel_loss",
    "next_token_loss",
    "place_loss",
    "prediction_loss",
    "regression_loss",
    "relation_loss",
    "smoothed_loss",
    "span_loss",
    "tag_loss",
    "token_loss",
]
