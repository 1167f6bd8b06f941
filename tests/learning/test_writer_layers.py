"""Students learn from the layers of a teacher that writes."""

import pytest
import torch

from tinybert.bart import new_writer, shrink
from tinybert.distill.writer_layers import WriterLayers
from tinybert.distill.writing import Batches, WritingObjective
from tinybert.errors import ConfigError
from tinybert.losses import cross_attention_loss

IDS = {"start": 0, "pad": 1, "eos": 2}


@pytest.fixture
def teacher():
    return new_writer(
        20, layers=(2, 2), hidden=16, heads=2, positions=16, dropout=0.0, seed=1, **IDS
    )


@pytest.fixture
def batch():
    rows = [
        {"input_ids": [5, 6, 7, 8, 2], "labels": [[9, 10, 2], [4, 2]], "weights": [1.0, 1.0]},
        {"input_ids": [11, 2], "labels": [[12, 13, 14, 15, 2]], "weights": [1.0]},
    ]
    return Batches(pad=1, start=0)(rows)


def layers_of(teacher, student, **weights):
    return WriterLayers(teacher, student, **{"hidden": 1.0, "cross_attention": 1.0} | weights)


def test_the_teacher_itself_is_no_distance_away(teacher, batch):
    student = shrink(teacher, [0, 1], [0, 1])
    loss = WritingObjective(student, layers=layers_of(teacher, student))(**batch)
    names = ("encoder_hidden", "decoder_hidden", "cross_attention")
    assert [loss["parts"][name].item() for name in names] == [0.0, 0.0, 0.0]


def test_each_loss_has_its_weight(teacher, batch):
    student = shrink(teacher, [1], [1])
    inputs = {n: batch[n] for n in ("input_ids", "attention_mask", "source", "decoder_input_ids")}
    plain, weighted = (
        layers_of(teacher, student, **weights).losses(student, inputs, batch["pad_mask"])[1]
        for weights in ({}, {"hidden": 2.0, "cross_attention": 3.0})
    )
    times = {name: weighted[name].item() / plain[name].item() for name in plain}
    wanted = {"encoder_hidden": 2.0, "decoder_hidden": 2.0, "cross_attention": 3.0}
    assert times == pytest.approx(wanted)


def test_what_a_target_looks_at_is_its_own_source(teacher, batch):
    from tinybert.distill.writer_layers import _cross_scores

    student = shrink(teacher, [1], [1])
    inputs = {n: batch[n] for n in ("input_ids", "attention_mask", "source", "decoder_input_ids")}
    given = {name: batch[name][batch["source"]] for name in ("input_ids", "attention_mask")}
    given["decoder_input_ids"] = batch["decoder_input_ids"]
    scores = []
    for model in (student, teacher):
        with torch.no_grad(), _cross_scores(model) as seen:
            model(**given)
        scores.append(seen)
    pads = batch["pad_mask"], given["attention_mask"] == 0
    wanted = cross_attention_loss(scores[0][0], scores[1][1], *pads)
    _, found = layers_of(teacher, student).losses(student, inputs, batch["pad_mask"])
    torch.testing.assert_close(found["cross_attention"].detach(), wanted)


def test_scores_are_those_of_eager_attention(teacher, batch):
    from tinybert.distill.writer_layers import _cross_scores

    teacher.set_attn_implementation("eager")
    given = {name: batch[name][batch["source"]] for name in ("input_ids", "attention_mask")}
    given["decoder_input_ids"] = batch["decoder_input_ids"]
    with torch.no_grad(), _cross_scores(teacher) as scores:
        out = teacher(**given, output_attentions=True)
    hidden = (given["attention_mask"] == 0)[:, None, None, :]
    for i, wanted in enumerate(out.cross_attentions):
        found = scores[i].masked_fill(hidden, -torch.inf).softmax(-1)
        assert torch.allclose(found, wanted, atol=1e-6)


def test_layers_are_learned_and_the_teacher_stays(teacher, batch):
    student = shrink(teacher, [0], [0])
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    layers = layers_of(teacher, student)
    objective = WritingObjective(student, layers=layers)
    assert not any("teacher" in name for name in objective.state_dict())
    inputs = {n: batch[n] for n in ("input_ids", "attention_mask", "source", "decoder_input_ids")}
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    sums = []
    for _ in range(25):
        _, losses = layers.losses(student, inputs, batch["pad_mask"])
        sums.append({name: value.item() for name, value in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert all(sums[-1][name] < 0.7 * value for name, value in sums[0].items())
    assert all(torch.equal(before[name], weight) for name, weight in teacher.state_dict().items())


def test_other_widths_are_refused(teacher):
    narrow = new_writer(20, layers=(1, 1), hidden=8, positions=16, **IDS)
    with pytest.raises(ConfigError, match="a student with the teacher's d_model, 16; it has 8"):
        layers_of(teacher, narrow)
