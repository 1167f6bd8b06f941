"""A classifier that has learned something, as a Hugging Face folder and as data to ask it about."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification

from tiny_models import save_word_tokenizer
from tinybert.data import TaskData
from tinybert.ship.export import export

LABELS = ("low", "middle", "high")
VOCABULARY = 304


def draw(count, seed):
    """Return word numbers of texts, and the label that the first word stands for."""
    random = np.random.default_rng(seed)
    words = [random.integers(4, VOCABULARY, random.integers(1, 12)) for _ in range(count)]
    return words, [int(row[0] - 4) // 100 for row in words]


def split(count, seed):
    words, labels = draw(count, seed)
    texts = [" ".join(f"w{i}" for i in row) for row in words]
    return Dataset.from_dict({"text": texts, "label": labels, "line": list(range(count))})


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    """Width 128, so that everything large enough is quantized; margins, because it was trained."""
    folder = tmp_path_factory.mktemp("learned") / "model"
    save_word_tokenizer(folder, VOCABULARY)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=32,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(110):
        words, labels = draw(32, 1000 + step)
        ids = torch.zeros((32, 14), dtype=torch.int64)
        for i, row in enumerate(words):
            ids[i, : len(row) + 2] = torch.tensor([2, *row, 3])
        model(input_ids=ids, attention_mask=ids != 0, labels=torch.tensor(labels)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    data = TaskData(
        train=split(8, 1),
        dev=split(300, 2),
        test=None,
        task="classification",
        labels=LABELS,
        pair=False,
        name="words",
        metric="accuracy",
        notes=(),
    )
    return SimpleNamespace(folder=folder, data=data)


@pytest.fixture(scope="session")
def whole(learned, tmp_path_factory):
    """The learned model's float32 artifact; not to be changed."""
    return export(learned.folder, tmp_path_factory.mktemp("whole") / "artifact", max_length=32)


@pytest.fixture
def artifact(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "artifact")
