"""Losses of texts that are written token by token."""

import math

import pytest
import torch
import torch.nn.functional as F

from tinybert.errors import ConfigError, ShapeError
from tinybert.losses import log_probabilities, next_token_loss, sequence, smoothed_loss


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


def smoothed(logits, labels, *settings):
    found, mean = log_probabilities(logits, labels[:, None])
    return smoothed_loss(found[:, 0], mean, *settings)


def next_token(logits, ids, *settings):
    return next_token_loss(log_probabilities(logits, ids)[0], *settings)


@pytest.mark.parametrize("block", [2**18, 10])
@pytest.mark.parametrize("parts", [(1.0, 0.0), (0.0, 1.0), (0.7, 0.3)])
def test_log_probabilities_as_of_the_library(block, parts, monkeypatch):
    monkeypatch.setitem(sequence._BLOCK, "cpu", block)
    torch.manual_seed(0)
    ids = torch.tensor([[0, 4, 4], [1, 2, 3], [3, 3, 3]])
    weights = torch.randn(3, 3)
    values, gradients = [], []
    for own in (True, False):
        logits = (
            5 * torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
        ).requires_grad_()
        whole = logits.log_softmax(-1)
        found, mean = (
            log_probabilities(logits, ids) if own else (whole.gather(-1, ids), whole.mean(-1))
        )
        loss = parts[0] * (weights * found).sum() + parts[1] * (weights[:, 0] * mean).sum()
        (
            loss if all(parts) else (found * weights).sum() if parts[0] else mean @ weights[0]
        ).backward()
        values += [found, mean]
        gradients.append(logits.grad)
    torch.testing.assert_close(values[:2], values[2:])
    torch.testing.assert_close(*gradients)


def test_log_probabilities_of_bfloat16_are_exact():
    logits = (3 * torch.randn(6, 50)).bfloat16().requires_grad_()
    ids = torch.arange(12).reshape(6, 2)
    found, _ = log_probabilities(logits, ids)
    wanted = logits.float().log_softmax(-1).gather(-1, ids)
    torch.testing.assert_close(found, wanted)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted.sum(), logits)[0])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [(1.0,) * 4, (0.25, 0.25, 2.0, 0.0)])
def test_smoothed_by_hand(given, smoothing, weights):
    logits, labels = given
    found = smoothed(logits, labels, smoothing, torch.tensor(weights))
    assert found.item() == pytest.approx(by_hand(logits, labels, smoothing, weights), abs=1e-6)
    library = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    alike = smoothed(logits, labels, smoothing)
    assert alike.item() == pytest.approx(library.item(), abs=1e-6)


def test_next_token_by_hand(given):
    logits, _ = given
    ids, probabilities = torch.tensor([[0, 3]] * 4), torch.tensor([[0.6, 0.2]] * 4)
    each = []
    for row in logits.detach().tolist():
        norm = math.log(sum(math.exp(x) for x in row))
        pairs = ((0.75, 0), (0.25, 3))
        each.append(sum(p * (math.log(p) - (row[v] - norm)) for p, v in pairs))
    found = next_token(logits, ids, probabilities)
    assert found.item() == pytest.approx(sum(each) / 4, abs=1e-6)
    weights = torch.tensor([1.0, 0.0, 0.5, 0.0])
    found = next_token(logits, ids, probabilities, weights)
    assert found.item() == pytest.approx((each[0] + each[2] / 2) / 1.5, abs=1e-6)


def test_next_token_is_zero_at_equality(given):
    logits, _ = given
    probabilities, ids = logits.detach().softmax(-1).sort(dim=-1, descending=True)
    loss = next_token(logits, ids, probabilities)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert logits.grad.abs().max() < 1e-6


def test_wrong_settings(given):
    logits, labels = given
    with pytest.raises(ConfigError, match=r"smoothing is 1.0; wanted 0 to 1"):
        smoothed(logits, labels, 1.0)
    with pytest.raises(ShapeError, match=r"ids are \(3, 1\); wanted 4 tokens, as of \(4, 5\)"):
        smoothed(logits, labels[:3])
    with pytest.raises(ShapeError, match=r"means are \(3,\); wanted 4 tokens, as of \(4,\)"):
        smoothed_loss(logits[:, 0], logits[:3, 0])
    with pytest.raises(
        ShapeError, match=r"the teacher's probabilities are \(3, 2\); wanted 4 tokens"
    ):
        next_token_loss(logits[:, :2], torch.ones(3, 2))
