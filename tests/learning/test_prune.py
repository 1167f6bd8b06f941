"""Pruned students: the scores are derivatives, dead neurons go first, what is left learns on."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from small_layouts import CONFIGS, batch, small_classifier
from tinybert.distill import recipe as recipes
from tinybert.distill.objective import Objective
from tinybert.distill.prune import keep_neurons, largest_neurons, neuron_scores
from tinybert.distill.recipe import PruningSettings, Stage
from tinybert.distill.task import distill
from tinybert.errors import ConfigError
from tinybert.layout import layout_of


@pytest.fixture
def lesson():
    """An objective on a BERT's hidden states and answers, rows, and what makes batches of them."""
    model = small_classifier("bert")
    objective = Objective(
        model, Stage(hidden=1.0, prediction=1.0), (1, 2, 3, 4), 24, task="classification"
    )
    inputs = batch() | {"token_type_ids": torch.zeros(3, 9, dtype=torch.long)}
    targets = {f"hidden_{n}": torch.randn(3, 9, 24) for n in range(1, 5)}
    inputs |= targets | {"teacher_logits": torch.randn(3, 3)}
    rows = [{name: value[i] for name, value in inputs.items()} for i in range(3)]

    def collate(some):
        return {name: torch.stack([row[name] for row in some]) for name in inputs}

    return objective, rows, collate


def test_scores_are_the_derivatives_by_a_switch_before_each_neuron(lesson):
    objective, rows, collate = lesson
    found = neuron_scores(objective, rows, collate)
    layers = layout_of(objective.student.config).layer_list(objective.student)
    for index, layer in enumerate(layers):
        switches = torch.ones(3, 1, 48, requires_grad=True)
        handle = layer.output.dense.register_forward_pre_hook(
            lambda _, inputs, s=switches: (inputs[0] * s,)
        )
        objective(**collate(rows))["loss"].backward()
        handle.remove()
        torch.testing.assert_close(found[index], switches.grad[:, 0].abs().sum(0))
    objective.zero_grad()
    neuron_scores(objective, rows, collate)
    assert all(weight.grad is None for weight in objective.parameters())


def test_dead_neurons_have_no_score_and_nobody_misses_them(lesson):
    objective, rows, collate = lesson
    model = objective.student
    for layer in model.bert.encoder.layer:
        layer.output.dense.weight.data[:, ::3] = 0
    alive = [j for j in range(48) if j % 3]
    before = model(**batch()).logits
    for scores in neuron_scores(objective, rows, collate):
        assert scores[::3].abs().max() == 0
        assert scores.topk(len(alive)).indices.sort().values.tolist() == alive
    assert largest_neurons(model, len(alive)) == [alive] * 4
    keep_neurons(model, [alive] * 4)
    torch.testing.assert_close(model(**batch()).logits, before)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_pruned_model_of_every_layout_is_a_plain_one(name, tmp_path):
    model = small_classifier(name)
    keep_neurons(model, largest_neurons(model, 20))
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**batch()).logits, model(**batch()).logits)
    assert getattr(again.config, layout_of(again.config).intermediate) == 20


def test_a_student_is_pruned_heals_and_is_the_same_when_called_again(taught):
    settings = taught | {
        "pruning.intermediate": 24,
        "pruning.epochs": 2,
        "student.hidden": 16,
        "student.heads": 4,
        "student.intermediate": 40,
        "ship.baselines": True,
    }
    said = []
    run = distill(recipes.load(None, settings), said.append)
    stages = {path.parent.name for path in run.glob("stages/*/log.json")}
    assert stages == {"layer", "healing", "prediction", "label_only"}
    shares = [line for line in said if line.startswith("pruning: 24 neurons of each layer stay")]
    assert len(shares) == 1
    for name in ("student", "label_only"):
        model = AutoModelForSequenceClassification.from_pretrained(run / name)
        assert (model.config.intermediate_size, model.config.hidden_size) == (24, 16)
    log = json.loads((run / "stages" / "healing" / "log.json").read_text())
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < losses[0]
    kept = json.loads((run / "stages" / "healing" / "neurons.json").read_text())["kept"]
    assert [len({*layer}) for layer in kept] == [24, 24]
    weights = (run / "student" / "model.safetensors").read_bytes()
    distill(recipes.load(None, settings), said.append)
    assert (run / "student" / "model.safetensors").read_bytes() == weights


def test_what_no_plain_model_has_is_refused(taught):
    with pytest.raises(ConfigError) as refusal:
        distill(
            recipes.load(None, taught | {"pruning.heads": 2, "pruning.intermediate": 64}),
            lambda _: None,
        )
    for reason in (
        "computes the size of a head as hidden size / heads",
        "pruning.intermediate is 64; wanted below 64, the student's before it is pruned",
    ):
        assert reason in str(refusal.value)


def test_a_head_is_as_wide_as_hidden_size_over_heads():
    """If this fails, transformers can save fewer heads, and ``pruning.heads`` could be served."""
    from transformers.models.bert.modeling_bert import BertSelfAttention

    config = BertConfig(hidden_size=24, num_attention_heads=4, head_dim=3)
    assert BertSelfAttention(config).query.out_features == 24
    assert PruningSettings().heads is None


def test_a_run_of_a_version_that_knew_fewer_settings_goes_on(taught):
    run = distill(recipes.load(None, taught), lambda _: None)
    text = (run / "recipe.toml").read_text()
    start = text.index("[pruning]")
    (run / "recipe.toml").write_text(text[:start] + text[text.index("[", start + 1) :])
    distill(recipes.load(None, taught), lambda _: None)
    with pytest.raises(ConfigError, match=r"other settings \(pruning\.intermediate\)"):
        distill(recipes.load(None, taught | {"pruning.intermediate": 8}), lambda _: None)
