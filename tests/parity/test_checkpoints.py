"""Published checkpoints, in the layouts in which they are published, serve as teacher and start."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertModel,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ErnieConfig,
    ErnieForMaskedLM,
    ErnieForPreTraining,
    ErnieModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from tinybert import runtime
from tinybert.distill.convert import convert
from tinybert.distill.infer import (
    load_classifier,
    load_report,
    predict_logits,
    resolve,
    save_tokenizer,
)
from tinybert.distill.published import brief, read_config, weight_names
from tinybert.distill.teach import has_head, save_model
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.first_token import first_token_only
from tinybert.layout import layout_of
from tinybert.observe import Observer
from tinybert.ship.export import export
from tinybert.student import make_student
from tinybert.text import Tokenizer

PIECES = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] hello Hello hel ##lo cafe café Café naïve naive HELLO ! , . "
    "中 国 人 中国人 ##国 ##人 好 a b the ##s card late"
).split()
TEXTS = ["Hello café!", "中国人, HELLO", "hello中国好", "[MASK] Café  naïve", "", "the cards b"]
SIZES = {
    "vocab_size": len(PIECES),
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}
NARROW = {"hidden": 12, "heads": 4, "intermediate": 20}


def old_norms(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    )


def weights(model, *, prefix=None, old=False, more=None, drop=()):
    """Return a model's weights under the names of an older file; ``prefix`` is (from, to)."""
    found = {}
    for name, value in model.state_dict().items():
        if prefix and name.startswith(prefix[0]):
            name = prefix[1] + name.removeprefix(prefix[0])
        if not any(part in name for part in drop):
            found[old_norms(name) if old else name] = value.clone()
    return found | (more or {})


def write(folder, tensors, config, *, pickle=False, tokenizer=None, vocabulary=PIECES, legacy=True):
    """Write a checkpoint's folder: weights, config.json, vocab.txt, tokenizer_config.json."""
    folder.mkdir(parents=True)
    if pickle:
        torch.save(
            tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy
        )
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    if vocabulary:
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    if tokenizer is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def says(config, *architectures, **more):
    """Return the values that a published config.json of the last years holds."""
    values = {k: v for k, v in config.to_dict().items() if v is not None}
    values |= {"architectures": list(architectures), "transformers_version": "4.9.0"} | more
    return values


