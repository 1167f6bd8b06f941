"""Every way a folder can be damaged ends in an ArtifactError that says so."""

import json
import shutil

import pytest

import tinybert
from tinybert.artifact import CARD, FP32, INT8, hash_file
from tinybert.errors import ArtifactError

FILES = ("tokenizer.json", "tokenizer_config.json", FP32, INT8)


def edit(folder, **fields):
    """Change fields of the card; a field given as ``...`` is taken out."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8")) | fields
    card = {name: value for name, value in card.items() if value is not ...}
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def rewrite(folder, name, content):
    """Replace a file, and its hash in the card too."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / CARD).read_text(encoding="utf-8"))["files"]
    edit(folder, files=files | {name: hash_file(folder / name)})


def test_the_copy_is_whole(folder):
    assert tinybert.load(folder)(["late"])[0].label


@pytest.mark.parametrize("name", FILES)
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"artifact: {name} is missing; copy or export the fol"):
        tinybert.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_altered_byte(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name} is not the file that card\.json means \(its"):
        tinybert.load(folder)


def test_all_problems_are_said_at_once(folder):
    (folder / "tokenizer.json").unlink()
    (folder / INT8).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"differs\); tokenizer\.json is missing; copy"):
        tinybert.load(folder)


def test_truncated_model(folder):
    content = (folder / INT8).read_bytes()
    (folder / INT8).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=f"{INT8} is not the file"):
        tinybert.load(folder)
    rewrite(folder, INT8, content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=f"{INT8} cannot be run: "):
        tinybert.load(folder)


def test_tokenizer_that_is_none(folder):
    rewrite(folder, "tokenizer.json", b'{"model": 5}')
    with pytest.raises(ArtifactError, match=r"tokenizer\.json cannot be read as a tokenizer: "):
        tinybert.load(folder)


def test_tokenizer_without_a_pad_token(folder):
    content = (folder / "tokenizer.json").read_bytes()
    rewrite(folder, "tokenizer.json", content.replace(b"[PAD]", b"[GAP]"))
    with pytest.raises(ArtifactError, match=r"has no pad token; wanted one of \[PAD\]"):
        tinybert.load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON: .*; export again"),
        (b'{"format": 1', "is not valid JSON: .*; export again"),
        (b"\xff\xfe", "is not valid JSON: .*; export again"),
        (b"[1]", "holds no object; export again"),
    ],
)
def test_card_that_is_no_card(folder, content, message):
    (folder / CARD).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"card\.json {message}"):
        tinybert.load(folder)


def test_no_card_and_no_folder(folder):
    (folder / CARD).unlink()
    with pytest.raises(ArtifactError, match=r"has no card\.json; wanted a folder written by `tiny"):
        tinybert.load(folder)
    with pytest.raises(ArtifactError, match="gone is not a folder; wanted a folder written by"):
        tinybert.load(folder / "gone")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 2}, "has format 2, this tinybert reads 1 to 1; upgrade tinybert or export aga"),
        ({"format": "1"}, "has format '1'; wanted a whole number; export again"),
        ({"format": ...}, "has format None; wanted a whole number; export again"),
        ({"format": 0}, "has format 0; wanted a whole number; export again"),
        (
            {"task": "transcription"},
            "task `transcription` is not one of answering, classification,",
        ),
        ({"task": ...}, "`task` is None; wanted str; export again"),
        ({"labels": "refund"}, "`labels` is 'refund'; wanted list; export again"),
        ({"labels": ["refund"]}, "1 labels; wanted at least 2"),
        ({"labels": ["a", "b", 3]}, r"labels are \['a', 'b', 3\]; wanted different texts; export"),
        ({"labels": ["a", "b", "a"]}, r"labels are \['a', 'b', 'a'\]; wanted different texts"),
        ({"generation": [1]}, r"`generation` is \[1\]; wanted dict; export again"),
        ({"pair": 0}, "`pair` is 0; wanted bool; export again"),
        ({"max_length": "32"}, "`max_length` is '32'; wanted int; export again"),
        ({"max_length": 3}, "max_length is 3; wanted at least 4; export again"),
        ({"model": None}, "`model` is None; wanted str; export again"),
        ({"files": [INT8]}, "wanted dict; export again"),
        ({"files": {}}, rf"{INT8} has no hash in card\.json"),
        ({"labels": ["refund", "parcel"]}, "gives 3 values a text, the card wants 2; export agai"),
        ({"task": "regression", "labels": []}, "gives 3 values a text, the card wants 1; export"),
    ],
)
def test_wrong_fields(folder, fields, message):
    edit(folder, **fields)
    with pytest.raises(ArtifactError, match=message):
        tinybert.load(folder)


def test_fields_that_are_new_do_not_matter(folder):
    edit(folder, nickname="tiny")
    assert tinybert.load(folder).card.task == "classification"


@pytest.mark.parametrize("place", ["model", "files"])
def test_path_outside_the_folder(folder, place):
    outside = shutil.copy(folder / INT8, folder.parent / "outside.onnx")
    for name in ("../outside.onnx", "onnx/../../outside.onnx", str(outside)):
        files = {name: hash_file(outside)}
        edit(folder, **({"model": name, "files": files} if place == "model" else {"files": files}))
        with pytest.raises(ArtifactError, match=f"{name} points outside the folder"):
            tinybert.load(folder)
