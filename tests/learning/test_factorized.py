"""Embeddings narrower than the states: the start is near, every layout and head works, it ships."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tinybert
from small_layouts import CONFIGS, batch, configs, small_classifier
from tiny_models import HEADS
from tinybert import runtime
from tinybert.distill import recipe as recipes
from tinybert.distill.recipe import StudentSettings
from tinybert.distill.start import start_student
from tinybert.errors import ConfigError
from tinybert.factorized import Tokens, factorize
from tinybert.heads import answers_of
from tinybert.layout import layout_of
from tinybert.observe import Observer
from tinybert.ship.pipeline import ship


def embedded(model, inputs):
    with Observer(model, hidden=[0]) as seen, torch.no_grad():
        model(**inputs)
    return seen.hidden(0)


def distance(model, made, inputs):
    old, new = embedded(model, inputs), embedded(made, inputs)
    return ((old - new).square().mean() / (old - old.mean((0, 1))).square().mean()).item()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layout_becomes_an_electra_with_its_layers(name, tmp_path):
    model = small_classifier(name)
    made = factorize(model, 15)
    assert type(made).__name__ == "ElectraForSequenceClassification"
    assert made.electra.embeddings.word_embeddings.weight.shape == (50, 15)
    assert made.electra.embeddings_project.weight.shape == (24, 15)
    states = embedded(model, batch())
    source, target = layout_of(model.config), layout_of(made.config)
    with torch.no_grad():
        wanted = source.layer_list(model)[0](states)
        found = target.layer_list(made)[0](states)
    torch.testing.assert_close(*(x[0] if isinstance(x, tuple) else x for x in (found, wanted)))
    assert distance(model, made, batch()) < 0.5
    made.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**batch()).logits, made(**batch()).logits)
    assert again.config.id2label == model.config.id2label


def test_more_width_is_nearer_and_known_texts_are_nearest():
    model = small_classifier("bert")
    model.bert.embeddings.LayerNorm.weight.data.uniform_(0.5, 1.5)
    model.bert.embeddings.LayerNorm.bias.data.normal_()
    off = [distance(model, factorize(model, width), batch()) for width in (4, 8, 16, 23)]
    assert off == sorted(off, reverse=True)
    assert off[-1] < 0.02
    ids, (rows, places) = batch()["input_ids"], batch()["input_ids"].shape
    place = torch.arange(places).repeat(rows)
    own = Tokens(ids.flatten(), place, torch.zeros_like(place))
    assert distance(model, factorize(model, 8, own), batch()) < 0.8 * off[1]


def test_a_tanh_goes_on_in_the_straight_part_of_a_gelu():
    model = small_classifier("bert")
    made = factorize(model, 23)
    names = layout_of(made.config).head(made)
    states = torch.randn(64, 1, 24)
    with torch.no_grad():
        wanted = model.classifier(model.bert.pooler(states))
        found = made.classifier(states)
    assert names == ("classifier.dense", "classifier.out_proj")
    assert (found - wanted).abs().mean() < 0.25 * wanted.abs().mean()


@pytest.mark.parametrize("head", ["word", "span"])
def test_heads_that_read_each_token_are_copied(head):
    torch.manual_seed(0)
    model = HEADS[head](configs(labels=2)["bert"]).eval()
    made = factorize(model, 23)
    old, new = (answers_of(network(**batch())) for network in (model, made))
    assert type(made).__name__ == type(model).__name__.replace("Bert", "Electra")
    assert (new - old).abs().mean() < 0.3 * old.abs().mean()


def test_a_width_must_lie_below_the_hidden_size():
    with pytest.raises(ConfigError, match="embedding is 24; wanted 2 to 23, below the hidden size"):
        factorize(small_classifier("bert"), 24)


def test_a_random_start_is_random_and_words_are_trained():
    teacher = small_classifier("bert")
    settings = StudentSettings(layers=2, hidden=12, heads=4, embedding=6, start="random")
    one, two = (start_student(settings, teacher, seed) for seed in (0, 1))
    assert one.config.hidden_size == 12
    assert not torch.equal(one.electra.embeddings_project.weight,
                           two.electra.embeddings_project.weight)  # fmt: skip
    assert all(weight.requires_grad for weight in one.parameters())


def test_a_narrow_table_is_distilled_and_ships(taught, wide_encoder):
    recipe = recipes.load(
        None,
        taught
        | {
            "teacher.model": str(wide_encoder(2)),
            "student.layers": 1,
            "student.embedding": 48,
            "layer_stage.attention": 1.0,
            "layer_stage.embedding": 1.0,
            "ship.baselines": True,
            "ship.max_flips": 0.2,
            "ship.max_drop": 0.2,
        },
    )
    from tinybert.distill.task import distill

    run = distill(recipe, lambda _: None)
    artifact = ship(run, recipe, lambda _: None)
    texts = ["the film was superb", "it was dull and ugly", "a violin"]
    answers = [tinybert.load(artifact, engine="onnx")(texts)]
    if runtime.engines.is_built():
        model = tinybert.load(artifact, engine="native")
        assert model.engine.startswith("native")
        answers.append(model(texts))
    for found in answers:
        assert [answer.label for answer in found] == ["good", "bad", "odd"]
    scores = np.array([[answer.score for answer in found] for found in answers])
    assert np.ptp(scores, axis=0).max() < 1e-3
