"""Tiny checkpoints, written in the layouts in which the large ones are published."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
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
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from tinybert.distill.convert import convert

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "Hello", "hel", "##lo", "cafe"]
PIECES += ["café", "Café", "naïve", "naive", "HELLO", "!", ",", ".", "中", "国", "人", "中国人"]
PIECES += ["##国", "##人", "好", "a", "b", "the", "##s", "card", "late"]
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
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
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
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁hello", "▁café", "▁中国人", "▁a"]
    pieces += [*"heloHEL中国人好bcafé▁!,.", "<mask>"]
    table = [(piece, -float(i % 7)) for i, piece in enumerate(dict.fromkeys(pieces))]
    config = XLMRobertaConfig(**SIZES | {"vocab_size": len(table)}, type_vocab_size=1)
    model = XLMRobertaForMaskedLM(config)
    values = says(config, "XLMRobertaForMaskedLM")
    about = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
    place = write(folder / "x", weights(model), values, tokenizer=about, vocabulary=None)
    backend = Backend(models.Unigram(table, unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    backend.save(str(place / "tokenizer.json"))
    return place, model.roberta


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


def batch():
    ids = torch.randint(5, 20, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def raw_tinybert(folder, *, legacy=True, config=None, **more):
    """Write the folder of a published TinyBERT, as it is downloaded."""
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**SIZES))
    tensors = weights(model, old=True, more=more or fit())
    config = config or tinybert_config()
    return write(folder / "raw", tensors, config, pickle=True, legacy=legacy), model.bert


def classifier(**more):
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SIZES | {"num_labels": 3} | more)).eval()
