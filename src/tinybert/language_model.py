"""What a language model learns from: hidden tokens, next tokens, and how well it guesses them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tinybert.errors import ConfigError, ShapeError

__all__ = ["IGNORED", "mask_tokens", "shift_tokens", "token_scores"]

IGNORED = -100


def mask_tokens(
    ids: Tensor, *, mask: int, share: float = 0.15, specials: int = 0
) -> tuple[Tensor, Tensor]:
    """Hide some of the tokens, for a masked language model to guess.

    Args:
        ids: Int64 (B, T).
        mask: Id that stands in their place.
        share: Chance of each token to be hidden, 0 < share ≤ 1.
        specials: Ids below this one (padding, markers) are never hidden.

    Returns:
        The ids with the mask in them, and the targets: the hidden ids, ``IGNORED`` elsewhere; both
        int64 (B, T).

    Raises:
        ConfigError: ``share`` is out of range.

    Source: Devlin et al. 2019, section 3.1, task 1.
    Differs: BERT leaves a tenth of the chosen tokens as they are and swaps another tenth.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share}; wanted above 0, at most 1")
    hidden = (torch.rand(ids.shape, device=ids.device) < share) & (ids >= specials)
    return ids.masked_fill(hidden, mask), ids.masked_fill(~hidden, IGNORED)


def shift_tokens(ids: Tensor, *, pad: int) -> tuple[Tensor, Tensor]:
    """Split targets into what a decoder reads and what it has to guess.

    Args:
        ids: Int64 (B, U + 1), from start to end, then padding.
        pad: Id of padding.

    Returns:
        All ids but the last, and all but the first with ``IGNORED`` on padding; both int64 (B, U).

    >>> shift_tokens(torch.tensor([[1, 7, 2, 0]]), pad=0)
    (tensor([[1, 7, 2]]), tensor([[   7,    2, -100]]))
    """
    later = ids[:, 1:]
    return ids[:, :-1], later.masked_fill(later == pad, IGNORED)


def token_scores(logits: Tensor, targets: Tensor, learned: Tensor) -> dict[str, float]:
    """Return how well tokens are guessed, beside guessing by how frequent each token is.

    Args:
        logits: Float (..., V).
        targets: Int64 (...), ``IGNORED`` where nothing is to be guessed.
        learned: Targets of the training data, any shape: what the frequencies are counted on, each
            token once more than it occurs.

    Returns:
        ``loss`` (nats a token) and ``accuracy`` (share of right tokens) of the logits, and
        ``unigram_loss`` and ``unigram_accuracy`` of the frequencies.

    Raises:
        ShapeError: Logits and targets do not fit, or there is nothing to guess.
    """
    if logits.shape[:-1] != targets.shape:
        raise ShapeError(
            f"logits are {tuple(logits.shape)}, targets {tuple(targets.shape)}; "
            "wanted a row of logits for each target"
        )
    real = targets != IGNORED
    if not real.any():
        raise ShapeError("no target is left to guess; wanted at least one that is not IGNORED")
    guessed, wanted = logits[real].float(), targets[real]
    counts = learned[learned != IGNORED].bincount(minlength=logits.shape[-1]) + 1
    scores = {}
    for name, rows in (("", guessed), ("unigram_", counts.log().expand_as(guessed))):
        scores[f"{name}loss"] = F.cross_entropy(rows, wanted).item()
        scores[f"{name}accuracy"] = (rows.argmax(-1) == wanted).float().mean().item()
    return scores
