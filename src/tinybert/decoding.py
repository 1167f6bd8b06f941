"""Turns next-token logits into whole sequences: greedy search and beam search."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tinybert.checkpoint import whole
from tinybert.errors import ConfigError

__all__ = ["NextLogits", "beam_search", "check_search", "evaluating", "greedy_search"]

NextLogits = Callable[[Tensor], Tensor]


def greedy_search(
    next_logits: NextLogits,
    starts: Tensor,
    *,
    end: int,
    pad: int,
    max_length: int,
) -> Tensor:
    """Append the likeliest token again and again until every row has ended.

    Args:
        next_logits: Logits of the token after each prefix: int64 (B, U) to float (B, V).
        starts: First token of each row, int64 (B,).
        end: Id that ends a row.
        pad: Id that fills a row after its end.
        max_length: Most tokens to append.

    Returns:
        Int64 (B, L), L ≤ ``max_length``: without the first token, with ``end``, then ``pad``.
    """
    prefix, done = starts[:, None], torch.zeros_like(starts, dtype=torch.bool)
    for _ in range(max_length):
        token = next_logits(prefix).argmax(-1).masked_fill(done, pad)
        prefix = torch.cat([prefix, token[:, None]], dim=1)
        done = done | (token == end)
        if done.all():
            break
    return prefix[:, 1:]


def beam_search(
    next_logits: NextLogits,
    starts: Tensor,
    *,
    end: int,
    pad: int,
    max_length: int,
    beams: int,
    length_penalty: float,
) -> tuple[Tensor, Tensor]:
    """Follow the N best sequences at once; a finished one stays while it is among the best.

    score(y) = log P(y) / ((5 + |y|) / 6)^α

    Args:
        next_logits: Logits of the token after each prefix: int64 (B·N, U) to float (B·N, V); the N
            prefixes of a row stand together.
        starts: First token of each row, int64 (B,).
        end: Id that ends a sequence; it counts in |y|.
        pad: Id that fills a sequence after its end.
        max_length: Most tokens to append.
        beams: N; 1 is greedy search.
        length_penalty: α; 0 compares log P alone, more favors longer sequences.

    Returns:
        Sequences int64 (B, N, L) as in ``greedy_search``, best first, and their scores float
        (B, N) in nats, falling. A score is -inf where there are fewer than N sequences.

    Source: Wu et al. 2016, equation 14, without its coverage term.
    Differs: candidates are ranked by their score, not by log P, at every length.
    """
    rows = starts.shape[0]
    prefix = starts[:, None, None].expand(rows, beams, 1)
    total = torch.full((rows, beams), float("-inf"), device=starts.device)
    total[:, 0] = 0.0
    length = torch.zeros_like(total)
    done = torch.zeros_like(total, dtype=torch.bool)
    for _ in range(max_length):
        logits = next_logits(prefix.flatten(0, 1)).unflatten(0, (rows, beams)).float()
        steps = logits.log_softmax(-1)
        stay = torch.full_like(steps, float("-inf"))
        stay[..., pad] = 0.0
        totals = total[..., None] + torch.where(done[..., None], stay, steps)
        length = length + (~done).float()
        ranks = totals / _penalty(length, length_penalty)[..., None]
        _, index = ranks.flatten(1).topk(beams)
        parent, token = index // steps.shape[-1], index % steps.shape[-1]
        total = totals.flatten(1).gather(1, index)
        length = length.gather(1, parent)
        prefix = prefix.gather(1, parent[..., None].expand(-1, -1, prefix.shape[-1]))
        prefix = torch.cat([prefix, token[..., None]], dim=-1)
        done = done.gather(1, parent) | (token == end)
        if done.all():
            break
    return prefix[..., 1:], total / _penalty(length, length_penalty)


def check_search(
    num_tokens: int, beams: int, *, start: int, end: int, pad: int, max_length: int
) -> None:
    """Refuse settings of a search that are out of range.

    Raises:
        ConfigError: An id is no token, or there is nothing to follow.
    """
    for name, value in (("start", start), ("end", end), ("pad", pad)):
        if not 0 <= whole(name, value) < num_tokens:
            raise ConfigError(f"{name} is {value}; wanted 0 to {num_tokens - 1}")
    for name, value in (("max_length", max_length), ("beams", beams)):
        if whole(name, value) < 1:
            raise ConfigError(f"{name} is {value}; wanted at least 1")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off; afterwards each part is in the mode it was in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def _penalty(length: Tensor, alpha: float) -> Tensor:
    """Return ((5 + |y|) / 6)^α."""
    return ((5 + length) / 6) ** alpha
