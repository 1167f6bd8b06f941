"""Losses of texts that are written token by token."""

import math

import pytest
import torch

from tinybert.errors import ConfigError, ShapeError
from tinybert.losses import next_token_loss, smoothed_loss


@pytest.fixture
def given():
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 5, requires_grad=True)
    labels = torch.tensor([[1, 4, 0], [2, 99, 99]])
    pad = torch.tensor([[False, False, False], [False, True, True]])
    return logits, labels, pad


def by_hand(logits, labels, pad, smoothing, weights):
    total = count = 0.0
    for b in range(2):
        for t in range(3):
            if not pad[b, t]:
                row = [float(x) for x in logits.detach()[b, t]]
                norm = math.log(sum(math.exp(x) for x in row))
                right = norm - row[labels[b, t]]
                spread = sum(norm - x for x in row) / len(row)
                total += weights[b] * ((1 - smoothing) * right + smoothing * spread)
                count += weights[b]
    return total / count


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.25, 2.0)])
def test_smoothed_by_hand(given, smoothing, weights):
    logits, labels, pad = given
    labels = labels.where(~pad, 0)
    found = smoothed_loss(logits, labels, pad, smoothing, torch.tensor(weights))
    assert found.item() == pytest.approx(by_hand(logits, labels, pad, smoothing, weights), abs=1e-6)
    if weights == (1.0, 1.0):
        assert smoothed_loss(logits, labels, pad, smoothing).item() == pytest.approx(found.item())


def test_next_token_by_hand(given):
    logits, _, pad = given
    ids = torch.tensor([[[0, 3]] * 3] * 2)
    given_probabilities = torch.tensor([[[0.6, 0.2]] * 3] * 2)
    found = next_token_loss(logits, ids, given_probabilities, pad).item()
    total = 0.0
    places = [(0, 0), (0, 1), (0, 2), (1, 0)]
    for b, t in places:
        row = [float(x) for x in logits.detach()[b, t]]
        norm = math.log(sum(math.exp(x) for x in row))
        for p, v in ((0.75, 0), (0.25, 3)):
            total += p * (math.log(p) - (row[v] - norm))
    assert found == pytest.approx(total / len(places), abs=1e-6)


def test_next_token_is_zero_at_equality_and_padding_moves_nothing(given):
    logits, _, pad = given
    probabilities, ids = logits.detach().softmax(-1).sort(dim=-1, descending=True)
    assert next_token_loss(logits, ids, probabilities, pad).item() == pytest.approx(0, abs=1e-6)
    spoiled = probabilities.masked_fill(pad[..., None], 99.0)
    other = logits.detach().masked_fill(pad[..., None], 99.0).requires_grad_()
    loss = next_token_loss(other, ids, spoiled, pad)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    smoothed_loss(other, torch.zeros_like(pad, dtype=torch.long), pad, 0.1).backward()
    assert other.grad[pad].abs().sum() == 0
    assert other.grad[~pad].abs().sum() > 0


def test_wrong_settings(given):
    logits, labels, pad = given
    with pytest.raises(ConfigError, match=r"smoothing is 1.0; wanted 0 to 1"):
        smoothed_loss(logits, labels, pad, 1.0)
    with pytest.raises(ShapeError, match=r"pad_mask is \(2, 2\); wanted \(2, 3\)"):
        smoothed_loss(logits, labels, pad[:, :2])
