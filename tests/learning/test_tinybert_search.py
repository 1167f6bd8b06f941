"""What the Transformer class generates: greedily and with beams."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from tinybert import decoding
from tinybert.errors import ConfigError
from tinybert_models import SEARCH, ids, make_pair, padding


def sharp(**changes):
    """A model whose guesses are far apart, so that sums in another order cannot swap them."""
    model = make_pair(**changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def test_generate_equals_step_by_step_argmax_by_full_forward():
    model, src, pad = sharp(), ids(4, 6), padding(6, 6, 3, 5, 1)
    found = model.generate(src, src_pad_mask=pad, **SEARCH)
    for row in range(4):
        prefix = [1]
        while len(prefix) <= 8 and (len(prefix) == 1 or prefix[-1] != 2):
            logits = model(
                src[row : row + 1], torch.tensor([prefix]), src_pad_mask=pad[row : row + 1]
            )
            prefix.append(int(logits[0, -1].argmax()))
        wanted = prefix[1:] + [0] * (found.shape[1] - len(prefix) + 1)
        assert found[row].tolist() == wanted
    assert found.shape[1] <= 8


def test_a_row_that_ended_is_filled_until_all_have():
    """The first row writes 3, then the end; the second one never ends."""
    rows = torch.tensor([[3, 0], [2, 0], [0, 0]])

    def next_logits(prefix):
        return F.one_hot(rows[prefix.shape[1] - 1], 4).float()

    found = decoding.greedy_search(next_logits, torch.tensor([1, 1]), end=2, pad=1, max_length=3)
    assert found.tolist() == [[3, 2, 1], [0, 0, 0]]


def test_generate_stops_at_the_end_or_at_the_limit():
    model = make_pair(num_tokens=4)
    for token, wanted in ((2, [[2], [2]]), (3, [[3] * 8] * 2)):
        with torch.no_grad():
            model.embedding.output_bias.zero_()[token] = 100.0
        assert model.generate(ids(2, 3) % 4, **SEARCH).tolist() == wanted


def test_one_beam_is_greedy():
    model, src, pad = sharp(), ids(6, 5), padding(5, 5, 3, 1, 4, 5, 2)
    greedy = model.generate(src, src_pad_mask=pad, **SEARCH)
    found, scores = model.beam_search(src, src_pad_mask=pad, beams=1, **SEARCH)
    assert torch.equal(found[:, 0], greedy)
    assert scores.shape == (6, 1)


def log_probability(model, src, target):
    """Log P of a target with its end, from one full forward pass."""
    logits = model(src, torch.tensor([[1, *target[:-1]]]))[0].log_softmax(-1)
    return sum(logits[u, token].item() for u, token in enumerate(target))


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.5])
def test_beams_wide_enough_find_the_best_of_all_sequences(penalty):
    model, src = make_pair(num_tokens=4, seed=3), torch.tensor([[3, 0, 3]])
    every = [
        seq
        for n in (1, 2, 3)
        for seq in itertools.product(range(4), repeat=n)
        if 2 not in seq[:-1] and (n == 3 or seq[-1] == 2)
    ]
    wanted = sorted(
        ((log_probability(model, src, s) / ((5 + len(s)) / 6) ** penalty, s) for s in every),
        reverse=True,
    )
    found, scores = model.beam_search(
        src, start=1, end=2, max_length=3, beams=len(every), length_penalty=penalty
    )
    assert torch.allclose(scores[0], torch.tensor([s for s, _ in wanted]), atol=1e-5)
    best = wanted[0][1]
    assert tuple(found[0, 0].tolist()) == best + (0,) * (3 - len(best))
    assert model.generate(
        src, start=1, end=2, max_length=3, beams=len(every), length_penalty=penalty
    ).equal(found[:, 0])


def test_beam_scores_fall_and_rows_do_not_touch_each_other():
    model, src, pad = sharp(), ids(4, 6), padding(6, 6, 3, 5, 1)
    found, scores = model.beam_search(src, src_pad_mask=pad, beams=3, **SEARCH)
    assert found.shape[:2] == (4, 3)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    assert scores.isfinite().all()
    for row, length in enumerate((6, 3, 5, 1)):
        one, score = model.beam_search(src[row : row + 1, :length], beams=3, **SEARCH)
        torch.testing.assert_close(score[0], scores[row], atol=1e-4, rtol=1e-4)
        assert torch.equal(one[0], found[row, :, : one.shape[2]])
        assert (found[row, :, one.shape[2] :] == 0).all()
        assert len({tuple(x) for x in one[0].tolist()}) == 3


def test_fewer_sequences_than_beams_say_so():
    model = make_pair(num_tokens=3)
    _, scores = model.beam_search(torch.tensor([[1]]), start=1, end=2, max_length=1, beams=5)
    assert scores.isfinite().tolist() == [[True, True, True, False, False]]


@pytest.mark.parametrize("beams", [1, 2])
def test_generate_leaves_modes_and_gradients_as_they_were(beams):
    model = make_pair(dropout=0.5).train()
    model.encoder[0].eval()
    modes = [part.training for part in model.modules()]
    found = model.generate(ids(2, 4), beams=beams, **SEARCH)
    assert torch.equal(found, model.generate(ids(2, 4), beams=beams, **SEARCH))
    assert [part.training for part in model.modules()] == modes
    with pytest.raises(ConfigError, match="src holds the id 99"):
        model.generate(torch.tensor([[99]]), beams=beams, **SEARCH)
    assert [part.training for part in model.modules()] == modes
    assert torch.is_grad_enabled()
