"""The Transformer class computes what the papers say, and learns."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BertConfig, BertForMaskedLM

import tinybert
from tinybert import embedding
from tinybert.errors import ShapeError
from tinybert.losses import attention_loss, hidden_loss, prediction_loss
from tinybert.transformer import DecoderLayer, EncoderLayer, MultiHeadAttention, attention
from tinybert_models import ids, make, make_pair, padding

# What is computed


def test_attention_equals_numpy_by_hand():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    hidden = np.array([[0, 0, 1, 0, 1], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]], dtype=bool)
    wanted = np.zeros((3, 2))
    for i in range(3):
        weights = [
            0.0 if hidden[i, j] else math.exp(sum(q[i] * k[j]) / math.sqrt(4)) for j in range(5)
        ]
        for j in range(5):
            wanted[i] += weights[j] / sum(weights) * v[j]
    found = attention(*(torch.tensor(x) for x in (q, k, v, hidden)))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)


def test_multi_head_attention_equals_the_plain_steps_head_by_head():
    torch.manual_seed(0)
    part = MultiHeadAttention(12, 3, 0.0)
    x, y, mask = torch.randn(2, 4, 12), torch.randn(2, 5, 12), padding(5, 5, 2)
    heads = []
    for h in range(3):
        rows = slice(4 * h, 4 * h + 4)
        q, k, v = (
            s @ w.weight[rows].T for s, w in ((x, part.query), (y, part.key), (y, part.value))
        )
        heads.append(attention(q, k, v, mask[:, None]))
    wanted = torch.cat(heads, -1) @ part.out.weight.T
    torch.testing.assert_close(part(x, y, mask[:, None, None]), wanted)


def test_a_query_that_may_look_nowhere_gets_the_mean():
    v = torch.randn(1, 1, 3, 4)
    everywhere = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    found = attention(torch.randn(1, 1, 3, 4), torch.randn(1, 1, 3, 4), v, everywhere)
    torch.testing.assert_close(found, v.mean(2, keepdim=True).expand_as(v))


def test_positional_encoding_equals_the_formula():
    found = embedding.positional_encoding(40, 6)
    for p, i in itertools.product(range(40), range(3)):
        angle = p / 10000 ** (2 * i / 6)
        assert found[p, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert found[p, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def fill(theirs, own):
    """Give PyTorch's attention our weights, without biases."""
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([own.query.weight, own.key.weight, own.value.weight]))
        theirs.out_proj.weight.copy_(own.out.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.bias.zero_()


def share(theirs, own, norms):
    fill(theirs.self_attn, own.attention)
    theirs.linear1.load_state_dict(own.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(own.feed_forward.outer.state_dict())
    for number, norm in enumerate(norms, 1):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())


def test_layers_equal_pytorchs():
    torch.manual_seed(0)
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    pad, memory_pad = padding(4, 4, 2), padding(5, 3, 5)
    own = EncoderLayer(12, 3, 20, 0.0)
    theirs = nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True)
    share(theirs, own, (own.attention_norm, own.output_norm))
    wanted = theirs(x, src_key_padding_mask=pad)
    torch.testing.assert_close(own(x, pad[:, None, None])[~pad], wanted[~pad])

    own = DecoderLayer(12, 3, 20, 0.0)
    theirs = nn.TransformerDecoderLayer(12, 3, 20, 0.0, batch_first=True)
    share(theirs, own, (own.attention_norm, own.cross_norm, own.output_norm))
    fill(theirs.multihead_attn, own.cross_attention)
    causal = torch.ones(4, 4, dtype=torch.bool).triu(1)
    wanted = theirs(x, memory, tgt_mask=causal, memory_key_padding_mask=memory_pad)
    torch.testing.assert_close(own(x, memory, causal, memory_pad[:, None, None]), wanted)


@pytest.mark.parametrize("emb_dim", [None, 16, 8])
def test_model_is_its_parts_in_the_documented_order(emb_dim):
    model, src = make(emb_dim=emb_dim), ids(2, 5)
    part, width = model.embedding, emb_dim or 16
    states = part.table.weight[src] * math.sqrt(width) + embedding.positional_encoding(5, width)
    if width != 16:
        states = states @ part.projection.weight.T + part.projection.bias
    hidden = model.encode(src)
    torch.testing.assert_close(hidden[0], states)
    for layer in model.encoder:
        states = layer(states)
    torch.testing.assert_close(hidden[-1], states)
    if width != 16:
        states = states @ part.output_projection.weight.T + part.output_projection.bias
    wanted = states @ part.table.weight.T + part.output_bias
    torch.testing.assert_close(model(src), wanted)


