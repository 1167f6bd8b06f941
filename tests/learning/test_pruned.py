"""Models with fewer heads and neurons than their config says: plain where saved, small where run."""

from collections import Counter

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from small_layouts import CONFIGS, batch, small_classifier
from tinybert.first_token import first_token_only
from tinybert.layout import layout_of, sizes_of
from tinybert.observe import Observer
from tinybert.pruned import drop_zeros, keep_heads, keep_neurons, kept_sizes, widened
from tinybert.student import make_student

HEADS = [[0, 2], [1], [0, 1, 3], [3]]
NEURONS = [list(range(20)), list(range(5, 21)), list(range(0, 48, 2)), list(range(30))]


def pruned(name):
    model = small_classifier(name)
    count = int(model.config.num_hidden_layers)
    keep_heads(model, HEADS[:count])
    keep_neurons(model, NEURONS[:count])
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_of_every_layout_it_answers_as_one_whose_heads_and_neurons_are_silent(name):
    model, whole = pruned(name), small_classifier(name)
    layout = layout_of(whole.config)
    size = whole.config.hidden_size // whole.config.num_attention_heads
    for layer, heads, neurons in zip(layout.layer_list(whole), HEADS, NEURONS, strict=False):
        out, outer = layer.get_submodule(layout.attention_out), layer.get_submodule(layout.outer)
        for head in set(range(4)) - set(heads):
            out.weight.data[:, head * size : (head + 1) * size] = 0
        outer.weight.data[:, sorted(set(range(48)) - set(neurons))] = 0
    wanted = whole(**batch()).logits
    torch.testing.assert_close(model(**batch()).logits, wanted)
    with first_token_only(model):
        torch.testing.assert_close(model(**batch()).logits, wanted)
    with Observer(model, scores=[1]) as seen:
        model(**batch())
    assert seen.scores(1).shape[1] == 2


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_it_is_a_plain_model_and_small_again_after_zeros_are_dropped(name, tmp_path):
    model = pruned(name)
    wanted, sizes = model(**batch()).logits, kept_sizes(model)
    widened(model).save_pretrained(tmp_path)
    assert kept_sizes(model) == sizes
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    count = len(sizes[0])
    widest = max(sizes[1])
    assert kept_sizes(again) == ([4] * count, [widest] * count)
    assert sizes_of(again.config)["layer_heads"] == sizes[0]
    assert sizes_of(again.config)["layer_intermediate"] == sizes[1]
    torch.testing.assert_close(again(**batch()).logits, wanted)
    assert widened(again) is again
    drop_zeros(again)
    assert kept_sizes(again) == sizes
    torch.testing.assert_close(again(**batch()).logits, wanted)


def test_zeros_stay_zeros_where_a_plain_model_is_trained_on():
    model = widened(pruned("bert")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    before = Counter({n: int((p == 0).sum()) for n, p in model.named_parameters() if "layer." in n})
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
        optimizer.step()
    drop_zeros(model)
    assert before["bert.encoder.layer.1.attention.self.value.weight"] == 18 * 24
    assert kept_sizes(model) == ([2, 1, 3, 1], [20, 16, 24, 30])


def test_a_layer_without_a_use_keeps_a_head_and_as_many_neurons_as_the_engine_wants():
    model = small_classifier("bert")
    for layer in model.bert.encoder.layer:
        layer.attention.output.dense.weight.data.zero_()
        layer.output.dense.weight.data.zero_()
    wanted = model(**batch()).logits
    drop_zeros(model)
    assert kept_sizes(model) == ([1] * 4, [16] * 4)
    torch.testing.assert_close(model(**batch()).logits, wanted)
    assert sizes_of(model.config)["intermediate"] == 16


def test_a_config_tells_of_lacking_heads_and_neurons_only_as_long_as_layers_differ():
    teacher = widened(pruned("bert"))
    student = make_student(teacher, (1, 2))
    assert not {"layer_heads", "layer_intermediate"} & set(sizes_of(student.config))
    assert teacher.config.layer_heads == [2, 1, 3, 1]
    drop_zeros(student)
    assert sizes_of(student.config)["layer_heads"] == [1, 3]
    assert sizes_of(student.config)["layer_intermediate"] == [16, 24]
    keep_neurons(student, [list(range(16))] * 2)
    assert "layer_intermediate" not in sizes_of(student.config)
    assert sizes_of(student.config)["intermediate"] == 16
