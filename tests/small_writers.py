"""Random encoder-decoders of a few thousand weights, and the pairs that tiny ones learn from."""

import random

import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
)

from tinybert.bart import new_writer
from tinybert.distill.writers import save_writer
from tinybert.subwords import train_tokenizer
from tinybert.text import Tokenizer

TEXTS = ["the red cat sat on 12 mats, we saw it!", "你好，世界。今天天气很好", "a green house"]
KINDS = {
    "m2m_100": (M2M100Config, M2M100ForConditionalGeneration),
    "marian": (MarianConfig, MarianMTModel),
    "mbart": (MBartConfig, MBartForConditionalGeneration),
}
WORDS = {"red": "rot", "blue": "blau", "cat": "katze", "dog": "hund", "sun": "sonne", "7": "7"}


def word_pairs(count, seed=0):
    """Return sentences and their translation, word by word."""
    pick = random.Random(seed)
    found = [pick.choices(list(WORDS), k=pick.randint(1, 4)) for _ in range(count)]
    return [(" ".join(row), " ".join(WORDS[word] for word in row)) for row in found]


def writer_settings(place, **more):
    """Return the settings of a tiny run in a folder that holds ``pairs``."""
    return {
        "out": str(place / "run"),
        "data.path": str(place / "pairs"),
        "max_length": 16,
        "max_target": 16,
        "precision": "fp32",
        "teacher.hidden": 32,
        "teacher.encoder_layers": 2,
        "teacher.decoder_layers": 1,
        "teacher.vocab_size": 330,
        "teacher.dropout": 0.0,
        "teaching.epochs": 8,
        "teaching.learning_rate": 8e-3,
        "teaching.batch_size": 16,
        "student.encoder_layers": 1,
        "student.dropout": 0.0,
        "training.epochs": 2,
        "training.hidden": 0.1,
        "training.cross_attention": 0.01,
        "training.learning_rate": 6e-3,
        "training.batch_size": 16,
        "ship.max_drop": 5.0,
    } | more


def write_pairs(folder, share=1):
    """Write train, dev and test of word by word translations."""
    folder.mkdir()
    for split, count, seed in (("train", 240, 1), ("dev", 40, 2), ("test", 20, 3)):
        lines = [
            "source\ttarget",
            *("\t".join(row) for row in word_pairs(int(count * share), seed)),
        ]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")


def save_random_writer(folder, kind="bart", layers=(2, 1), positions=64):
    """Write a model whose answers vary, with a tokenizer of its own."""
    spread = 1.5 if kind == "bart" else 3.0
    train_tokenizer(TEXTS, folder, vocab_size=400)
    size = Tokenizer(folder, max_length=16).vocab_size
    torch.manual_seed(1)
    if kind == "bart":
        ids = {"start": 0, "pad": 1, "eos": 2}
        model = new_writer(size, layers=layers, hidden=32, positions=positions, **ids)
    else:
        config, made = KINDS[kind]
        start = 1 if kind == "marian" else 2
        model = made(
            config(
                vocab_size=size, d_model=32, encoder_layers=layers[0], decoder_layers=layers[1],
                encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
                decoder_ffn_dim=64, max_position_embeddings=positions, pad_token_id=1,
                eos_token_id=2, decoder_start_token_id=start, scale_embedding=True,
                activation_function="swish", forced_eos_token_id=None,
            )
        ).eval()  # fmt: skip
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed" in name and weight.ndim > 1 and ("bart" in kind or "positions" not in name):
                weight.copy_(torch.randn_like(weight))
            elif weight.ndim > 1 and "positions" not in name:
                weight.copy_(torch.randn_like(weight) * spread / weight.shape[1] ** 0.5)
            elif weight.ndim == 1 and "norm" not in name:
                weight.copy_(0.1 * torch.randn_like(weight))
        model.model.shared.weight[size - 256 :] *= 0.2  # bytes: the answers are readable
    save_writer(model, folder, folder.with_name(f"{folder.name}-model"))
    return folder.with_name(f"{folder.name}-model")
