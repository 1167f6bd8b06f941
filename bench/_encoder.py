"""Trains a small encoder on masked words, where no pretrained one is at hand."""

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["DEPTH", "pieces", "train"]

# A document is cut into passages of so many characters.
PASSAGE = 120
DEPTH = 4
# None while the encoder is made, which reads each text a few times; its teachers have it.
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=json.loads, required=True)
    run_job(**parser.parse_args().job)


def run_job(data: str, work: str, out: str, text: str, passages: int, epochs: float) -> None:
    """Train the encoder of the Chinese sets on passages of plain text and on the sets' own."""
    from _sets import chinese_texts
    from tinybert.corpus import open_corpus

    documents = open_corpus([text]).documents()
    cut = (part for document in documents for part in _passages(document))
    texts = [*islice(cut, passages), *chinese_texts(Path(data), Path(work))]
    print(f"{len(texts):,} passages", flush=True)
    train(texts, Path(out), epochs=epochs, longest=128)


def _passages(document: str) -> list[str]:
    """Cut a document; what is left at its end counts where it is half a passage."""
    parts = [document[at : at + PASSAGE] for at in range(0, len(document), PASSAGE)]
    return [part for part in parts if len(part) >= PASSAGE // 2]


def train(
    texts: Sequence[str],
    folder: Path,
    *,
    epochs: float,
    width: int = 256,
    longest: int = 64,
    cut: int | None = None,
    vocabulary: int = 16_000,
) -> Path:
    """Train a BERT of four layers on masked pieces.

    Its word vectors begin as those of ``_related``, all other weights random: so it learns from
    context at once, where random ones first spend thousands of steps on frequencies.

    Args:
        texts: What to learn from.
        folder: Receives tokenizer and model, unless the model is there.
        epochs: Passes over the texts.
        width: Width of the model.
        longest: Positions of the model.
        cut: Longest input in training, in tokens; None takes all positions.
        vocabulary: Most pieces of the tokenizer.

    Returns:
        The folder.
    """
    import torch
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        PreTrainedTokenizerFast,
        TrainingArguments,
        set_seed,
    )

    if (folder / "model.safetensors").is_file():
        return folder
    size = pieces(texts, folder, vocabulary)
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    set_seed(0)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=size,
            hidden_size=width,
            num_hidden_layers=DEPTH,
            num_attention_heads=4,
            intermediate_size=4 * width,
            max_position_embeddings=longest,
            attn_implementation="eager",
            **dict.fromkeys(DROPOUT, 0.0),
        )
    )
    ids = tokenizer(list(texts), truncation=True, max_length=cut or longest).input_ids
    words, frequency = _related(ids, size, width)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.copy_(torch.from_numpy(words))
        model.cls.predictions.bias.copy_(torch.from_numpy(frequency))
    _masked_trainer()(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder / "stages"),
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            learning_rate=5e-4,
            warmup_steps=0.05,
            use_cpu=not torch.cuda.is_available(),
            bf16=True,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            report_to=[],
            seed=0,
        ),
        train_dataset=[{"input_ids": row} for row in ids],
        data_collator=DataCollatorForLanguageModeling(tokenizer),
    ).train()
    model.config.update(dict.fromkeys(DROPOUT, 0.1))
    model.save_pretrained(folder)
    return folder


def _related(ids: Sequence[Sequence[int]], size: int, width: int) -> tuple[Any, Any]:
    """Return vectors of pieces that stand near the same others, and log frequencies.

    The leading singular vectors of positive pointwise mutual information, max(0, ln P(a, b) /
    (P(a) P(b))), of pieces at most five apart (Levy and Goldberg 2014, section 3).
    """
    import numpy as np
    from scipy.sparse import coo_matrix
    from sklearn.utils.extmath import randomized_svd

    apart = 5
    flat = np.concatenate([np.asarray([*row, *[-1] * apart], dtype=np.int32) for row in ids])
    near = coo_matrix((size, size), dtype=np.float32).tocsr()
    for step in range(1, apart + 1):
        a, b = flat[:-step], flat[step:]
        both = (a >= 0) & (b >= 0)
        ones = np.ones(int(both.sum()), dtype=np.float32)
        near += coo_matrix((ones, (a[both], b[both])), shape=(size, size)).tocsr()
    near = (near + near.T).tocoo()
    counts = np.asarray(near.sum(axis=1)).ravel() + 1
    ratio = near.data * counts.sum() / (counts[near.row] * counts[near.col])
    near.data = np.maximum(np.log(ratio), 0)
    left, values, _ = randomized_svd(near.tocsr(), width, random_state=0)
    words = left * np.sqrt(values)
    words = (words / words.std() * 0.05).astype(np.float32)
    frequency = np.log(np.bincount(flat[flat >= 0], minlength=size) + 1.0)
    return words, (frequency - frequency.max()).astype(np.float32)


def _masked_trainer() -> type:
    """Return a trainer that computes the vocabulary's scores of the masked places alone."""
    from torch.nn.functional import cross_entropy
    from transformers import Trainer

    class MaskedTrainer(Trainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
        ) -> Any:
            labels = inputs.pop("labels")
            masked = labels != -100
            hidden = model.bert(**inputs).last_hidden_state
            loss = cross_entropy(model.cls(hidden[masked]).float(), labels[masked])
            return (loss, {}) if return_outputs else loss

    return MaskedTrainer


def pieces(texts: Sequence[str], folder: Path, size: int) -> int:
    """Write a tokenizer of frequent runs of characters, words among them; return its size.

    Characters seldom tell what a short text is about, words do, and Chinese has no spaces to find
    them by: byte pair encoding does within what punctuation leaves together.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = Tokenizer(models.BPE(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, max_token_length=4, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    names = {f"{piece[1:-1].lower()}_token": piece for piece in special}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    return int(backend.get_vocab_size())


if __name__ == "__main__":
    main()
