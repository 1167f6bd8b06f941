"""Trains a small encoder on masked characters, where no pretrained one is at hand."""

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["characters", "train"]

# A document is cut into passages of so many characters.
PASSAGE = 120
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
    train(texts, Path(out), epochs=epochs, longest=128, least=10)


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
    least: int = 2,
) -> Path:
    """Train a BERT of four layers, its weights random, on masked characters.

    Args:
        texts: What to learn from.
        folder: Receives tokenizer and model, unless the model is there.
        epochs: Passes over the texts.
        width: Width of the model.
        longest: Positions of the model.
        cut: Longest input in training, in tokens; None takes all positions.
        least: How often a character or word must stand in the texts to be known.

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
    size = characters(texts, folder, least)
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    set_seed(0)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=size,
            hidden_size=width,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=4 * width,
            max_position_embeddings=longest,
            **dict.fromkeys(DROPOUT, 0.0),
        )
    )
    ids = tokenizer(list(texts), truncation=True, max_length=cut or longest).input_ids
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


def characters(texts: Sequence[str], folder: Path, least: int = 2) -> int:
    """Write a tokenizer of single characters and runs of letters; return its size."""
    from collections import Counter

    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    splitter = pre_tokenizers.BertPreTokenizer()
    normalizer = normalizers.BertNormalizer()
    counts = Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = special + sorted(word for word, count in counts.items() if count >= least)
    backend = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    backend.add_special_tokens(special)
    backend.save(str(folder / "tokenizer.json"))
    names = {f"{piece[1:-1].lower()}_token": piece for piece in special}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    return len(pieces)


if __name__ == "__main__":
    main()
