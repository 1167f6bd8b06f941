"""Losses against plain numpy loops, padding, equality and gradients."""

import math

import numpy as np
import pytest
import torch

from tinybert.errors import ConfigError, ShapeError
from tinybert.losses import (
    attention_loss,
    embedding_loss,
    hidden_loss,
    multilabel_loss,
    prediction_loss,
    regression_loss,
)

B, T, H, D, E, C = 3, 5, 2, 4, 6, 3
LENGTHS = (5, 3, 1)


@pytest.fixture
def pad_mask():
    return torch.arange(T)[None, :] >= torch.tensor(LENGTHS)[:, None]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_attention_equals_the_loop(pad_mask):
    student, teacher = draw(B, H, T, T), draw(B, H, T, T, seed=1)
    total, count = 0.0, 0
    for b, length in enumerate(LENGTHS):
        for h in range(H):
            for i in range(length):
                for j in range(length):
                    total += float(student[b, h, i, j] - teacher[b, h, i, j]) ** 2
                    count += 1
    assert attention_loss(student, teacher, pad_mask).item() == pytest.approx(total / count)


def test_hidden_equals_the_loop_with_projection(pad_mask):
    student, teacher, weight = draw(B, T, D), draw(B, T, E, seed=1), draw(D, E, seed=2)
    total, count = 0.0, 0
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            projected = np.asarray(student[b, t]) @ np.asarray(weight)
            total += float(((projected - np.asarray(teacher[b, t])) ** 2).sum())
            count += E
    loss = hidden_loss(student, teacher, pad_mask, weight)
    assert loss.item() == pytest.approx(total / count)
    assert embedding_loss(student, teacher, pad_mask, weight).item() == loss.item()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_prediction_equals_the_loop(temperature):
    student, teacher = draw(B, C), draw(B, C, seed=1)
    total = 0.0
    for b in range(B):
        soft = [math.exp(float(z) / temperature) for z in teacher[b]]
        own = [math.exp(float(z) / temperature) for z in student[b]]
        total -= sum(s / sum(soft) * math.log(o / sum(own)) for s, o in zip(soft, own, strict=True))
    wanted = temperature**2 * total / B
    assert prediction_loss(student, teacher, temperature).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_multilabel_equals_the_loop(temperature):
    student, teacher = draw(B, C), draw(B, C, seed=1)
    total = 0.0
    for b in range(B):
        for c in range(C):
            soft, own = (
                1 / (1 + math.exp(-float(z[b, c]) / temperature)) for z in (teacher, student)
            )
            total -= soft * math.log(own) + (1 - soft) * math.log(1 - own)
    wanted = temperature**2 * total / (B * C)
    assert multilabel_loss(student, teacher, temperature).item() == pytest.approx(wanted, rel=1e-5)


def test_regression_equals_the_loop():
    student, teacher = draw(B, 1), draw(B, 1, seed=1)
    wanted = sum(float(a - b) ** 2 for a, b in zip(student, teacher, strict=True)) / B
    assert regression_loss(student, teacher).item() == pytest.approx(wanted)


def test_zero_at_equality(pad_mask):
    scores, states, logits = draw(B, H, T, T), draw(B, T, D), draw(B, C)
    assert attention_loss(scores, scores, pad_mask) == 0
    assert hidden_loss(states, states, pad_mask) == 0
    leaf = logits.clone().requires_grad_()
    prediction_loss(leaf, logits, 2.0).backward()
    assert leaf.grad.abs().max() < 1e-7


def test_padding_never_counts(pad_mask):
    scores, states = (
        (draw(B, H, T, T), draw(B, H, T, T, seed=1)),
        (draw(B, T, D), draw(B, T, D, seed=1)),
    )
    before = attention_loss(*scores, pad_mask), hidden_loss(*states, pad_mask)
    padded = pad_mask[:, None, :, None] | pad_mask[:, None, None, :]
    for own in (0, 1):
        scores = [s.masked_fill(padded, 99.0) if i == own else s for i, s in enumerate(scores)]
        states = [
            s.masked_fill(pad_mask[..., None], 99.0) if i == own else s
            for i, s in enumerate(states)
        ]
        assert attention_loss(*scores, pad_mask) == before[0]
        assert hidden_loss(*states, pad_mask) == before[1]


def test_more_padding_changes_nothing(pad_mask):
    student, teacher = draw(B, T, D), draw(B, T, D, seed=1)
    wide = [torch.nn.functional.pad(x, (0, 0, 0, 7), value=5.0) for x in (student, teacher)]
    wider = torch.nn.functional.pad(pad_mask, (0, 7), value=True)
    torch.testing.assert_close(hidden_loss(*wide, wider), hidden_loss(student, teacher, pad_mask))


def test_gradients_reach_only_student_and_projection(pad_mask):
    student = draw(B, T, D).requires_grad_()
    weight = draw(D, E, seed=2).requires_grad_()
    teacher = draw(B, T, E, seed=1)
    hidden_loss(student, teacher, pad_mask, weight).backward()
    assert student.grad[~pad_mask].abs().min() > 0
    assert weight.grad.abs().sum() > 0
    assert (student.grad[pad_mask] == 0).all()


def test_wrong_shapes_are_named(pad_mask):
    with pytest.raises(ShapeError, match="teacher's number of heads"):
        attention_loss(draw(B, H, T, T), draw(B, H + 1, T, T), pad_mask)
    with pytest.raises(ShapeError, match=r"projection of \(4, 6\)"):
        hidden_loss(draw(B, T, D), draw(B, T, E), pad_mask)
    with pytest.raises(ShapeError, match="pad_mask is"):
        hidden_loss(draw(B, T, D), draw(B, T, D), pad_mask[:, 1:])
    with pytest.raises(ShapeError, match="same labels"):
        prediction_loss(draw(B, C), draw(B, C + 1))
    with pytest.raises(ConfigError, match="temperature is 0"):
        prediction_loss(draw(B, C), draw(B, C), 0)
    with pytest.raises(ConfigError, match="temperature is -1"):
        multilabel_loss(draw(B, C), draw(B, C), -1)
