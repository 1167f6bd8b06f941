"""The Transformer class: it computes what the papers say, learns, searches, saves and refuses."""

import doctest
import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BertConfig, BertForMaskedLM

import tinybert
from tinybert import checkpoint, decoding, embedding
from tinybert import tinybert as module
from tinybert.checkpoint import layer_counts
from tinybert.errors import ArtifactError, ConfigError, ShapeError
from tinybert.losses import attention_loss, hidden_loss, prediction_loss
from tinybert.transformer import DecoderLayer, EncoderLayer, MultiHeadAttention, attention

SIZES = {"d_model": 16, "nhead": 4, "num_layers": 2, "dim_feedforward": 24, "num_tokens": 30}


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return tinybert.TinyBERT(**(SIZES | {"dropout": 0.0} | changes)).eval()


def make_pair(**changes):
    return make(num_decoder_layers=2, emb_dim=8, **changes)


def ids(batch, length, seed=0):
    return torch.randint(3, 30, (batch, length), generator=torch.Generator().manual_seed(seed))


def padding(length, *real):
    """Bool (B, T): row b has so many real tokens."""
    return torch.arange(length)[None, :] >= torch.tensor(real)[:, None]


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


# Search


def sharp(**changes):
    """A model whose guesses are far apart, so that sums in another order cannot swap them."""
    model = make_pair(**changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


SEARCH = {"start": 1, "end": 2, "max_length": 8}


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


# The folder


@pytest.mark.parametrize("changes", [{}, {"num_decoder_layers": 2, "emb_dim": 8, "dropout": 0.2}])
def test_saved_is_loaded(changes, tmp_path):
    model, src = make(**changes), ids(2, 5)
    tgt = ids(2, 4) if model.decoder else None
    model.save_pretrained(tmp_path / "new" / "folder")
    state = torch.get_rng_state()
    again = tinybert.TinyBERT.from_pretrained(tmp_path / "new" / "folder")
    assert torch.equal(torch.get_rng_state(), state)
    assert again.config == model.config
    assert not again.training
    assert torch.equal(again(src, tgt), model(src, tgt))
    assert all(p.requires_grad and p.device.type == "cpu" for p in again.parameters())
    files = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert files == ["config.json", "model.safetensors"]
    again.double().save_pretrained(str(tmp_path / "double"))
    assert tinybert.TinyBERT.from_pretrained(tmp_path / "double")(src).dtype == torch.float64


def test_an_interrupted_save_leaves_the_old_files(tmp_path, monkeypatch):
    model, src = make(), ids(1, 4)
    model.save_pretrained(tmp_path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(type(tmp_path), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make(seed=5).save_pretrained(tmp_path)
    monkeypatch.undo()
    assert sorted(x.name for x in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(tinybert.TinyBERT.from_pretrained(tmp_path)(src), model(src))


def edit(folder, **changes):
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: (f / "config.json").unlink(), ArtifactError, "has no config.json; wanted a"),
        (lambda f: (f / "model.safetensors").unlink(), ArtifactError, "has no model.safetensors"),
        (lambda f: (f / "config.json").write_text("{"), ArtifactError, "is not valid JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), ArtifactError, "is not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), ArtifactError, "holds no object"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), ArtifactError, "is damaged"),
        (lambda f: os.truncate(f / "model.safetensors", 900), ArtifactError, "is damaged"),
        (lambda f: edit(f, nheads=2), ConfigError, "unknown setting `nheads` in .*`nhead`"),
        (lambda f: edit(f, nhead=None), ArtifactError, "lacks nhead; save it again"),
        (lambda f: edit(f, nhead=3), ConfigError, "config.json: d_model 16 is not a multiple"),
        (lambda f: edit(f, nhead="4"), ConfigError, "nhead is '4'; wanted a whole number"),
        (lambda f: edit(f, format=2), ArtifactError, "has format 2, this tinybert reads 1 to 1"),
        (lambda f: edit(f, model_type="bert"), ArtifactError, "model_type is 'bert'; wanted"),
        (lambda f: edit(f, d_model=32), ArtifactError, "the weights do not fit the config"),
        (lambda f: edit(f, num_encoder_layers=3), ArtifactError, "the weights do not fit"),
    ],
)  # fmt: skip
def test_damaged_folders_are_named(damage, error, message, tmp_path):
    make().save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=message):
        tinybert.TinyBERT.from_pretrained(tmp_path)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere is not a folder; wanted a folder written"):
        tinybert.TinyBERT.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file is a file; wanted a folder"):
        make().save_pretrained(tmp_path / "file")


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nhead": 3}, "d_model 16 is not a multiple of nhead 3"),
        ({"emb_dim": 7}, "emb_dim is 7; wanted an even number"),
        ({"d_model": 15, "nhead": 3}, "emb_dim is 15; wanted an even number"),
        ({"dropout": 1.0}, "dropout is 1.0; wanted 0 to below 1"),
        ({"dropout": -0.1, "num_tokens": 0}, "num_tokens is 0; .*; dropout is -0.1"),
        ({"d_model": 16.0}, "d_model is 16.0; wanted a whole number from 1"),
        ({"nhead": True}, "nhead is True; wanted a whole number from 1"),
        ({"dim_feedforward": 0}, "dim_feedforward is 0; wanted a whole number from 1"),
        ({"num_layers": -1}, "num_encoder_layers is -1; wanted a whole number from 1"),
        ({"num_layers": None, "num_encoder_layers": 0}, "num_encoder_layers is 0; wanted"),
        ({"num_layers": None, "num_encoder_layers": 1, "num_decoder_layers": -1},
         "num_decoder_layers is -1; wanted a whole number from 0"),
        ({"num_layers": None}, "num_layers and num_encoder_layers are both missing"),
        ({"num_encoder_layers": 3}, "num_layers is 2 but num_encoder_layers is 3; wanted the same"),
        ({"num_decoder_layers": 1}, "num_layers is 2 but num_decoder_layers is 1; .*None and a"),
    ],
)  # fmt: skip
def test_bad_sizes_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_layer_counts():
    assert layer_counts(None, 3, 1) == layer_counts(0, 3, 1) == (3, 1)
    assert layer_counts(3, None, 0) == layer_counts(3, 3, None) == (3, 0)
    assert layer_counts(3, None, 3) == layer_counts(3, 3, 3) == (3, 3)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"src": [[30]]}, ConfigError, r"src holds the id 30; wanted 0 to 29 \(num_tokens is 30\)"),
        ({"src": [[-1, 5]]}, ConfigError, "src holds the id -1; .*; on padding, pass src_pad_mask"),
        ({"tgt": [[31]]}, ConfigError, "tgt holds the id 31; wanted 0 to 29"),
        ({"src": [[1.0]]}, ShapeError, r"src is float32 \(1, 1\); wanted int64 \(batch, tokens\)"),
        ({"src": [1, 2]}, ShapeError, r"src is int64 \(2,\); wanted int64"),
        ({"src": [[]]}, ShapeError, r"src is float32 \(1, 0\)"),
        ({"tgt": [[[1]]]}, ShapeError, r"tgt is int64 \(1, 1, 1\)"),
        ({"tgt": [[1], [2]]}, ShapeError, r"tgt is \(2, 1\), the source has 1 rows"),
        ({"src_pad_mask": [[True]]}, ShapeError, r"src_pad_mask is bool \(1, 1\); wanted bool \(1, 3"),
        ({"src_pad_mask": [[1, 1, 0]]}, ShapeError, r"src_pad_mask is int64 \(1, 3\); wanted bool"),
        ({"tgt_pad_mask": [[False]]}, ShapeError, r"tgt_pad_mask is bool \(1, 1\); wanted bool \(1, 2"),
        ({"tgt": None, "tgt_pad_mask": [[False]]}, ConfigError, "tgt_pad_mask is given without tgt"),
    ],
)  # fmt: skip
def test_bad_inputs_are_named(inputs, error, message):
    good = {"src": [[4, 5, 6]], "tgt": [[1, 7]]}
    given = {k: None if v is None else torch.tensor(v) for k, v in (good | inputs).items()}
    with pytest.raises(error, match=message):
        make_pair()(given.pop("src"), given.pop("tgt"), **given)


