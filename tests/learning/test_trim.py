"""A trimmed model answers its own texts as before, and knows every word that it knew."""

import json
import random

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from small_layouts import CONFIGS
from small_writers import save_random_writer
from tinybert.data import TaskData, save
from tinybert.distill.trim import trim
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.text import Tokenizer, pad_batch
from tinybert.vocabulary import cut_vocabulary

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def words(count, seed):
    """Return words of one to nine letters; each ends in a letter that stands nowhere else."""
    draw = random.Random(seed)
    made = ["".join(draw.choices("abcdefgh", k=draw.randint(1, 8))) for _ in range(count)]
    return [f"{word}{draw.choice('xyz中')}" for word in made]


CORPUS = [" ".join(words(6, seed)) for seed in range(120)]
OWN, OTHER = CORPUS[:15], CORPUS[15:]


def tokenizer_of(kind):
    """Return a tokenizer that was trained on the corpus."""
    if kind == "WordPiece":
        made = Backend(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL)
    elif kind == "BPE":
        made = Backend(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet
        )
    else:
        made = Backend(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="[UNK]")
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "Unigram"])
def test_own_texts_are_cut_as_before_and_no_word_is_lost(kind):
    old = tokenizer_of(kind)
    needed = {i for text in OWN for i in old.encode(text).ids}
    cut = cut_vocabulary(json.loads(old.to_str()), needed)
    new = Backend.from_str(json.dumps(cut.tokenizer))
    assert len(cut.rows) == new.get_vocab_size() < old.get_vocab_size()
    for text in OWN:
        before, after = old.encode(text), new.encode(text)
        assert after.tokens == before.tokens
        assert after.ids == [cut.new_ids[i] for i in before.ids]
    for text in [*OTHER, *words(200, "more"), "xx", "z中a", "other!"]:
        before, after = old.encode(text).tokens, new.encode(text).tokens
        assert after.count("[UNK]") <= before.count("[UNK]"), text
        assert (after[0], after[-1]) == ("[CLS]", "[SEP]")


def test_a_character_that_was_no_piece_becomes_one():
    old = Backend(models.WordPiece({"[UNK]": 0, "ab": 1, "##cd": 2, "d": 3}, unk_token="[UNK]"))
    cut = cut_vocabulary(json.loads(old.to_str()), [])
    new = Backend.from_str(json.dumps(cut.tokenizer))
    assert old.encode("abcd").tokens == ["ab", "##cd"]
    assert new.encode("abcd").tokens == ["a", "##b", "##c", "##d"]
    vocabulary = new.get_vocab()
    rows = {piece: cut.rows[vocabulary[piece]] for piece in ("a", "##b", "##c", "##d", "d")}
    assert rows == {"a": (1,), "##b": (1,), "##c": (2,), "##d": (3,), "d": (3,)}


def test_bytes_stay_for_characters_that_are_no_pieces():
    single = [(piece, -2.0) for piece in "<0x123456789ABCDEF>"]
    pieces = [("<unk>", 0.0), *single, *((f"<0x{i:02X}>", -9.0) for i in range(256)), ("12", -1.0)]
    old = Backend(models.Unigram(pieces, 0, byte_fallback=True))
    new = Backend.from_str(json.dumps(cut_vocabulary(json.loads(old.to_str()), []).tokenizer))
    assert new.encode("12\u4e2d").tokens == ["1", "2", "<0xE4>", "<0xB8>", "<0xAD>"]


def test_a_word_level_vocabulary_has_nothing_to_fall_back_on():
    old = Backend(models.WordLevel({"[UNK]": 0, "ab": 1}, unk_token="[UNK]"))
    with pytest.raises(UnsupportedModelError, match="WordLevel vocabulary has no smaller pieces"):
        cut_vocabulary(json.loads(old.to_str()), [1])