def test_shapes_positions_and_parameters():
    model = tinybert.TinyBERT(16, 4, 0, 3, 1, 24, 30, 0.1, 8)
    assert (len(model.encoder), len(model.decoder)) == (3, 1)
    assert model(ids(2, 5)).shape == (2, 5, 30)
    assert model(ids(2, 5), ids(2, 7)).shape == (2, 7, 30)
    assert tinybert.TinyBERT(d_model=16, nhead=4, num_layers=1).config.num_tokens == 30522
    assert tinybert.TinyBERT(16, 4, 1, num_tokens=9).config.dim_feedforward == 64
    narrow, full = make(num_tokens=1000, emb_dim=4), make(num_tokens=1000)
    count = [sum(p.numel() for p in m.parameters()) for m in (narrow, full)]
    assert count[1] - count[0] == 1000 * 12 - (4 * 16 + 16 + 16 * 4 + 4)
    assert make()(ids(1, 3000)).isfinite().all()


def test_scores_before_softmax_give_each_layers_attention():
    model, src, pad = make(), ids(2, 6), padding(6, 6, 4)
    hidden = model.encode(src, src_pad_mask=pad)
    scores = model.attention_scores(hidden)
    assert [len(hidden), len(scores)] == [3, 2]
    assert scores[0].shape == (2, 4, 6, 6)
    for layer, states, found in zip(model.encoder, hidden[:-1], scores, strict=True):
        weights = found.masked_fill(pad[:, None, None], float("-inf")).softmax(-1)
        value = layer.attention.value(states).unflatten(-1, (4, 4)).transpose(1, 2)
        mixed = (weights @ value).transpose(1, 2).flatten(2) @ layer.attention.out.weight.T
        wanted = layer.attention(states, states, pad[:, None, None])
        torch.testing.assert_close(mixed, wanted)
    with pytest.raises(ShapeError, match="hidden holds 2 states; wanted the 3 of encode"):
        model.attention_scores(hidden[1:])


# What must not matter


@pytest.mark.parametrize("filler", [0, 29, -100, 10**9])
def test_padding_filled_with_anything_changes_nothing(filler):
    model, src, tgt = make_pair(), ids(2, 6), ids(2, 5, seed=1)
    src_pad, tgt_pad = padding(6, 6, 3), padding(5, 2, 5)
    masks = {"src_pad_mask": src_pad, "tgt_pad_mask": tgt_pad}
    wanted, alone = model(src, tgt, **masks), model(src, src_pad_mask=src_pad)
    filled = src.masked_fill(src_pad, filler), tgt.masked_fill(tgt_pad, filler)
    assert torch.equal(model(*filled, **masks)[~tgt_pad], wanted[~tgt_pad])
    assert torch.equal(model(filled[0], src_pad_mask=src_pad)[~src_pad], alone[~src_pad])


def test_batch_of_one_equals_batch_of_many():
    model, src, tgt = make_pair(), ids(3, 6), ids(3, 5, seed=1)
    lengths = ((6, 5), (3, 2), (1, 4))
    src_pad, tgt_pad = (
        padding(n, *x) for n, x in zip((6, 5), zip(*lengths, strict=True), strict=True)
    )
    both = model(src, tgt, src_pad_mask=src_pad, tgt_pad_mask=tgt_pad)
    alone = model(src, src_pad_mask=src_pad)
    for row, (t, u) in enumerate(lengths):
        one = src[row : row + 1, :t], tgt[row : row + 1, :u]
        torch.testing.assert_close(model(*one)[0], both[row, :u], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(one[0])[0], alone[row, :t], atol=1e-5, rtol=1e-5)


def test_rows_of_padding_alone_stay_finite():
    model, src, tgt = make_pair(), ids(2, 4), ids(2, 3)
    masks = {"src_pad_mask": padding(4, 4, 0), "tgt_pad_mask": padding(3, 3, 0)}
    assert model(src, tgt, **masks).isfinite().all()
    left = torch.tensor([[True, False, False], [False, False, False]])
    shifted = model(src, tgt, tgt_pad_mask=left)
    assert shifted.isfinite().all()


def test_later_targets_never_change_earlier_outputs():
    model, src, tgt = make_pair(), ids(1, 6), ids(1, 7)
    wanted = model(src, tgt)
    for u in range(1, 7):
        other = tgt.clone()
        other[:, u:] = (other[:, u:] + 1) % 30
        assert torch.equal(model(src, other)[:, :u], wanted[:, :u])
        assert not torch.allclose(model(src, other)[:, u:], wanted[:, u:])


