"""The relation loss against plain numpy loops, padding, equality, gradients and unlike widths."""

import numpy as np
import pytest
import torch

from tinybert.errors import ConfigError, ShapeError
from tinybert.losses import relation_loss

B, T, D, E = 3, 5, 8, 12
LENGTHS = (5, 3, 1)


@pytest.fixture
def pad_mask():
    return torch.arange(T)[None, :] >= torch.tensor(LENGTHS)[:, None]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(values):
    raised = np.exp(values - values.max())
    return raised / raised.sum()


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_equals_the_loop(pad_mask, heads):
    student, teacher = draw(B, T, D), draw(B, T, E, seed=1)
    total, count = 0.0, 0
    for b, length in enumerate(LENGTHS):
        for a in range(heads):
            for t in range(length):
                rows = []
                for x in (student, teacher):
                    size = x.shape[-1] // heads
                    part = x[b, :length, a * size : (a + 1) * size].double().numpy()
                    rows.append(softmax(part @ part[t] / np.sqrt(size)))
                own, theirs = rows
                total += float((theirs * np.log(theirs / own)).sum())
                count += 1
    assert relation_loss(student, teacher, pad_mask, heads).item() == pytest.approx(
        total / count, rel=1e-4
    )


def test_zero_at_equality_and_above_elsewhere(pad_mask):
    vectors = draw(B, T, D)
    assert relation_loss(vectors, vectors, pad_mask, 2).item() == pytest.approx(0, abs=1e-7)
    assert relation_loss(vectors, draw(B, T, D, seed=1), pad_mask, 2) > 0.1


def test_rotated_vectors_have_the_same_relations(pad_mask):
    """Only products of vectors are compared, so widths and bases may differ."""
    student = draw(B, T, D)
    wide, _ = torch.linalg.qr(draw(E, E, seed=2))
    scale = (E / D) ** 0.25
    teacher = student @ wide[:D] * scale
    assert relation_loss(student, teacher, pad_mask, 1).item() == pytest.approx(0, abs=1e-6)


def test_padding_never_counts(pad_mask):
    vectors = [draw(B, T, D), draw(B, T, E, seed=1)]
    before = relation_loss(*vectors, pad_mask, 2)
    for own in (0, 1):
        vectors[own] = vectors[own].masked_fill(pad_mask[..., None], 99.0)
        assert relation_loss(*vectors, pad_mask, 2) == before


def test_gradients_reach_the_student_alone_and_no_padding(pad_mask):
    student = draw(B, T, D).requires_grad_()
    relation_loss(student, draw(B, T, E, seed=1), pad_mask, 2).backward()
    assert student.grad.isfinite().all()
    assert (student.grad[pad_mask] == 0).all()
    assert student.grad[0].abs().min() > 0


def test_wrong_shapes_are_named(pad_mask):
    with pytest.raises(ConfigError, match="relation_heads is 3; wanted a divisor of the width 8"):
        relation_loss(draw(B, T, D), draw(B, T, E), pad_mask, 3)
    with pytest.raises(ShapeError, match="wanted the same batch and tokens"):
        relation_loss(draw(B, T, D), draw(B, T + 1, E), pad_mask, 2)
    with pytest.raises(ShapeError, match="pad_mask is"):
        relation_loss(draw(B, T, D), draw(B, T, E), pad_mask[:, :1], 2)
