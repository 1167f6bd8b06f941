"""The attention that a training uses."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from tinybert.distill.attention import plain_attention


@pytest.fixture
def module():
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=20, hidden_size=16, **sizes)
    return nn.ModuleDict({"student": BertModel(config).eval()})


def used(module):
    return module["student"].config._attn_implementation


@pytest.mark.skipif(torch.cuda.is_available(), reason="a graphics card keeps the fused one")
def test_short_rows_in_bfloat16_attend_plainly_and_alike(module):
    ids = torch.tensor([[3, 4, 5, 0]])
    fused = module["student"](ids, attention_mask=ids > 0).last_hidden_state
    with plain_attention(module, bf16=True, longest=100):
        assert used(module) == "eager"
        plain = module["student"](ids, attention_mask=ids > 0).last_hidden_state
    assert used(module) == "sdpa"
    torch.testing.assert_close(plain[:, :3], fused[:, :3])


@pytest.mark.parametrize(("bf16", "longest"), [(False, 100), (True, 193), (True, None)])
def test_all_others_keep_the_fused_one(module, bf16, longest):
    with plain_attention(module, bf16=bf16, longest=longest):
        assert used(module) == "sdpa"


def test_a_training_that_breaks_leaves_the_model_as_it_was(module):
    with pytest.raises(KeyboardInterrupt), plain_attention(module, bf16=True, longest=9):
        raise KeyboardInterrupt
    assert used(module) == "sdpa"