def tinybert_config(**sizes):
    """Return what the official code wrote: no model_type, no architectures, keys of its own."""
    sizes = SIZES | sizes
    return sizes | {
        "attention_probs_dropout_prob": 0.1,
        "cell": {},
        "emb_size": sizes["hidden_size"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "pre_trained": "",
        "structure": [],
        "training": "",
        "type_vocab_size": 2,
    }


def fit(count=None):
    """Return the projections of the official code: v1 has one, v2 one a layer."""
    part = {"weight": torch.zeros(32, 24), "bias": torch.zeros(32)}
    heads = ["fit_dense"] if count is None else [f"fit_denses.{i}" for i in range(count)]
    return {f"{head}.{name}": value.clone() for head in heads for name, value in part.items()}


def tinybert(folder, denses=None):
    model = BertForPreTraining(BertConfig(**SIZES))
    tensors = weights(model, old=True, more=fit(denses))
    source = write(folder / "raw", tensors, tinybert_config(), pickle=True)
    return convert(source, folder / "converted", lambda _: None), model.bert


def bert(folder, cls=BertForPreTraining, tokenizer=None, layers=4, **changes):
    config = BertConfig(**SIZES | {"num_hidden_layers": layers})
    model = cls(config)
    values = says(config, cls.__name__)
    place = write(folder / "bert", weights(model, **changes), values, tokenizer=tokenizer)
    return place, getattr(model, "bert", model)


def miniature(folder):
    config = {k: v for k, v in SIZES.items() if k != "num_hidden_layers"}
    config |= {"num_hidden_layers": 2, "hidden_act": "gelu", "type_vocab_size": 2}
    model = BertForPreTraining(BertConfig(**config))
    return write(folder / "bert", weights(model), config), model.bert


def distilbert(folder, cls):
    config = DistilBertConfig(
        vocab_size=len(PIECES), dim=24, n_layers=4, n_heads=4, hidden_dim=48,
        max_position_embeddings=40, initializer_range=0.3,
    )  # fmt: skip
    model = cls(config)
    place = write(folder / "d", weights(model), says(config, cls.__name__), tokenizer={})
    return place, getattr(model, "distilbert", model)


def electra(folder, cls=ElectraForPreTraining):
    config = ElectraConfig(**SIZES, embedding_size=16)
    model = cls(config)
    return write(folder / "e", weights(model), says(config, cls.__name__)), model.electra


def ernie(folder, cls=ErnieForPreTraining, prefix=None):
    config = ErnieConfig(**SIZES, use_task_id=True, type_vocab_size=4)
    model = cls(config)
    values = says(config, cls.__name__)
    tokenizer = {"tokenizer_class": "ErnieTokenizer", "do_lower_case": True}
    place = write(folder / "n", weights(model, prefix=prefix), values, tokenizer=tokenizer)
    return place, getattr(model, "ernie", model)


def xlmr(folder):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁{p}" for p in ("hello", "café", "中国人", "a"))]
    pieces += list("heloHEL中国人好bcafé▁!,."), "<mask>"
    table = [(p, -float(i % 7)) for i, p in enumerate(dict.fromkeys(_flat(pieces)))]
    config = XLMRobertaConfig(**SIZES | {"vocab_size": len(table)}, type_vocab_size=1)
    model = XLMRobertaForMaskedLM(config)
    values = says(config, "XLMRobertaForMaskedLM")
    about = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
    place = write(folder / "x", weights(model), values, tokenizer=about, vocabulary=None)
    backend = Backend(models.Unigram(table, unk_id=3))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    backend.save(str(place / "tokenizer.json"))
    return place, model.roberta


def _flat(pieces):
    return [p for part in pieces for p in (part if isinstance(part, list) else [part])]


MLM = "cls.predictions"
NEW = {"bert": {"classifier"}, "deep": {"classifier.dense", "classifier.out_proj"}}
# How to write the folder, the modules left out, the modules made anew.
LAYOUTS = {
    "tinybert-v1": (tinybert, set(), {"classifier"}),
    "tinybert-v2": (lambda f: tinybert(f, 5), set(), {"classifier"}),
    "minilm-bare": (lambda f: bert(f, BertModel), set(), {"classifier"}),
    "minilm-prefixed": (
        lambda f: bert(f, BertModel, prefix=("", "bert."), old=True), set(), {"classifier"},
    ),
    "miniature": (miniature, {MLM, "cls.seq_relationship"}, {"classifier"}),
    "rbt3": (
        lambda f: bert(f, layers=3, tokenizer={"init_inputs": []}),
        {MLM, "cls.seq_relationship"}, {"classifier"},
    ),
    "chinese-roberta-wwm": (
        lambda f: bert(f, BertForMaskedLM, tokenizer={"init_inputs": []}),
        {MLM}, {"classifier", "bert.pooler.dense"},
    ),
    "distilbert": (
        lambda f: distilbert(f, DistilBertForMaskedLM),
        {"vocab_transform", "vocab_layer_norm", "vocab_projector"}, {"pre_classifier", "classifier"},
    ),
    "distilbert-bare": (
        lambda f: distilbert(f, DistilBertModel), set(), {"pre_classifier", "classifier"},
    ),
    "electra-discriminator": (electra, {"discriminator_predictions"}, NEW["deep"]),
    "electra-generator": (
        lambda f: electra(f, ElectraForMaskedLM),
        {"generator_predictions", "generator_lm_head"}, NEW["deep"],
    ),
    "ernie": (ernie, {MLM, "cls.seq_relationship"}, {"classifier"}),
    "ernie-bare": (lambda f: ernie(f, ErnieModel), set(), {"classifier"}),
    "ernie-under-bert": (
        lambda f: ernie(f, ErnieForMaskedLM, prefix=("ernie.", "bert.")),
        {MLM}, {"classifier", "ernie.pooler.dense"},
    ),
    "xlm-r": (xlmr, {"lm_head"}, NEW["deep"]),
}  # fmt: skip


@pytest.fixture(params=LAYOUTS)
def layout(request, tmp_path):
    torch.manual_seed(0)
    write_folder, extra, fresh = LAYOUTS[request.param]
    place, encoder = write_folder(tmp_path)
    return place, encoder.eval(), extra, fresh


def batch(model, types=False):
    ids = torch.randint(5, 20, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


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
    assert all(torch.equal(own[name], value) for name, value in wanted.items() if name not in pooler)
    assert found.config.num_labels == 3
    assert not found.training


def test_tokenizer_gives_the_ids_of_transformers(layout, tmp_path):
    place = layout[0]
    save_tokenizer(place, tmp_path / "out")
    ours = Tokenizer(tmp_path / "out", max_length=40)
    config = json.loads((place / "config.json").read_text())
    if config["model_type"] == "ernie" if "model_type" in config else False:
        (place / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    theirs = AutoTokenizer.from_pretrained(place, config=read_config(place))
    assert ours.encode(TEXTS)[0] == theirs(TEXTS)["input_ids"]
    assert ours.encode(TEXTS, TEXTS[::-1])[0] == theirs(TEXTS, TEXTS[::-1])["input_ids"]
    assert ours.pad_id == theirs.pad_token_id
    again = AutoTokenizer.from_pretrained(tmp_path / "out", config=read_config(place))
    assert again(TEXTS)["input_ids"] == theirs(TEXTS)["input_ids"]


def test_observer_equals_eager_attention(layout):
    teacher = load_classifier(layout[0], num_labels=3)
    count = teacher.config.num_hidden_layers
    inputs = batch(teacher)
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
    inputs = batch(teacher)
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
    inputs = batch(teacher)
    if not padded:
        del inputs["attention_mask"]
    wanted = teacher(**inputs).logits
    with first_token_only(teacher), Observer(teacher, hidden=[1]) as seen:
        found = teacher(**inputs).logits
    assert seen.hidden(1).shape[1] == (9 if teacher.config.num_hidden_layers > 1 else 1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_exports_and_answers_the_same(layout, tmp_path):
    place = layout[0]
    student = make_student(load_classifier(place, num_labels=3), 1)
    save_model(student, place, tmp_path / "student")
    artifact = export(tmp_path / "student", tmp_path / "artifact", max_length=32)
    answers = runtime.load(artifact)(TEXTS)
    logits = predict_logits(tmp_path / "student", TEXTS, max_length=32)
    wanted = torch.from_numpy(logits).softmax(-1)
    for answer, row in zip(answers, wanted, strict=True):
        assert answer.score == pytest.approx(row.max().item(), abs=1e-5)
