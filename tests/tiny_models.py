"""Random classifiers of a few thousand weights, as Hugging Face folders."""

import json

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

WORDS = ["refund", "late", "parcel", "login", "card", "please", "my", "the", "help", "<", ">"]
HEADS = {
    "text": BertForSequenceClassification,
    "word": BertForTokenClassification,
    "span": BertForQuestionAnswering,
}


def save_model(folder, labels, layers, seed, names=None, spread=0.5, width=16, head="text"):
    """Write a classifier with so many logits and layers; from width 128 on it can be quantized.

    It answers for each text, or with another head for each word, or with spans.
    """
    folder.mkdir(parents=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = HEADS[head](
        BertConfig(
            vocab_size=len(pieces),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=2 * width,
            max_position_embeddings=32,
            num_labels=labels,
            initializer_range=spread,
            **({"id2label": dict(enumerate(names))} if names else {}),
        )
    )
    model.save_pretrained(folder)


def save_word_tokenizer(folder, size, special=("[PAD]", "[UNK]", "[CLS]", "[SEP]")):
    """Write a tokenizer of words w4, w5, ... whose ids are their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [*special, *(f"w{i}" for i in range(len(special), size))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, words.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
