"""Encoder-decoders narrower than their teacher: what they keep of it."""

import pytest
import torch

from small_writers import save_random_writer
from tinybert.bart import new_writer
from tinybert.distill import seq2seq_recipe
from tinybert.distill.writers import load_writer, make_student
from tinybert.errors import ConfigError
from tinybert.narrow import narrow_writer
from tinybert.projection import aligned_basis, leading_basis

SIZES = {
    "layers": (2, 2),
    "hidden": 32,
    "heads": 2,
    "positions": 20,
    "start": 0,
    "pad": 1,
    "eos": 2,
}


def logits(model):
    ids = torch.randint(4, 50, (3, 9), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        return model(input_ids=ids, decoder_input_ids=ids.flip(1)).logits


def of_few_directions(model, rank=7):
    """Give a model weights whose outputs, words and learned positions lie in few directions."""
    torch.manual_seed(0)
    base = torch.linalg.qr(torch.cat([torch.ones(32, 1), torch.randn(32, rank)], dim=1)).Q
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and weight.requires_grad:
                rows = torch.randn_like(weight)
                rows = rows @ base @ base.T if "embed" in name else rows / 6
                weight.copy_(
                    base @ (base.T @ rows) if "out_proj" in name or "fc2" in name else rows
                )
    return model


@pytest.mark.parametrize("kind", ["bart", "marian"])
def test_at_full_width_it_is_the_teacher(kind, tmp_path):
    teacher = load_writer(save_random_writer(tmp_path / "w", kind))
    heads, inner = teacher.config.decoder_attention_heads, teacher.config.encoder_ffn_dim
    student = narrow_writer(teacher, [0, 1], [0], hidden=32, heads=heads, intermediate=inner)
    assert torch.allclose(logits(student), logits(teacher), atol=5e-3)
    assert student.lm_head.weight is student.model.decoder.embed_tokens.weight


@pytest.mark.parametrize("tables", [0, 1, 2])
def test_a_teacher_of_few_directions_is_mostly_kept(tables):
    sizes = {0: 60, 1: (60, 60), 2: (60, 70)}[tables]
    teacher = of_few_directions(new_writer(sizes, **SIZES))
    student = narrow_writer(teacher, [0, 1], [0, 1], hidden=24, heads=2, intermediate=128)
    random = new_writer(sizes, **SIZES | {"hidden": 24}, seed=1)
    wanted = logits(teacher)
    near, far = ((logits(x) - wanted).square().mean() / wanted.var() for x in (student, random))
    assert near < 0.4
    assert far > 0.9


def test_layers_are_those_that_were_picked():
    teacher = of_few_directions(new_writer(60, **SIZES))
    whole = narrow_writer(teacher, [0, 1], [0, 1], hidden=24, heads=2)
    picked = narrow_writer(teacher, [1], [1], hidden=24, heads=2)
    for side in ("encoder", "decoder"):
        for name, weight in getattr(picked.model, side).layers[0].state_dict().items():
            assert torch.equal(weight, getattr(whole.model, side).layers[1].state_dict()[name])
    assert (picked.config.encoder_layers, picked.config.decoder_layers) == (1, 1)


def test_a_basis_is_turned_onto_given_rows():
    torch.manual_seed(0)
    basis = leading_basis([torch.randn(50, 12)], 6)
    ones = torch.ones(6, 1) / 6**0.5
    turn = torch.linalg.qr(torch.cat([ones, torch.randn(6, 5)], dim=1)).Q
    turn = turn @ torch.linalg.qr(torch.cat([ones, torch.randn(6, 5)], dim=1)).Q.T
    turn *= (ones.T @ turn @ ones).sign()
    wide = torch.randn(30, 12)
    found = aligned_basis(basis, wide, wide @ basis @ turn)
    assert torch.allclose(found.T @ found, torch.eye(6), atol=1e-5)
    assert torch.allclose(found.sum(dim=1), torch.full((12,), 6**0.5 / 12**0.5), atol=1e-5)
    assert torch.allclose(found, basis @ turn, atol=1e-4)


def student_of(teacher, **settings):
    named = {f"student.{name}": value for name, value in settings.items()}
    return make_student(seq2seq_recipe.load(None, named), teacher)


def test_sizes_that_the_teacher_does_not_have():
    teacher = new_writer(60, **SIZES)
    with pytest.raises(
        ConfigError, match=r"student.hidden is 64; wanted at most 32, the teacher's width; or give"
    ):
        student_of(teacher, hidden=64, encoder_layers=1)
    with pytest.raises(ConfigError, match=r"3 heads do not divide .*; student.intermediate is 200"):
        student_of(teacher, hidden=16, heads=3, intermediate=200, encoder_layers=1)
    with pytest.raises(ConfigError, match=r"3 heads do not divide the width 16$"):
        student_of(teacher, hidden=16, heads=3, encoder_layers=1)
    with pytest.raises(
        ConfigError, match="4 layers were asked for; the teacher has 2; or give stu"
    ):
        student_of(teacher, hidden=16)
    assert student_of(teacher, hidden=64, start="random").config.encoder_layers == 4
    found = student_of(teacher, hidden=16, encoder_layers=1, dropout=0.3)
    assert (found.config.d_model, found.config.dropout) == (16, 0.3)
