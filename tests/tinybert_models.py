"""Small models of the tutorial's class, and inputs for them."""

import torch

import tinybert

SIZES = {"d_model": 16, "nhead": 4, "num_layers": 2, "dim_feedforward": 24, "num_tokens": 30}
SEARCH = {"start": 1, "end": 2, "max_length": 8}


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return tinybert.TinyBERT(**(SIZES | {"dropout": 0.0} | changes)).eval()


def make_pair(**changes):
    return make(num_decoder_layers=2, emb_dim=8, **changes)


def ids(batch, length, seed=0):
    return torch.randint(3, 30, (batch, length), generator=torch.Generator().manual_seed(seed))


def padding(length, *real):
    """Bool (B, T): row b has so many real tokens."""
    return torch.arange(length)[None, :] >= torch.tensor(real)[:, None]
