"""Pruned students: the scores are derivatives, dead neurons go first, what is left learns on."""

import json

import numpy as np
import onnx
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

import tinybert
from small_layouts import batch, small_classifier
from tinybert.artifact import FP32
from tinybert.distill import recipe as recipes
from tinybert.distill.infer import load_classifier
from tinybert.distill.objective import Objective
from tinybert.distill.prune import keep_largest, loss_scores, prune
from tinybert.distill.recipe import PruningSettings, Stage
from tinybert.distill.task import distill
from tinybert.errors import ConfigError
from tinybert.layout import layout_of
from tinybert.observe import Observer
from tinybert.pruned import keep_heads, kept_sizes
from tinybert.ship.export import export
from tinybert.ship.info import info
from tinybert.text import Tokenizer


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


def test_scores_are_the_derivatives_by_a_switch_before_each_head_and_neuron(lesson):
    objective, rows, collate = lesson
    found = loss_scores(objective, rows, collate)
    layers = layout_of(objective.student.config).layer_list(objective.student)
    for index, layer in enumerate(layers):
        for part, scores, group in (
            (layer.output.dense, found.neurons[index], 1),
            (layer.attention.output.dense, found.heads[index], 6),
        ):
            switches = torch.ones(3, 1, len(scores), requires_grad=True)
            handle = part.register_forward_pre_hook(
                lambda _, inputs, s=switches, g=group: (inputs[0] * s.repeat_interleave(g, -1),)
            )
            objective(**collate(rows))["loss"].backward()
            handle.remove()
            torch.testing.assert_close(scores, switches.grad[:, 0].abs().sum(0))
    objective.zero_grad()
    loss_scores(objective, rows, collate)
    assert all(weight.grad is None for weight in objective.parameters())


def test_dead_heads_and_neurons_have_no_score_and_nobody_misses_them(lesson):
    objective, rows, collate = lesson
    model = objective.student
    for layer in model.bert.encoder.layer:
        layer.output.dense.weight.data[:, ::3] = 0
        layer.attention.output.dense.weight.data[:, 6:12] = 0
    alive = [j for j in range(48) if j % 3]
    before = model(**batch()).logits
    scores = loss_scores(objective, rows, collate)
    for heads, neurons in zip(scores.heads, scores.neurons, strict=True):
        assert heads[1] == neurons[::3].abs().max() == 0
        assert neurons.topk(len(alive)).indices.sort().values.tolist() == alive
    keep_largest(model, PruningSettings(heads=3, intermediate=len(alive), uneven=True))
    assert kept_sizes(model) == ([3] * 4, [len(alive)] * 4)
    torch.testing.assert_close(model(**batch()).logits, before)


def test_uneven_layers_keep_what_they_need_and_each_keeps_some(lesson, tmp_path):
    objective, rows, collate = lesson
    model = objective.student
    for index, layer in enumerate(model.bert.encoder.layer):
        layer.output.dense.weight.data[:, 40 - 10 * index :] = 0
        layer.attention.output.dense.weight.data[:, 24 - 6 * index :] = 0
    before = model(**batch()).logits
    said = []
    settings = PruningSettings(heads=3, intermediate=31, uneven=True)
    prune(
        objective,
        Dataset.from_list(rows).with_format("torch"),
        collate,
        settings,
        tmp_path,
        0,
        said.append,
    )
    heads, neurons = kept_sizes(model)
    assert all(there >= alive for there, alive in zip(heads, [4, 3, 2, 1], strict=True))
    assert all(there >= alive for there, alive in zip(neurons, [40, 30, 20, 16], strict=True))
    assert (sum(heads), sum(neurons)) == (4 * 3, 4 * 31)
    assert list(map(len, objective.heads)) == heads
    assert said == [
        f"pruning: {min(heads)} to {max(heads)} heads of each layer stay, with 100.0% of what the "
        "loss feels of them",
        f"pruning: {min(neurons)} to {max(neurons)} neurons of each layer stay, with 100.0% of what "
        "the loss feels of them",
    ]
    torch.testing.assert_close(model(**batch()).logits, before)


