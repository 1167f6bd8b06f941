"""Random classifiers of every layout, a few thousand weights each, in memory."""

from copy import deepcopy

import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "num_labels": 3,
}
CONFIGS = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "xlm-roberta": XLMRobertaConfig(**SIZES),
    "electra": ElectraConfig(**SIZES, embedding_size=24),
    "electra-narrow": ElectraConfig(**SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=50, dim=24, n_layers=4, n_heads=4, hidden_dim=48,
        max_position_embeddings=40, num_labels=3,
    ),
}  # fmt: skip


def small_classifier(name):
    """Return the classifier of a layout, in eval mode; the same weights at each call."""
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(deepcopy(CONFIGS[name])).eval()


def batch():
    """Return ids and mask of three texts, one of them padded."""
    ids = torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}
