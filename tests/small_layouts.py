"""Random classifiers of every layout, a few thousand weights each, in memory."""

from copy import deepcopy

import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    ErnieConfig,
    RobertaConfig,
    XLMRobertaConfig,
)


def configs(layers=4, labels=3, **more):
    """Return a config for each layout; ELECTRA's also with embeddings narrower than its states."""
    common = {"vocab_size": 50, "max_position_embeddings": 40, "num_labels": labels, **more}
    sizes = common | {
        "hidden_size": 24,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    return {
        "bert": BertConfig(**sizes),
        "ernie": ErnieConfig(**sizes),
        "roberta": RobertaConfig(**sizes, type_vocab_size=1),
        "camembert": CamembertConfig(**sizes, type_vocab_size=1),
        "xlm-roberta": XLMRobertaConfig(**sizes, type_vocab_size=2),
        "electra": ElectraConfig(**sizes, embedding_size=24),
        "electra-narrow": ElectraConfig(**sizes, embedding_size=16),
        "distilbert": DistilBertConfig(**common, dim=24, n_layers=layers, n_heads=4, hidden_dim=48),
    }


CONFIGS = configs()


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
