"""A classifier that reads the mean of all tokens: the formula by hand, every layout, padding."""

from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from small_layouts import CONFIGS, batch, small_classifier
from tinybert.errors import ConfigError
from tinybert.first_token import first_token_only
from tinybert.layout import layout_of
from tinybert.mean_layer import add_mean_layer
from tinybert.observe import Observer


@pytest.fixture(params=CONFIGS)
def teacher(request):
    return small_classifier(request.param)


def states(model, inputs):
    """Return what enters the last layer and what leaves it, as lists of rows of real tokens."""
    count = int(model.config.num_hidden_layers)
    with torch.no_grad(), Observer(model, hidden=[count - 1, count]) as seen:
        model(**inputs)
    pairs = zip(seen.hidden(count - 1), seen.hidden(count), strict=True)
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    return [(old[:n], new[:n]) for (old, new), n in zip(pairs, lengths, strict=True)]


def test_each_token_gets_the_mean_of_the_real_ones_added(teacher):
    add_mean_layer(teacher)
    for old, new in states(teacher, batch()):
        mixed = old + 4 * old.mean(dim=0)
        centered = mixed - mixed.mean(dim=1, keepdim=True)
        once = centered / centered.square().mean(dim=1, keepdim=True).sqrt()
        torch.testing.assert_close(new, once, atol=2e-4, rtol=0)


def test_head_starts_from_the_state_itself(teacher):
    add_mean_layer(teacher)
    first = teacher.get_submodule(layout_of(teacher.config).head_inner)
    assert torch.equal(first.weight, torch.eye(24))
    assert not first.bias.any()


def test_padding_changes_nothing(teacher):
    add_mean_layer(teacher)
    inputs = batch()
    wanted = teacher(**inputs).logits
    inputs["input_ids"][1, 5:] = 49
    torch.testing.assert_close(teacher(**inputs).logits, wanted, atol=1e-6, rtol=0)


def test_the_model_stays_a_plain_one(teacher, tmp_path):
    add_mean_layer(teacher)
    wanted = teacher(**batch()).logits
    teacher.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert again.config.num_hidden_layers == 5
    torch.testing.assert_close(again(**batch()).logits, wanted)
    with first_token_only(again):
        torch.testing.assert_close(again(**batch()).logits, wanted)


def test_a_model_that_tags_words_needs_no_mean():
    tagger = AutoModelForTokenClassification.from_config(deepcopy(CONFIGS["bert"]))
    with pytest.raises(ConfigError, match="`mean`; a model that tags words reads every token"):
        add_mean_layer(tagger)


def test_everything_in_it_can_be_learnt(teacher):
    add_mean_layer(teacher)
    layer = layout_of(teacher.config).layer_list(teacher)[-1]
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = {name: p.clone() for name, p in layer.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        teacher(**batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
        optimizer.step()
    still = {name for name, p in layer.named_parameters() if torch.equal(p, before[name])}
    assert {name for name in still if not name.endswith(("k_lin.bias", "key.bias"))} == set()
