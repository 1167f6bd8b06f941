"""SentencePiece files of Marian and T5 become tokenizers with the ids of the model."""

import json
import shutil
import struct

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from small_writers import save_random_writer
from tinybert.distill.convert import convert
from tinybert.distill.writers import copy_vocabulary, load_writer, open_vocabulary
from tinybert.errors import UnsupportedModelError
from tinybert.spm import read_pieces, write_marian_vocabulary, write_t5_vocabulary

SOURCE = {"<unk>": 0.0, "▁the": -1.0, "▁": -2.0, "cat": -3.0, "c": -6.0, "a": -6.0, "t": -6.0}
TARGET = {"<unk>": 0.0, "▁die": -1.0, "▁": -2.0, "ka": -3.0, "tze": -3.0, "a": -6.0}
NAMES = [
    "</s>",
    "<unk>",
    "▁the",
    "▁",
    "cat",
    "c",
    "a",
    "t",
    "▁die",
    "ka",
    "tze",
    ">>deu<<",
    "<pad>",
]


def field(number, content):
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def spm(pieces):
    """Return a SentencePiece model: pieces, their scores, a type for the first, some settings."""
    found = b""
    for i, (piece, score) in enumerate(pieces.items()):
        inner = field(1, piece.encode()) + bytes([2 << 3 | 5]) + struct.pack("<f", score)
        found += field(1, inner + (bytes([3 << 3, 2]) if i == 0 else b""))
    return found + field(2, bytes([4 << 3, 0x90, 0x4E])) + field(3, field(1, b"identity"))


@pytest.fixture
def marian(tmp_path):
    place = tmp_path / "marian"
    place.mkdir()
    (place / "source.spm").write_bytes(spm(SOURCE))
    (place / "target.spm").write_bytes(spm(TARGET))
    (place / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(NAMES)}))
    return place


def test_pieces(marian):
    assert read_pieces(marian / "source.spm").scores == SOURCE


def test_targets_may_have_ids_of_their_own(marian, tmp_path):
    names = NAMES[::-1]
    ids = {name: i for i, name in enumerate(names)}
    (marian / "target_vocab.json").write_text(json.dumps(ids))
    write_marian_vocabulary(marian, tmp_path / "out")
    source, target = open_vocabulary(tmp_path / "out", (16, 16))
    assert source.vocabulary == {name: i for i, name in enumerate(NAMES)}
    assert target.vocabulary == ids


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the cat", ["▁the", "▁", "cat", "</s>"]),
        ("  the  tac ", ["▁the", "▁", "t", "a", "c", "</s>"]),
        ("the 7", ["▁the", "▁", "<unk>", "</s>"]),
        (">>deu<< the", [">>deu<<", "▁the", "</s>"]),
        ("", ["</s>"]),
    ],
)
def test_sources(marian, tmp_path, text, pieces):
    write_marian_vocabulary(marian, tmp_path / "out")
    tokenizer, _ = open_vocabulary(tmp_path / "out", (16, 16))
    assert [NAMES[i] for i in tokenizer.encode([text])[0][0]] == pieces
    assert tokenizer.pad_id == 12


def test_targets_have_their_own_scores(marian, tmp_path):
    write_marian_vocabulary(marian, tmp_path / "out")
    source, target = open_vocabulary(tmp_path / "out", (16, 16))
    ids = target.encode(["die katze"])[0][0]
    assert [NAMES[i] for i in ids] == ["▁die", "▁", "ka", "tze", "</s>"]
    assert source.decode(ids) == target.decode(ids) == "die katze"


def test_a_model_gets_them(marian, tmp_path):
    model = save_random_writer(tmp_path / "w", "marian")
    (model / "tokenizer.json").unlink()
    for file in marian.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    copy_vocabulary(model, tmp_path / "out")
    assert (tmp_path / "out" / "target" / "tokenizer.json").is_file()


T5 = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, **{k: v for k, v in SOURCE.items() if k != "<unk>"}}


