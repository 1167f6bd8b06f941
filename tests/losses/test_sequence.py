"""Losses of texts that are written token by token."""

import math

import pytest
import torch
import torch.nn.functional as F

from tinybert.errors import ConfigError, ShapeError
from tinybert.losses import next_token_loss, smoothed_loss


@pytest.fixture
def given():
    torch.manual_seed(1)
    logits = torch.randn(4, 5, requires_grad=True)
    return logits, torch.tensor([1, 4, 2, 0])


def by_hand(logits, labels, smoothing, weights):
    total = 0.0
    for i, weight in enumerate(weights):
        row = [float(x) for x in logits.detach()[i]]
        norm = math.log(sum(math.exp(x) for x in row))
        right = norm - row[labels[i]]
        spread = sum(norm - x for x in row) / len(row)
        total += weight * ((1 - smoothing) * right + smoothing * spread)
    return total / sum(weights)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [(1.0,) * 4, (0.25, 0.25, 2.0, 0.0)])
def test_smoothed_by_hand(given, smoothing, weights):
    logits, labels = given
    found = smoothed_loss(logits.log_softmax(-1), labels, smoothing, torch.tensor(weights))
    assert found.item() == pytest.approx(by_hand(logits, labels, smoothing, weights), abs=1e-6)
    library = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    alike = smoothed_loss(logits.log_softmax(-1), labels, smoothing)
    assert alike.item() == pytest.approx(library.item(), abs=1e-6)


def test_next_token_by_hand(given):
    logits, _ = given
    ids, probabilities = torch.tensor([[0, 3]] * 4), torch.tensor([[0.6, 0.2]] * 4)
    each = []
    for row in logits.detach().tolist():
        norm = math.log(sum(math.exp(x) for x in row))
        pairs = ((0.75, 0), (0.25, 3))
        each.append(sum(p * (math.log(p) - (row[v] - norm)) for p, v in pairs))
    found = next_token_loss(logits.log_softmax(-1), ids, probabilities)
    assert found.item() == pytest.approx(sum(each) / 4, abs=1e-6)
    weights = torch.tensor([1.0, 0.0, 0.5, 0.0])
    found = next_token_loss(logits.log_softmax(-1), ids, probabilities, weights)
    assert found.item() == pytest.approx((each[0] + each[2] / 2) / 1.5, abs=1e-6)


def test_next_token_is_zero_at_equality(given):
    logits, _ = given
    probabilities, ids = logits.detach().softmax(-1).sort(dim=-1, descending=True)
    loss = next_token_loss(logits.log_softmax(-1), ids, probabilities)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert logits.grad.abs().max() < 1e-6


def test_wrong_settings(given):
    logits, labels = given
    with pytest.raises(ConfigError, match=r"smoothing is 1.0; wanted 0 to 1"):
        smoothed_loss(logits, labels, 1.0)
    with pytest.raises(ShapeError, match=r"labels are \(3,\); wanted 4 tokens.*\(4, 5\)"):
        smoothed_loss(logits, labels[:3])
    with pytest.raises(ShapeError, match=r"top_ids are \(3, 2\); wanted 4 tokens"):
        next_token_loss(logits, torch.zeros(3, 2, dtype=torch.long), torch.ones(3, 2))
