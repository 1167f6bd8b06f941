"""Rewrites a wide Transformer's weights in a narrow basis: norms, attention, feed-forward."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "aligned_basis",
    "assign",
    "keep_neurons",
    "leading_basis",
    "linear",
    "project_attention",
    "project_norm",
]


def leading_basis(tables: Sequence[Tensor], hidden: int) -> Tensor:
    """Return P (E, D): orthonormal columns spanning the leading directions of tables (n, E).

    The all-ones direction is kept and lands on the all-ones direction of the student, so that the
    mean that layer norm subtracts is the same in both. Each table counts by the mean of its rows.
    """
    width = tables[0].shape[1]
    moment = torch.zeros(width, width, dtype=torch.float64)
    for table in tables:
        centered = table.double() - table.double().mean(dim=1, keepdim=True)
        moment += centered.T @ centered / len(table)
    _, vectors = torch.linalg.eigh(moment)
    ones = torch.full((width, 1), width**-0.5, dtype=torch.float64)
    leading = vectors.flip(1)[:, : hidden - 1]
    basis = torch.linalg.qr(torch.cat([ones, leading], dim=1)).Q
    basis[:, 0] = ones[:, 0]
    mirror = torch.full((hidden,), -(hidden**-0.5), dtype=torch.float64)
    mirror[0] += 1.0
    if hidden > 1:
        basis -= 2 * (basis @ mirror)[:, None] * mirror / mirror.square().sum()
    found: Tensor = basis.float()
    return found


def aligned_basis(basis: Tensor, wide: Tensor, narrow: Tensor) -> Tensor:
    """Turn a basis P within its span so that wide rows land near narrow ones (Procrustes).

    min over rotations Q of ‖X·P·Q - Y‖ that leave the all-ones direction where it is.

    Args:
        basis: P (E, D).
        wide: X (n, E).
        narrow: Y (n, D).
    """
    hidden = basis.shape[1]
    given, wanted = wide.double() @ basis.double(), narrow.double()
    given, wanted = (x - x.mean(dim=1, keepdim=True) for x in (given, wanted))
    product = given.T @ wanted
    product += (1 + product.norm()) / hidden  # the all-ones pair comes first
    u, _, vh = torch.linalg.svd(product)
    found: Tensor = (basis.double() @ u @ vh).float()
    return found


def project_norm(gain: Tensor, basis: Tensor) -> Tensor:
    """Return the diagonal of Pᵀ·diag(gain)·P, scaled so that states keep their length."""
    width, hidden = basis.shape
    diagonal: Tensor = (basis.square() * gain[:, None]).sum(0)
    return diagonal.mul((width / hidden) ** 0.5)


def keep_neurons(
    target: nn.Module, source: nn.Module, names: tuple[str, str], inputs: Tensor, outputs: Tensor
) -> None:
    """Keep the neurons with the largest weights between two matrices, in their old order."""
    inner, outer = names
    inner_weight, inner_bias = linear(source, inner)
    outer_weight, outer_bias = linear(source, outer)
    part: Any = target.get_submodule(inner)
    strength = inner_weight.norm(dim=1) * outer_weight.norm(dim=0)
    kept = strength.topk(part.out_features).indices.sort().values
    assign(target, inner, inner_weight[kept] @ inputs, inner_bias[kept])
    assign(target, outer, outputs.T @ outer_weight[:, kept], outer_bias @ outputs)


def project_attention(
    target: nn.Module,
    source: nn.Module,
    names: Sequence[str],
    bases: tuple[Tensor, Tensor],
    heads: tuple[int, int],
    scale: float = 1.0,
) -> None:
    """Cut each head's Q·Kᵀ and V·O products to the student's head size; strongest heads first.

    Args:
        target, source: Hold the student's and the teacher's projections.
        names: Of query, key, value and output projections in both.
        bases: Of the queries' and the output's side, and of the keys' and values' side.
        heads: Of the student and of the teacher.
        scale: Length of the student's inputs and outputs over the teacher's.
    """
    own, other = bases
    size = own.shape[1] // heads[0]
    query, key, value = (
        torch.cat([weight @ basis / scale, bias[:, None]], dim=1).unflatten(0, (heads[1], -1))
        for (weight, bias), basis in zip(
            (linear(source, name) for name in names[:3]), (own, other, other), strict=True
        )
    )
    out_weight, out_bias = linear(source, names[3])
    out = (own.T @ out_weight * scale).unflatten(1, (heads[1], -1)).transpose(0, 1)
    scores = query.transpose(1, 2) @ key * (size / query.shape[1]) ** 0.5
    mixes = out @ value
    strength = mixes.flatten(1).norm(dim=1)
    picked = strength.topk(min(heads)).indices.sort().values if heads[0] < heads[1] else None
    index = picked if picked is not None else torch.arange(heads[0]) % heads[1]
    left, right = _low_rank(scores[index], size)
    mix_left, mix_right = _low_rank(mixes[index], size)
    copies = torch.bincount(index, minlength=heads[1])[index][:, None, None]
    for name, rows in zip(names[:3], (left, right, mix_right), strict=True):
        flat = rows.transpose(1, 2).flatten(0, 1)
        assign(target, name, flat[:, :-1], flat[:, -1])
    merged = (mix_left / copies).transpose(0, 1).flatten(1)
    assign(target, names[3], merged, out_bias @ own * scale)


def _low_rank(matrices: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return L (H, n, rank) and R (H, m, rank) whose products L·Rᵀ approximate (H, n, m)."""
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    found = min(rank, s.shape[-1])
    root = s[:, None, :found].sqrt()
    left, right = u[..., :found] * root, vh[:, :found].transpose(1, 2) * root
    return nn.functional.pad(left, (0, rank - found)), nn.functional.pad(right, (0, rank - found))


def linear(module: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a part as float32."""
    part: Any = module.get_submodule(name)
    return part.weight.detach().float(), part.bias.detach().float()


def assign(module: nn.Module, name: str, weight: Tensor, bias: Tensor) -> None:
    """Fill weight and bias of a part."""
    part: Any = module.get_submodule(name)
    part.weight.copy_(weight)
    part.bias.copy_(bias)
