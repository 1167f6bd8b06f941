"""General distillation on tiny models: it learns, resumes after a kill, and its encoder is a start."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraForPreTraining,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaModel,
)

import trainings
from tinybert.distill import general_recipe, trainer
from tinybert.distill import recipe as recipes
from tinybert.distill.general import general
from tinybert.distill.infer import load_classifier
from tinybert.distill.start import check_base, start_student
from tinybert.distill.task import distill
from tinybert.distill.teach import has_head
from tinybert.errors import ConfigError, DataError, UnsupportedModelError
from tinybert.layout import layout_of

WORDS = [
    "a",
    "the",
    "film",
    "story",
    "very",
    "and",
    "was",
    "it",
    "this",
    "one",
    "fine",
    "great",
    "dull",
    "ugly",
]


@pytest.fixture
def text(tmp_path):
    pick = random.Random(0)
    lines = (" ".join(pick.choices(WORDS, k=pick.randint(5, 30))) for _ in range(200))
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(lines))
    return path


@pytest.fixture
def plain(text, encoder, tmp_path):
    """Overrides of a recipe that trains in a second."""
    return {
        "out": str(tmp_path / "general"),
        "teacher": str(encoder),
        "max_length": 16,
        "precision": "fp32",
        "corpus.texts": [str(text)],
        "corpus.dev_rows": 8,
        "corpus.buffer": 20,
        "student.layers": 2,
        "training.steps": 24,
        "training.batch_size": 8,
        "training.learning_rate": 1e-3,
        "training.every": 8,
    }


def run(settings, say=lambda _: None, **more):
    return general(general_recipe.load(None, settings | more), say)


def weights(folder):
    return load_file(folder / "model.safetensors")


def about(folder):
    return json.loads((folder / "general.json").read_text())


def log(folder):
    return json.loads((folder / "stages" / "general" / "log.json").read_text())


def test_layers_are_learned(plain):
    said = []
    folder = run(plain, said.append)
    loss = about(folder)["loss"]
    assert loss["after"] < 0.7 * loss["before"]
    assert said[-1].endswith(
        f"held-out loss {loss['before']:.4f} before, {loss['after']:.4f} after 24 steps"
    )
    assert [row["step"] for row in log(folder) if "eval_loss" in row] == [8, 16, 24]
    first, last = ([row for row in log(folder) if "hidden/1" in row][i] for i in (0, -1))
    assert {"hidden/2", "attention/1", "attention/2", "embedding"} <= first.keys()
    assert last["hidden/2"] < first["hidden/2"]
    assert list((folder / "stages" / "general").rglob("events.out.tfevents.*"))


def test_a_stream_says_how_long_its_rows_are(plain, monkeypatch):
    seen, choose = [], trainer.plain_attention

    def watched(module, *, longest, **more):
        seen.append(longest)
        return choose(module, longest=longest, **more)

    monkeypatch.setattr(trainer, "plain_attention", watched)
    run(plain)
    assert seen == [16]


@pytest.mark.parametrize("layer", [None, 3])
def test_relations_are_learned_with_other_head_counts(plain, layer):
    more = {"losses": "relations", "relation_heads": 8, "relation_layer": layer}
    more = {f"training.{k}": v for k, v in more.items() if v} | {"student.start": "random"}
    folder = run(plain | more, **{"student.hidden": 24, "student.heads": 3})
    loss = about(folder)["loss"]
    assert loss["after"] < 0.8 * loss["before"]
    assert {"relation/query", "relation/key", "relation/value"} <= log(folder)[0].keys()
    assert AutoModel.from_pretrained(folder).config.num_attention_heads == 3


def test_the_result_is_a_plain_encoder(plain, encoder):
    before = weights(encoder)
    folder = run(plain, **{"student.hidden": 16, "student.heads": 4})
    loaded, problems = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(problems.values())
    config = loaded.config
    assert config.architectures == ["BertModel"]
    assert (config.num_hidden_layers, config.hidden_size, config.num_labels) == (2, 16, 2)
    assert not [name for name in weights(folder) if "projection" in name or "classifier" in name]
    assert not has_head(folder)
    assert load_classifier(folder, num_labels=5).config.num_labels == 5
    kept = load_file(folder / "stages" / "general" / "final.safetensors")
    assert kept["objective.projections.1"].shape == (16, 32)
    assert not [name for name in kept if "teacher" in name]
    assert all(torch.equal(v, before[k]) for k, v in weights(encoder).items())


SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}
MADE = {
    "bert with a masked-word head": lambda v: BertForMaskedLM(
        AutoConfig.for_model("bert", vocab_size=v, **SIZES)
    ),
    "roberta with a masked-word head": lambda v: RobertaForMaskedLM(
        RobertaConfig(vocab_size=v, **SIZES)
    ),
    "roberta classifier": lambda v: RobertaForSequenceClassification(
        RobertaConfig(vocab_size=v, num_labels=7, **SIZES)
    ),
    "xlm-roberta": lambda v: XLMRobertaModel(XLMRobertaConfig(vocab_size=v, **SIZES)),
    "electra with its own head": lambda v: ElectraForPreTraining(
        ElectraConfig(vocab_size=v, embedding_size=8, **SIZES)
    ),
    "distilbert": lambda v: DistilBertModel(
        DistilBertConfig(
            vocab_size=v,
            dim=16,
            n_layers=3,
            n_heads=2,
            hidden_dim=32,
            max_position_embeddings=40,
            initializer_range=0.3,
        )
    ),
}


@pytest.mark.parametrize("kind", MADE)
def test_any_encoder_teaches(plain, tmp_path, write_tokenizer, kind):
    teacher = tmp_path / "teacher"
    model = MADE[kind](write_tokenizer(teacher))
    model.save_pretrained(teacher)
    more = {"training.steps": 12, "training.learning_rate": 4e-3, "student.start": "random"}
    folder = run(plain, teacher=str(teacher), **more, **{"student.layers": [0, 2]})
    loss = about(folder)["loss"]
    assert loss["after"] < 0.9 * loss["before"]
    made = AutoModel.from_pretrained(folder)
    assert type(made) is type(AutoModel.from_pretrained(teacher))
    assert made.config.num_labels == 2
    layers = layout_of(model.config).layer_list(load_classifier(folder, num_labels=2))
    assert len(layers) == 2


def test_same_seed_same_encoder_and_other_seed_another(plain, tmp_path):
    first = weights(run(plain))
    again = weights(run(plain, out=str(tmp_path / "again")))
    other = weights(run(plain, out=str(tmp_path / "other"), seed=1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_killed_run_ends_with_the_same_encoder(plain, tmp_path, kill_at_checkpoint):
    """Killed in the second pass over the texts, with the shuffled buffer half used."""
    long = plain | {"training.steps": 75, "training.every": 40}
    whole = run(long, out=str(tmp_path / "whole"))
    killed = long | {"out": str(tmp_path / "killed")}
    kill_at_checkpoint(
        trainings.generally_distilled, killed, tmp_path / "killed" / "stages" / "general"
    )
    resumed = run(killed)
    assert about(resumed)["loss"] == about(whole)["loss"]
    assert weights(resumed).keys() == weights(whole).keys()
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], value, atol=0, rtol=0, msg=name)


def test_a_finished_run_trains_nothing_again(plain):
    said = []
    folder = run(plain)
    first = weights(folder)
    run(plain, said.append)
    assert said == [f"{folder} is finished"]
    assert all(torch.equal(first[name], value) for name, value in weights(folder).items())
    with pytest.raises(ConfigError, match=r"other settings \(training\.steps\)"):
        run(plain, **{"training.steps": 30})


@pytest.mark.parametrize(
    ("budget", "steps"), [({"tokens": 16 * 8 * 5}, 5), ({"epochs": 0.5}, None), ({"steps": 3}, 3)]
)
def test_budgets(plain, budget, steps):
    settings = {k: v for k, v in plain.items() if k != "training.steps"}
    said = []
    more = {f"training.{name}": value for name, value in budget.items()}
    folder = run(settings, said.append, **more)
    if steps is None:
        rows = json.loads((folder / "stages" / "rows.json").read_text())
        assert f"{rows} rows of 16 tokens a pass" in said
        steps = -(-rows // 16)
    assert about(folder)["steps"] == steps
    assert about(folder)["tokens"] == steps * 8 * 16


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"training.epochs": 1}, "training.steps and training.epochs are given; wanted one"),
        ({"max_length": 64}, "max_length is 64, it takes 40 tokens"),
        (
            {"training.losses": "relations"},
            "relation_heads is 12; wanted a divisor of the widths 32 and 32: 1, 2, 4, 8, 16, 32",
        ),
        (
            {
                "training.losses": "relations",
                "training.relation_layer": 5,
                "training.relation_heads": 4,
            },
            "training.relation_layer is 5; wanted 1 to 4",
        ),
        ({"student.heads": 2}, "the student has 2 attention heads, the teacher 4; give it as many"),
        ({"student.layers": 5}, "layers is 5; wanted 1 to 4"),
        ({"student.mapping": [1, 9]}, "mapping [1, 9] leaves the teacher; wanted 1 to 4"),
    ],
)
def test_bad_settings_are_named(plain, more, message):
    with pytest.raises(ConfigError) as refusal:
        run(plain, **more)
    assert message in str(refusal.value)
    folder = Path(plain["out"])
    assert {path.name for path in folder.glob("*")} <= {"recipe.toml"}


def test_bad_texts_and_teachers_are_named(plain, tmp_path, encoder):
    with pytest.raises(DataError, match=r"missing\.txt does not exist"):
        run(plain, **{"corpus.texts": ["missing.txt"]})
    (tmp_path / "short.txt").write_text("the film")
    with pytest.raises(DataError, match="gives only 2 tokens; wanted more than one row of 16"):
        run(plain, **{"corpus.texts": [str(tmp_path / "short.txt")]})
    with pytest.raises(ConfigError, match="encoder holds another model; choose another --out"):
        run(plain, out=str(encoder))
    with pytest.raises(UnsupportedModelError, match="nowhere is not a folder"):
        run(plain, teacher=str(tmp_path / "nowhere"), out=str(tmp_path / "other"))


@pytest.fixture
def base(plain):
    """Gives encoders of other sizes."""
    return lambda **sizes: run(plain, **{f"student.{name}": size for name, size in sizes.items()})


def student_settings(**values):
    return recipes.StudentSettings.model_validate(values)


def test_a_task_student_starts_from_the_encoder(taught, base):
    folder = base()
    said = []
    more = {"student.base": str(folder), "layer_stage.epochs": 1, "prediction_stage.epochs": 2}
    out = distill(recipes.load(None, taught | more), said.append)
    assert [line for line in said if line.startswith("student from")] == [
        f"student from {folder}: 2 layers of width 32, the teacher's head"
    ]
    assert json.loads((out / "run.json").read_text())["student_layers"] == 2
    assert weights(out / "student")["classifier.weight"].shape == (3, 32)


def test_an_encoder_of_the_teachers_width_gets_its_head(base, encoder):
    folder = base()
    teacher = load_classifier(encoder, num_labels=3, id2label={0: "a", 1: "b", 2: "c"})
    student = start_student(student_settings(base=str(folder), dropout=0.1), teacher, seed=0)
    own, theirs, start = student.state_dict(), teacher.state_dict(), weights(folder)
    assert all(
        torch.equal(own[f"bert.{name}"], v) for name, v in start.items() if "pooler" not in name
    )
    for name in ("classifier.weight", "classifier.bias", "bert.pooler.dense.weight"):
        assert torch.equal(own[name], theirs[name])
    assert student.config.id2label == teacher.config.id2label
    assert student.config.hidden_dropout_prob == 0.1
    assert not hasattr(student.config, "attention_dropout")


def test_a_narrower_encoder_gets_a_head_of_its_own(base, encoder):
    folder = base(hidden=16, heads=4)
    teacher = load_classifier(encoder, num_labels=3)
    said = []
    first, again = (
        start_student(student_settings(base=str(folder)), teacher, 0, said.append) for _ in "ab"
    )
    assert said[0].endswith("2 layers of width 16, a new head")
    assert first.classifier.weight.shape == (3, 16)
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert first.bert.embeddings.word_embeddings.weight.requires_grad


@pytest.mark.parametrize("trained", [False, True])
def test_only_the_teachers_own_embeddings_are_frozen(plain, encoder, trained):
    folder = run(plain, **({"student.freeze_embeddings": False} if trained else {}))
    teacher = load_classifier(encoder, num_labels=3)
    student = start_student(student_settings(base=str(folder)), teacher, seed=0)
    assert student.bert.embeddings.word_embeddings.weight.requires_grad is trained


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"hidden": 24}, "student.hidden is 24, it has 32"),
        ({"start": "random"}, "student.start is random"),
        ({"layers": 5}, "student.layers is 5, it has 2"),
        ({"layers": [0, 1]}, "student.layers names the teacher's layers [0, 1]"),
    ],
)
def test_settings_that_contradict_the_encoder_are_named(base, encoder, more, message):
    chosen = student_settings(base=str(base()), **more)
    with pytest.raises(ConfigError) as refusal:
        check_base(chosen, str(encoder), 64)
    assert message in str(refusal.value)
    assert "max_length is 64, it takes 40 tokens" in str(refusal.value)


def test_encoders_that_do_not_fit_are_refused_before_any_training(settings, tmp_path, encoder):
    other = tmp_path / "other"
    XLMRobertaModel(XLMRobertaConfig(vocab_size=20, **SIZES)).save_pretrained(other)
    with pytest.raises(ConfigError, match="it is a xlm-roberta, the teacher a bert"):
        distill(recipes.load(None, settings | {"student.base": str(other)}))
    strange = tmp_path / "strange"
    AutoModel.from_pretrained(encoder).save_pretrained(strange)
    words = (encoder / "tokenizer.json").read_text()
    (strange / "tokenizer.json").write_text(words.replace('"film"', '"cat"'))
    (strange / "tokenizer_config.json").write_text('{"pad_token": "[PAD]"}')
    with pytest.raises(ConfigError, match="its vocabulary is not the teacher's"):
        distill(recipes.load(None, settings | {"student.base": str(strange)}))
    for file in strange.glob("tokenizer*.json"):
        file.unlink()
    ids = json.loads(words)["model"]["vocab"]
    pieces = sorted(ids, key=ids.get)
    (strange / "vocab.txt").write_text("\n".join(pieces))
    check_base(student_settings(base=str(strange)), str(encoder), 16)
    (strange / "vocab.txt").write_text("\n".join(["cat" if p == "film" else p for p in pieces]))
    with pytest.raises(ConfigError, match="its vocabulary is not the teacher's"):
        check_base(student_settings(base=str(strange)), str(encoder), 16)
    load_classifier(encoder, num_labels=3).save_pretrained(strange)
    with pytest.raises(ConfigError, match="it is a classifier; wanted an encoder as `tinybert"):
        distill(recipes.load(None, settings | {"student.base": str(strange)}))
    with pytest.raises(UnsupportedModelError, match="no-such-run is no model folder here, and"):
        distill(recipes.load(None, settings | {"student.base": "no-such-run"}))
    assert not (tmp_path / "run").exists()
