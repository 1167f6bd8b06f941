"""Losses on words against plain loops; what is no first piece of a word never counts."""

import math

import pytest
import torch

from tinybert.errors import ConfigError, ShapeError
from tinybert.losses import tag_loss, token_loss

B, T, C = 3, 5, 4
FIRSTS = ((1, 2, 4), (1,), ())


@pytest.fixture
def word_mask():
    mask = torch.zeros(B, T, dtype=torch.bool)
    for row, firsts in enumerate(FIRSTS):
        mask[row, list(firsts)] = True
    return mask


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shares(logits, temperature=1.0):
    powers = [math.exp(float(z) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_prediction_equals_the_loop(word_mask, temperature):
    student, teacher = draw(B, T, C), draw(B, T, C, seed=1)
    total, words = 0.0, 0
    for b, firsts in enumerate(FIRSTS):
        for t in firsts:
            soft, own = shares(teacher[b, t], temperature), shares(student[b, t], temperature)
            total -= sum(s * math.log(o) for s, o in zip(soft, own, strict=True))
            words += 1
    found = token_loss(student, teacher, word_mask, temperature).item()
    assert found == pytest.approx(temperature**2 * total / words, rel=1e-5)


def test_tags_equal_the_loop(word_mask):
    """A word without a tag counts among the words, and adds nothing."""
    logits, tags = draw(B, T, C), torch.full((B, T), -100)
    tags[0, 1], tags[0, 2], tags[1, 1] = 3, 0, 2
    wanted = -sum(math.log(shares(logits[b, t])[tags[b, t]]) for b, t in ((0, 1), (0, 2), (1, 1)))
    assert tag_loss(logits, tags, word_mask).item() == pytest.approx(wanted / 4, rel=1e-5)


def test_what_is_no_first_piece_never_counts(word_mask):
    student, teacher = draw(B, T, C), draw(B, T, C, seed=1)
    tags = torch.where(word_mask, 1, -100)
    before = token_loss(student, teacher, word_mask), tag_loss(student, tags, word_mask)
    student, teacher = (x.masked_fill(~word_mask[..., None], 99.0) for x in (student, teacher))
    student.requires_grad_()
    after = token_loss(student, teacher, word_mask), tag_loss(student, tags + 0, word_mask)
    assert after == before
    sum(after).backward()
    assert (student.grad.abs().sum(-1) > 0).equal(word_mask)
    assert tag_loss(student, tags.masked_fill(~word_mask, 2), word_mask) == before[1]


def test_gradients_end_at_equality_and_reach_the_student_only(word_mask):
    student, teacher = (draw(B, T, C).requires_grad_() for _ in range(2))
    token_loss(student, teacher.detach(), word_mask, 2.0).backward()
    assert student.grad.abs().max() < 1e-7
    assert teacher.grad is None


def test_a_batch_without_words():
    student = draw(1, 3, C).requires_grad_()
    none = torch.zeros(1, 3, dtype=torch.bool)
    loss = token_loss(student, draw(1, 3, C), none) + tag_loss(student, none.long(), none)
    loss.backward()
    assert loss == 0
    assert student.grad.abs().max() == 0


def test_shapes_are_named(word_mask):
    with pytest.raises(ShapeError, match=r"\(3, 5, 4\), teacher logits \(3, 5, 3\) \(batch, tok"):
        token_loss(draw(B, T, C), draw(B, T, C - 1), word_mask)
    for loss in (
        lambda: token_loss(draw(B, T, C), draw(B, T, C), word_mask[:, 1:]),
        lambda: tag_loss(draw(B, T, C), torch.zeros(B, T), word_mask[:, 1:]),
    ):
        with pytest.raises(
            ShapeError, match=r"word_mask is \(3, 4\); wanted \(3, 5\) \(batch, tok"
        ):
            loss()
    with pytest.raises(ConfigError, match="temperature is 0; wanted a number above 0"):
        token_loss(draw(B, T, C), draw(B, T, C), word_mask, 0)
