"""Targets of language models: what is hidden, what is next, how often it is guessed."""

import doctest
import math

import pytest
import torch

from tinybert import language_model
from tinybert.errors import ConfigError, ShapeError
from tinybert.language_model import IGNORED, mask_tokens, shift_tokens, token_scores


def test_hidden_tokens_are_the_targets_and_nothing_else_is():
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (200, 40))
    inputs, targets = mask_tokens(ids, mask=4, share=0.3, specials=5)
    hidden = targets != IGNORED
    assert torch.equal(targets[hidden], ids[hidden])
    assert torch.equal(inputs[~hidden], ids[~hidden])
    assert (inputs[hidden] == 4).all()
    assert (ids[hidden] >= 5).all()
    assert hidden[ids >= 5].float().mean().item() == pytest.approx(0.3, abs=0.02)
    everything, _ = mask_tokens(ids, mask=4, share=1, specials=5)
    assert (everything <= 4).all()


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_bad_share_is_named(share):
    with pytest.raises(ConfigError, match=f"share is {share}; wanted above 0, at most 1"):
        mask_tokens(torch.ones(1, 2).long(), mask=0, share=share)


def test_decoders_read_all_but_the_last_and_guess_all_but_the_first():
    inputs, targets = shift_tokens(torch.tensor([[2, 7, 8, 3], [2, 9, 3, 0]]), pad=0)
    assert inputs.tolist() == [[2, 7, 8], [2, 9, 3]]
    assert targets.tolist() == [[7, 8, 3], [9, 3, IGNORED]]


def test_scores_by_hand():
    logits = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [9.0, 9.0, 9.0]]])
    targets = torch.tensor([[0, 1, IGNORED]])
    learned = torch.tensor([1, 1, 1, 2, IGNORED])
    scores = token_scores(logits, targets, learned)
    first = math.log(math.exp(2) + 2) - 2
    second = math.log(math.exp(1) + 2)
    assert scores["loss"] == pytest.approx((first + second) / 2, abs=1e-6)
    assert scores["accuracy"] == 0.5
    assert scores["unigram_loss"] == pytest.approx(
        -(math.log(1 / 7) + math.log(4 / 7)) / 2, abs=1e-6
    )
    assert scores["unigram_accuracy"] == 0.5


def test_scores_without_targets_or_of_another_shape_are_refused():
    logits = torch.zeros(1, 2, 3)
    with pytest.raises(ShapeError, match="no target is left to guess"):
        token_scores(logits, torch.full((1, 2), IGNORED), torch.tensor([1]))
    with pytest.raises(ShapeError, match=r"logits are \(1, 2, 3\), targets \(1, 3\); wanted a row"):
        token_scores(logits, torch.zeros(1, 3).long(), torch.tensor([1]))


def test_docstring_examples_run():
    result = doctest.testmod(language_model)
    assert result.attempted
    assert not result.failed