@pytest.fixture(params=["bert", "roberta", "electra-narrow", "distilbert"])
def folder(request, tmp_path):
    """Write a classifier with a trained tokenizer; RoBERTa's positions start after its padding."""
    place = tmp_path / "model"
    backend = tokenizer_of("WordPiece")
    config = CONFIGS[request.param].__class__(
        **CONFIGS[request.param].to_diff_dict() | {"vocab_size": backend.get_vocab_size()}
    )
    config.pad_token_id = 0
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(place)
    backend.save(str(place / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
    (place / "vocab.txt").write_text("stale")
    (place / "README.md").write_text("kept")
    return place


def logits(place, texts):
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    tokenizer = Tokenizer(place, max_length=32)
    batch = pad_batch(*tokenizer.encode(texts), tokenizer.pad_id)
    tensors = {name: torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return model(**tensors).logits


def test_a_trimmed_folder_answers_its_texts_as_before(folder, tmp_path):
    text = tmp_path / "own.txt"
    text.write_text("\n\n".join(OWN), encoding="utf-8")
    said = []
    small = trim(folder, tmp_path / "small", text=[text], say=said.append)
    assert "pieces stay" in said[0]
    torch.testing.assert_close(logits(small, OWN), logits(folder, OWN), atol=1e-6, rtol=0)
    assert logits(small, OTHER[:5]).isfinite().all()
    config = json.loads((small / "config.json").read_text())
    assert config["vocab_size"] == Tokenizer(small, max_length=8).vocab_size
    ours = Tokenizer(small, max_length=32).encode(OWN[:1])[0][0]
    assert AutoTokenizer.from_pretrained(small)(OWN[0])["input_ids"] == ours
    assert (small / "README.md").read_text() == "kept"
    assert not (small / "vocab.txt").exists()


@pytest.mark.parametrize("folder", ["bert"], indirect=True)
def test_a_run_says_which_texts_its_model_reads(folder, tmp_path):
    first, second, made = OWN[:4], OWN[4:8], OWN[8:12]
    train = Dataset.from_dict({"text": first, "text2": second, "label": [0, 1, 0, 1]})
    free = Dataset.from_dict({"text": OWN[13:14], "text2": OWN[14:15], "line": [1]})
    data = TaskData(
        train, train, None, "classification", ("a", "b"), True, "toy", "accuracy", unlabelled=free
    )
    save(data, tmp_path / "data")
    rows = [{"text": text, "text2": None, "origin": "a\u2028b"} for text in made]
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "augmented.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"body": OWN[12]}) + "\n")
    small = trim(folder, tmp_path / "small", text=[more], column="body")
    old, new = (Backend.from_file(str(place / "tokenizer.json")) for place in (folder, small))
    for text in OWN[:15]:
        assert new.encode(text).tokens == old.encode(text).tokens
    assert any(new.encode(text).tokens != old.encode(text).tokens for text in OTHER)


@pytest.mark.parametrize("folder", ["bert", "roberta"], indirect=True)
def test_special_tokens_get_their_new_ids(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.add_special_tokens(["[LAST]"])
    backend.save(str(folder / "tokenizer.json"))
    last, roberta = backend.token_to_id("[LAST]"), config["model_type"] == "roberta"
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name] = np.concatenate([weights[name], weights[name][:1] + 7])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for key in ("eos_token_id", "pad_token_id") if roberta else ("eos_token_id",):
        config[key] = last
    (folder / "config.json").write_text(json.dumps(config))
    text = tmp_path / "own.txt"
    text.write_text(OWN[0], encoding="utf-8")
    if roberta:
        with pytest.raises(UnsupportedModelError, match="positions from its padding token's id"):
            trim(folder, tmp_path / "small", text=[text])
        return
    small = trim(folder, tmp_path / "small", text=[text])
    new = json.loads((small / "config.json").read_text())["eos_token_id"]
    assert new == Backend.from_file(str(small / "tokenizer.json")).token_to_id("[LAST]") < last
    table = load_file(small / "model.safetensors")[name]
    assert np.array_equal(table[new], weights[name][last])


@pytest.mark.parametrize("folder", ["bert"], indirect=True)
def test_trim_refuses_what_it_cannot_trim(folder, tmp_path):
    with pytest.raises(ConfigError, match="lies in no run; name the texts it will read with --tex"):
        trim(folder, tmp_path / "small")
    with pytest.raises(ConfigError, match="model is not an empty folder; choose another one"):
        trim(folder, folder, text=["x"])
    writer = save_random_writer(tmp_path / "writer", "bart")
    with pytest.raises(
        UnsupportedModelError, match=r"writer-model has 0 tables .* an encoder of the BERT"
    ):
        trim(writer, tmp_path / "small", text=["x"])
    (folder / "config.json").write_text("{")
    with pytest.raises(UnsupportedModelError, match="model cannot be read: Expecting property"):
        trim(folder, tmp_path / "small", text=["x"])
    (folder / "config.json").unlink()
    with pytest.raises(UnsupportedModelError, match=r"model has no config\.json; wanted a model"):
        trim(folder, tmp_path / "small", text=["x"])
    assert not (tmp_path / "small").exists()