def test_t5s_ids_are_the_files_order(tmp_path):
    (tmp_path / "spiece.model").write_bytes(spm(T5))
    copied = tmp_path / "t5"
    config = T5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(copied)
    (copied / "spiece.model").write_bytes(spm(T5))
    copy_vocabulary(copied, tmp_path / "out")
    tokenizer, target = open_vocabulary(tmp_path / "out", (16, 16))
    names = list(T5)
    ids = tokenizer.encode(["the  cat"])[0][0]
    assert [names[i] for i in ids] == ["▁the", "▁", "cat", "</s>"]
    assert target.decode(ids) == "the cat"
    assert (tokenizer.pad_id, tokenizer.vocab_size) == (0, len(T5))
    (tmp_path / "spiece.model").write_bytes(spm(T5 | dict.fromkeys("</s>", -6.0)))
    write_t5_vocabulary(tmp_path, tmp_path / "marked")
    tokenizer, _ = open_vocabulary(tmp_path / "marked", (16, 16))
    literal = [[*names, *"</s>"][i] for i in tokenizer.encode(["</s>cat"])[0][0]]
    assert literal == ["▁", *"</s>", "cat", "</s>"]


@pytest.mark.parametrize("kind", ["t5", "marian"])
def test_a_pickled_model_is_converted_with_them(marian, tmp_path, kind):
    if kind == "t5":
        config = T5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        model = T5ForConditionalGeneration(config)
        model.save_pretrained(tmp_path / "old")
        (tmp_path / "old" / "spiece.model").write_bytes(spm(T5))
    else:
        shutil.copytree(save_random_writer(tmp_path / "w", "marian"), tmp_path / "old")
        (tmp_path / "old" / "tokenizer.json").unlink()
        for file in marian.iterdir():
            shutil.copyfile(file, tmp_path / "old" / file.name)
        model = load_writer(tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    place = convert(tmp_path / "old", tmp_path / "new")
    copy_vocabulary(place, tmp_path / "out")
    tokenizer, _ = open_vocabulary(tmp_path / "out", (16, 16))
    names = {i: name for name, i in tokenizer.vocabulary.items()}
    found = [names[i] for i in tokenizer.encode(["the cat"])[0][0]]
    assert found == ["▁the", "▁", "cat", "</s>"]


def test_bytes_of_t5_stand_for_unknown_characters(tmp_path):
    pieces = T5 | {f"<0x{byte:02X}>": -9.0 for byte in range(256)}
    (tmp_path / "spiece.model").write_bytes(spm(pieces))
    write_t5_vocabulary(tmp_path, tmp_path / "out")
    tokenizer, target = open_vocabulary(tmp_path / "out", (32, 32))
    ids = tokenizer.encode(["cat 好"])[0][0]
    assert list(T5).index("<unk>") not in ids
    assert target.decode(ids) == "cat 好"


def test_another_sentencepiece_file_is_refused(tmp_path):
    (tmp_path / "spiece.model").write_bytes(spm(SOURCE))
    with pytest.raises(UnsupportedModelError, match=r"spiece.model has no piece </s>, <pad>"):
        write_t5_vocabulary(tmp_path, tmp_path / "out")


def test_what_cannot_be_read(marian, tmp_path):
    (marian / "source.spm").write_bytes(b"\x0a\x7fabc")
    with pytest.raises(
        UnsupportedModelError, match=r"source.spm is no SentencePiece model: it ends"
    ):
        write_marian_vocabulary(marian, tmp_path / "out")
    (marian / "source.spm").write_bytes(b"")
    with pytest.raises(UnsupportedModelError, match="it has no pieces"):
        write_marian_vocabulary(marian, tmp_path / "out")
    (marian / "vocab.json").write_text('{"a": 0, "b": 2}')
    with pytest.raises(UnsupportedModelError, match="has gaps in its ids"):
        write_marian_vocabulary(marian, tmp_path / "out")
