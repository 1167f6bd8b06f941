"""Losses on spans against plain loops; places where no answer may stand never count."""

import math

import pytest
import torch

from tinybert.errors import ConfigError, ShapeError
from tinybert.losses import place_loss, span_loss

B, T = 3, 6
PLACES = ((0, 3, 4, 5), (0, 2, 3), (0,))


@pytest.fixture
def span_mask():
    mask = torch.zeros(B, T, dtype=torch.bool)
    for row, places in enumerate(PLACES):
        mask[row, list(places)] = True
    return mask


def draw(seed=0):
    return torch.randn(B, T, 2, generator=torch.Generator().manual_seed(seed))


def shares(logits, b, side, temperature=1.0):
    powers = {i: math.exp(float(logits[b, i, side]) / temperature) for i in PLACES[b]}
    return {i: power / sum(powers.values()) for i, power in powers.items()}


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_prediction_equals_the_loop(span_mask, temperature):
    student, teacher = draw(), draw(seed=1)
    total = 0.0
    for b in range(B):
        for side in (0, 1):
            soft, own = (shares(x, b, side, temperature) for x in (teacher, student))
            total -= sum(soft[i] * math.log(own[i]) for i in soft)
    found = span_loss(student, teacher, span_mask, temperature).item()
    assert found == pytest.approx(temperature**2 * total / (2 * B), rel=1e-5)


def test_places_equal_the_loop(span_mask):
    """A window without a label counts among the windows, and adds nothing."""
    logits = draw()
    places = torch.tensor([[3, 5], [-100, -100], [0, 0]])
    wanted = -sum(math.log(shares(logits, b, s)[int(places[b, s])]) for b in (0, 2) for s in (0, 1))
    found = place_loss(logits, places, span_mask).item()
    assert found == pytest.approx(wanted / (2 * B), rel=1e-5)


def test_what_is_no_place_never_counts(span_mask):
    student, teacher, places = draw(), draw(seed=1), torch.tensor([[3, 5], [2, 2], [0, 0]])
    before = span_loss(student, teacher, span_mask), place_loss(student, places, span_mask)
    student, teacher = (x.masked_fill(~span_mask[..., None], 99.0) for x in (student, teacher))
    student.requires_grad_()
    after = span_loss(student, teacher, span_mask), place_loss(student, places, span_mask)
    assert after == before
    sum(after).backward()
    assert not student.grad[~span_mask].any()
    assert student.grad[span_mask].any()


def test_the_teacher_gets_no_gradient_at_equality(span_mask):
    student = draw().requires_grad_()
    span_loss(student, student.detach(), span_mask).backward()
    torch.testing.assert_close(student.grad, torch.zeros(B, T, 2), atol=1e-6, rtol=0)


def test_shapes_and_temperature_are_checked(span_mask):
    with pytest.raises(ShapeError, match=r"wanted \(batch, tokens, 2\) and \(batch, tokens\)"):
        span_loss(draw()[..., :1], draw()[..., :1], span_mask)
    with pytest.raises(ShapeError, match="wanted the same"):
        span_loss(draw(), draw()[:, :3], span_mask)
    with pytest.raises(ConfigError, match="temperature is 0"):
        span_loss(draw(), draw(), span_mask, 0)
    with pytest.raises(ShapeError, match=r"places are \(3, 1\); wanted \(3, 2\)"):
        place_loss(draw(), torch.zeros(3, 1, dtype=torch.int64), span_mask)
