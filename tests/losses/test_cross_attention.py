"""The loss of cross-attention scores, by hand."""

import pytest
import torch

from tinybert.errors import ShapeError
from tinybert.losses import cross_attention_loss


def test_by_hand_and_padding_moves_nothing():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 4, 5)
    targets = torch.tensor([[False] * 4, [False, True, True, True]])
    sources = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
    total = count = 0
    for b in range(2):
        for h in range(3):
            for t in range(4):
                for s in range(5):
                    if not targets[b, t] and not sources[b, s]:
                        total += (student[b, h, t, s] - teacher[b, h, t, s]).item() ** 2
                        count += 1
    found = cross_attention_loss(student, teacher, targets, sources)
    assert found.item() == pytest.approx(total / count, abs=1e-6)
    padded = (targets[:, None, :, None] | sources[:, None, None, :]).expand(2, 3, 4, 5)
    again = cross_attention_loss(student.masked_fill(padded, 99.0), teacher, targets, sources)
    assert again.item() == pytest.approx(found.item())
    assert cross_attention_loss(teacher, teacher, targets, sources).item() == 0
    found.backward()
    assert student.grad[padded].abs().sum() == 0


def test_shapes():
    scores, mask = torch.zeros(1, 2, 3, 4), torch.zeros(1, 3, dtype=torch.bool)
    with pytest.raises(ShapeError, match=r"student scores are .*; wanted the same"):
        cross_attention_loss(scores, scores[:, :1], mask, mask)
    with pytest.raises(
        ShapeError, match=r"pad masks are \(1, 3\) and \(1, 3\); wanted \(1, 3\) and \(1, 4"
    ):
        cross_attention_loss(scores, scores, mask, mask)