def test_source_and_order_do_matter():
    model, src, tgt = make_pair(), ids(1, 6), ids(1, 4)
    assert not torch.allclose(model(src, tgt), model(src.flip(1), tgt))
    assert not torch.allclose(model(src), model(src.flip(1)).flip(1))


@pytest.mark.parametrize("changes", [{}, {"emb_dim": 8}, {"num_decoder_layers": 2, "emb_dim": 8}])
def test_gradients_reach_all_parameters(changes):
    model, src = make(**changes).train(), ids(2, 6)
    tgt = ids(2, 5) if model.decoder else None
    model(src, tgt).log_softmax(-1)[..., 0].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7, name


def test_same_seed_same_model_and_dropout_in_training_only():
    one, two, three = make(seed=1), make(seed=1), make(seed=2)
    src = ids(2, 6)
    assert torch.equal(one(src), two(src))
    assert not torch.equal(one(src), three(src))
    model = make(dropout=0.3)
    assert torch.equal(model(src), model(src))
    model.train()
    assert not torch.equal(model(src), model(src))


# It learns


def test_it_learns_to_reverse():
    torch.manual_seed(0)
    model = tinybert.TinyBERT(32, 4, 1, num_decoder_layers=1, num_tokens=8, dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(200):
        src = torch.randint(3, 8, (32, 4))
        full = torch.cat([torch.ones(32, 1).long(), src.flip(1), torch.full((32, 1), 2)], dim=1)
        logits = model(src, full[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), full[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    src = torch.cartesian_prod(*[torch.arange(3, 8)] * 4)[::7]
    for beams in (1, 3):
        found = model.generate(src, start=1, end=2, max_length=6, beams=beams)
        right = (found[:, :4] == src.flip(1)).all(1) & (found[:, 4] == 2)
        assert right.float().mean() > 0.95


def test_it_is_a_student_of_hidden_states_scores_and_logits():
    """Two layers of width 16 imitate layers 2 and 4 of a BERT of width 24."""
    torch.manual_seed(0)
    teacher = BertForMaskedLM(
        BertConfig(
            vocab_size=30, hidden_size=24, num_hidden_layers=4, num_attention_heads=4,
            intermediate_size=48, max_position_embeddings=16, initializer_range=0.4,
        )
    ).eval()  # fmt: skip
    teacher.set_attn_implementation("eager")
    student = make().train()
    projections = nn.ParameterList(nn.Parameter(torch.randn(16, 24) * 0.2) for _ in range(2))
    optimizer = torch.optim.AdamW([*student.parameters(), *projections], lr=3e-3)
    src, pad = ids(16, 8), padding(8, *range(3, 9), *range(1, 9), 8, 8)
    projected = {}
    for m in (2, 4):
        part = teacher.bert.encoder.layer[m - 1].attention.self
        for name in ("query", "key"):
            part.get_submodule(name).register_forward_hook(
                lambda _m, _i, out, at=(m, name): projected.update({at: out})
            )
    with torch.no_grad():
        seen = teacher(src, attention_mask=(~pad).long(), output_hidden_states=True)
    heads = {at: x.unflatten(-1, (4, -1)).transpose(1, 2) for at, x in projected.items()}
    wanted = {m: heads[m, "query"] @ heads[m, "key"].mT / math.sqrt(6) for m in (2, 4)}

    curves = []
    for _ in range(80):
        hidden = student.encode(src, src_pad_mask=pad)
        scores = student.attention_scores(hidden)
        layers = ((1, 2), (2, 4))
        hidn = sum(
            hidden_loss(hidden[m], seen.hidden_states[g], pad, projections[m - 1])
            for m, g in layers
        )
        attn = sum(attention_loss(scores[m - 1], wanted[g], pad) for m, g in layers)
        pred = prediction_loss(student.logits(hidden[-1])[~pad], seen.logits[~pad])
        curves.append([hidn.item(), attn.item(), pred.item()])
        (hidn + attn + pred).backward()
        optimizer.step()
        optimizer.zero_grad()
    first, last = curves[0], curves[-1]
    entropy = prediction_loss(seen.logits[~pad], seen.logits[~pad]).item()
    assert last[0] < 0.6 * first[0]
    assert last[1] < 0.7 * first[1]
    assert last[2] - entropy < 0.5 * (first[2] - entropy)