def test_heads_that_stay_are_compared_with_the_teachers_of_the_same_place():
    model = small_classifier("bert")
    rows = batch() | {"token_type_ids": torch.zeros(3, 9, dtype=torch.long)}
    stage = Stage(hidden=0.0, attention=1.0, prediction=0.0)
    objective = Objective(model, stage, (1, 2, 3, 4), 24, task="classification")
    kept = [[1, 3]] * 4
    for layer in model.bert.encoder.layer:
        layer.attention.output.dense.weight.data[:, [*range(6), *range(12, 18)]] = 0
    with Observer(model, scores=[1, 2, 3, 4]) as seen:
        model(**batch())
    targets = {f"scores_{m}": seen.scores(m).detach() for m in range(1, 5)}
    keep_heads(model, kept)
    objective.heads = kept
    assert objective(**rows, **targets)["loss"].item() < 1e-10
    objective.heads = [[0, 2]] * 4
    assert objective(**rows, **targets)["loss"].item() > 1e-4


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
    kept = json.loads((run / "stages" / "healing" / "kept.json").read_text())
    assert [len({*layer}) for layer in kept["neurons"]["kept"]] == [24, 24]
    weights = (run / "student" / "model.safetensors").read_bytes()
    distill(recipes.load(None, settings), said.append)
    assert (run / "student" / "model.safetensors").read_bytes() == weights


def test_a_student_with_fewer_heads_ships_small_and_answers_as_its_plain_folder(taught):
    settings = taught | {
        "pruning.heads": 1,
        "pruning.intermediate": 24,
        "pruning.uneven": True,
        "pruning.epochs": 1,
        "layer_stage.attention": 1.0,
        "prediction_stage.attention": 0.1,
    }
    said = []
    run = distill(recipes.load(None, settings), said.append)
    student = load_classifier(run / "student")
    assert kept_sizes(student)[0] == [int(student.config.num_attention_heads)] * 2
    about = json.loads((run / "run.json").read_text())
    assert about["sizes"]["layer_heads"] == [1, 1]
    artifact = export(run / "student", run / "artifact", max_length=32)
    found = info(artifact)
    assert found["layer_heads"] == [1, 1]
    weights = onnx.load(str(artifact / FP32)).graph.initializer
    assert {(32, 8), (8, 32)} <= {tuple(weight.dims) for weight in weights}
    texts = ["a good story", "the dull film was awful", "seven blue violin"]
    ids = Tokenizer(run / "student", max_length=32).encode(texts)[0]
    with torch.no_grad():
        wanted = [student(torch.tensor([row])).logits[0].numpy() for row in ids]
    np.testing.assert_allclose(tinybert.load(artifact).logits(texts), wanted, atol=1e-4)


def test_what_prunes_nothing_is_refused(taught):
    with pytest.raises(ConfigError) as refusal:
        distill(
            recipes.load(None, taught | {"pruning.heads": 12, "pruning.intermediate": 64}),
            lambda _: None,
        )
    for reason in (
        "pruning.heads is 12; wanted below 4, the student's before it is pruned",
        "pruning.intermediate is 64; wanted below 64, the student's before it is pruned",
    ):
        assert reason in str(refusal.value)


def test_a_run_of_a_version_that_knew_fewer_settings_goes_on(taught):
    run = distill(recipes.load(None, taught), lambda _: None)
    text = (run / "recipe.toml").read_text()
    start = text.index("[pruning]")
    (run / "recipe.toml").write_text(text[:start] + text[text.index("[", start + 1) :])
    distill(recipes.load(None, taught), lambda _: None)
    with pytest.raises(ConfigError, match=r"other settings \(pruning\.intermediate\)"):
        distill(recipes.load(None, taught | {"pruning.intermediate": 8}), lambda _: None)