def test_no_decoder_no_target():
    model = make()
    message = r"the model has no decoder \(num_decoder_layers is 0\)"
    with pytest.raises(ConfigError, match=message):
        model(ids(1, 3), ids(1, 3))
    with pytest.raises(ConfigError, match=message):
        model.generate(ids(1, 3), start=1, end=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": 30}, "start is 30; wanted 0 to 29"),
        ({"end": -1}, "end is -1; wanted 0 to 29"),
        ({"pad": 99}, "pad is 99; wanted 0 to 29"),
        ({"max_length": 0}, "max_length is 0; wanted at least 1"),
        ({"beams": 0}, "beams is 0; wanted at least 1"),
    ],
)
def test_bad_search_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_pair().generate(ids(1, 3), **(SEARCH | changes))


def test_docstring_examples_run():
    for place in (module, checkpoint, embedding):
        result = doctest.testmod(place)
        assert result.attempted
        assert not result.failed


def test_the_class_is_imported_when_it_is_asked_for():
    code = (
        "import sys, tinybert\n"
        "assert 'TinyBERT' in tinybert.__all__ and 'torch' not in sys.modules\n"
        "sys.modules['torch'] = None\n"
        "try:\n"
        "    tinybert.TinyBERT\n"
        "except tinybert.MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "tinybert.TinyBERT needs the package `torch`; run: pip install 'tinybert[train]'\n"
    )
