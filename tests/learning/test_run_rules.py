"""What a run refuses before it trains, and what it does not do twice or with other data."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration

from small_layouts import batch, small_classifier
from tinybert.bart import set_dropout
from tinybert.distill import processes, sentence, stages, task
from tinybert.distill import recipe as recipes
from tinybert.distill.objective import Objective
from tinybert.distill.output_files import cached, label_of
from tinybert.distill.prune import loss_scores
from tinybert.distill.recipe import Stage, StudentSettings
from tinybert.distill.start import check_student, start_student
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.factorized import Tokens, _Tables


class StopError(Exception):
    """Ends a run where a test has seen enough."""


def stop(*_, **__):
    raise StopError


def test_a_student_is_made_of_a_teacher_on_the_cpu(monkeypatch):
    teacher, moved, to = small_classifier("bert"), [], torch.nn.Module.to

    def watched(module, *arguments, **settings):
        moved.append((module is teacher, arguments))
        return to(module, *arguments, **settings)

    monkeypatch.setattr(torch.nn.Module, "to", watched)
    start_student(StudentSettings(layers=2), teacher, 0)
    assert moved[0] == (True, ("cpu",))


def test_a_run_goes_on_with_its_own_labels_alone(taught, table, monkeypatch):
    recipe = recipes.load(None, taught)
    monkeypatch.setattr(task, "_teacher", stop)
    train = table / "train.csv"
    for _ in range(2):
        with pytest.raises(StopError):
            task.distill(recipe, lambda _: None)
        lines = train.read_text().splitlines()
        train.write_text("\n".join([*lines[:-1], lines[-1].replace(",odd", ",bad")]) + "\n")
    (Path(recipe.out) / "stages" / "teach").mkdir()
    (Path(recipe.out) / "stages" / "teach" / "tokenizer.json").write_text("{}")
    with pytest.raises(StopError):
        task.distill(recipe, lambda _: None)
    train.write_text("\n".join(lines[:-3]) + "\n")
    for command in (task.distill, task.teach):
        with pytest.raises(ConfigError, match="was begun with other texts or labels than its"):
            command(recipe, lambda _: None)


def test_the_others_wait_as_long_as_a_teacher_answers(monkeypatch):
    class State:
        def __init__(self, *, cpu, timeout):
            assert cpu is not torch.cuda.is_available()
            assert timeout > timedelta(days=1)

        def wait_for_everyone(self):
            pass

    monkeypatch.setattr(processes, "PartialState", State)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with processes.first_alone() as first:
        assert first


def test_pooling_of_the_hub_is_asked_there(monkeypatch, tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(sentence, "snapshot_download", download)
    assert sentence.pooling_of("BAAI/bge") == "cls"
    assert asked == [("BAAI/bge", ["modules.json", "1_Pooling/config.json"])]
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    text = ", ".join(f'{{"type": "sentence_transformers.models.{kind}"}}' for kind in kinds)
    (tmp_path / "modules.json").write_text(f"[{text}]")
    with pytest.raises(UnsupportedModelError, match="has the modules Dense; wanted vectors as"):
        sentence.pooling_of(tmp_path)
    (tmp_path / "modules.json").write_text("[3]")
    with pytest.raises(UnsupportedModelError, match="is no list of modules"):
        sentence.pooling_of(tmp_path)


def test_other_numbers_of_a_quantized_stage_are_another_stage(taught):
    def last(**more):
        given = taught | {"ship.quantization": "always"} | more
        return stages._planned(recipes.load(None, given))[-1][0]

    names = {last(), last(**{"ship.quantization_epochs": 3})}
    names.add(last(**{"ship.quantization_learning_rate": 1e-5}))
    assert len(names) == 3
    assert all(name.startswith("quantized-8-") for name in names)


def test_the_layer_that_a_mean_adds_counts(taught):
    added = taught | {"teacher.teach": "always", "teacher.pooling": "mean"}
    added |= {"student.layers": [1, 3]}
    check_student(recipes.load(None, added | {"student.mapping": [2, 5]}))
    check_student(recipes.load(None, added | {"student.layers": [1, 4]}))
    for settings in (
        added | {"teacher.pooling": "first", "student.mapping": [2, 5]},
        added | {"student.mapping": [2, 6]},
    ):
        with pytest.raises(ConfigError, match="leaves the teacher"):
            check_student(recipes.load(None, settings))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layer_stage.attention": 1.0, "student.heads": 2},
            r"layer_stage.attention is 1, the student has 2 heads and the teacher 4",
        ),
        ({"layer_stage.hidden": 0.0}, r"layer_stage has \d+ epochs and every weight is 0; wanted"),
        ({"layer_stage.warmup": 1.0}, r"layer_stage.warmup"),
    ],
)
def test_what_a_stage_cannot_learn_from_is_refused_at_once(taught, changes, message):
    with pytest.raises(ConfigError, match=message):
        check_student(recipes.load(None, taught | changes))
    idle = taught | {"layer_stage.hidden": 0.0, "layer_stage.epochs": 0}
    check_student(recipes.load(None, idle))


def test_no_layer_of_a_writer_is_left_out():
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "vocab_size": 20}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    wide = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    config = M2M100Config(**sizes, **heads, **wide, encoder_layerdrop=0.5, attention_dropout=0.3)
    model = M2M100ForConditionalGeneration(config)
    for dropout in (0.2, 0.0):
        set_dropout(model, dropout)
        layer = model.model.decoder.layers[0]
        assert model.model.encoder.layerdrop == model.model.decoder.layerdrop == 0.0
        assert model.config.encoder_layerdrop == 0.0
        assert [layer.dropout, layer.self_attn.dropout, layer.activation_dropout] == [
            dropout,
            dropout,
            0.0,
        ]
        assert model.config.attention_dropout == model.model.encoder.dropout == dropout


def test_outputs_of_many_layers_have_a_name_that_fits(tmp_path):
    names = ["teacher_logits", *(f"{kind}_{n}" for kind in ("hidden", "scores") for n in range(25))]
    path = tmp_path / f"teacher-{'0' * 32}.{label_of(names)}.arrow"
    assert len(path.name) < 255
    path.touch()
    assert cached(tmp_path, "0" * 32) == dict.fromkeys(names, path)
    old = tmp_path / "teacher-1.hidden_1+hidden_2+teacher_logits.arrow"
    old.touch()
    assert cached(tmp_path, "1") == dict.fromkeys(("hidden_1", "hidden_2", "teacher_logits"), old)


def test_heads_without_a_part_in_the_loss_have_no_score():
    model = small_classifier("bert")
    stage = Stage(attention=1.0)
    objective = Objective(model, stage, (1, 2, 3, 4), 24, task="classification")
    inputs = batch() | {"token_type_ids": torch.zeros(3, 9, dtype=torch.long)}
    inputs |= {f"scores_{n}": torch.randn(3, 4, 9, 9) for n in range(1, 5)}
    rows = [{name: value[i] for name, value in inputs.items()} for i in range(3)]
    found = loss_scores(
        objective, rows, lambda some: {n: torch.stack([row[n] for row in some]) for n in inputs}
    )
    assert not found.neurons[-1].any()
    assert found.neurons[0].all()


def test_labels_alone_are_learned_without_the_teachers_layers(taught, tmp_path, monkeypatch):
    recipe = recipes.load(None, taught | {"prediction_stage.embedding": 1.0})
    seen = []
    monkeypatch.setattr(task, "start_student", lambda *_, **__: None)
    monkeypatch.setattr(task, "keep_largest", lambda *_: None)
    monkeypatch.setattr(task, "save_model", stop)
    monkeypatch.setattr(task, "fine_tune", lambda *_, stage, **__: seen.append(stage))
    own = type("Own", (), {"cut": None, "tokenizer": None, "folder": None})
    with pytest.raises(StopError):
        task._label_only(recipe, None, tmp_path, print, {}, None, None, own)
    (stage,) = seen
    assert not any((stage.embedding, stage.hidden, stage.attention, stage.prediction))


@pytest.mark.parametrize(
    ("losses", "best"),
    [({"prediction": 1.0}, "f1"), ({"hard_labels": 1.0}, "f1"), ({"hidden": 1.0}, None)],
)
def test_where_answers_are_learned_the_best_epoch_is_kept(
    taught, tmp_path, monkeypatch, losses, best
):
    kept = []
    monkeypatch.setattr(stages, "dev_metrics", lambda *_: dict)
    monkeypatch.setattr(stages, "run_stage", lambda *_, keep_best, **__: kept.append(keep_best))
    lessons = SimpleNamespace(
        data=SimpleNamespace(metric="f1"),
        own=SimpleNamespace(tokenizer=None),
        run=tmp_path,
        recipe=recipes.load(None, taught),
        collator=lambda: None,
    )
    stages._train(lessons, "layer", Stage(**losses), SimpleNamespace(student=None), None)
    assert kept == [best]


def test_a_second_segment_of_a_model_that_has_none():
    tables = _Tables(
        torch.ones(3, 2), torch.ones(4, 2), torch.zeros(1, 2), torch.ones(2), torch.zeros(2), 1e-5,
        torch.eye(2), torch.zeros(2),
    )  # fmt: skip
    ids = torch.tensor([0, 1])
    assert tables.outputs(Tokens(ids, ids, torch.tensor([0, 1]))).shape == (2, 2)
