"""Plain text as a stream: every kind of file, bad input by file and line, little memory."""

import gzip
import json
import lzma
import tracemalloc

import pytest

from tinybert.corpus import _hub, open_corpus
from tinybert.errors import ConfigError, DataError

TEXT = "one line\nits second\n\n\nsecond text\n"
DOCUMENTS = ["one line its second", "second text"]


def read(*sources, column="text"):
    return list(open_corpus([str(source) for source in sources], column).documents())


@pytest.mark.parametrize("name", ["a.txt", "a.txt.xz", "a.xz", "a.gz", "a.txt.gz"])
def test_text_files_packed_or_not(tmp_path, name):
    write = {"xz": lzma.compress, "gz": gzip.compress}.get(name[-2:], bytes)
    (tmp_path / name).write_bytes(write(TEXT.encode()))
    assert read(tmp_path / name) == DOCUMENTS


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.xz"])
def test_a_column_of_json_lines(tmp_path, name):
    rows = [{"body": " first \n text", "n": 1}, {"body": ""}, {"body": "第二"}]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    (tmp_path / name).write_bytes(lzma.compress(content) if name.endswith("xz") else content)
    assert read(tmp_path / name, column="body") == ["first \n text", "第二"]


def test_a_folder_and_files_in_the_order_named(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    (folder / "b.txt").write_text("of b")
    (folder / "deeper" / "c.txt").write_text("of c")
    (folder / "a.txt").write_text("\ufeffof a\r\n")
    (folder / "notes.md").write_text("none")
    (tmp_path / "z.txt").write_text("of z")
    assert read(tmp_path / "z.txt", folder) == ["of z", "of a", "of b", "of c"]


def test_a_hugging_face_data_set_is_streamed(tmp_path):
    rows = [{"body": "first"}, {"body": "second"}]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert list(_hub(str(tmp_path), "body")) == ["first", "second"]
    with pytest.raises(DataError, match="row 1: no column `text`; it has body"):
        list(_hub(str(tmp_path), "text"))


@pytest.mark.parametrize("line", ["word " * 20, "word"])
def test_a_large_file_needs_little_memory(tmp_path, line):
    """Both as short lines without a blank one, and as one line of two million characters."""
    end = "\n" if len(line) > 9 else " "
    path = tmp_path / "large.txt"
    path.write_text((line + end) * (2_000_000 // (len(line) + 1)))
    corpus = open_corpus([path])
    tracemalloc.start()
    size = sum(document.count("word") for document in corpus.documents())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == pytest.approx(400_000, rel=0.02)
    assert peak < 700_000


def test_a_character_cut_in_two_by_a_part_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a" + "汉" * 30_000)
    assert "".join(read(path)) == path.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\nna\xefve\n", r"a\.txt line 2: byte 0xef is not UTF-8; save the file as UTF-8"),
        (b"fine\n\xe6", r"a\.txt line 2: byte 0xe6 is not UTF-8"),
    ],
)
def test_undecodable_bytes_are_named_by_file_and_line(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": 3}', "line 2: column `text` is 3; wanted a text"),
        ('{"txt": "a"}', "no column `text`; it has txt; did you mean `txt`?; name the text's with"),
        ("[1]", "is not an object"),
        ("{", "line 1: not JSON"),
    ],
)
def test_bad_rows_are_named(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError) as refusal:
        read(tmp_path / "a.jsonl")
    assert message in str(refusal.value)


@pytest.mark.parametrize("name", ["cut.xz", "cut.gz", "no.xz", "no.gz"])
def test_damaged_files_are_named(tmp_path, name):
    pack = lzma.compress if name.endswith("xz") else gzip.compress
    text = " ".join(map(str, range(5000))).encode()
    whole = pack(text) if name.startswith("cut") else b"plain text"
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] if name.startswith("cut") else whole)
    with pytest.raises(DataError, match=f"{name} line 1 cannot be read"):
        read(tmp_path / name)


def test_sources_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no text is named; wanted --text"):
        open_corpus([])
    with pytest.raises(DataError, match=r"wiki\.txt does not exist; wanted a \.txt or"):
        open_corpus(["wiki.txt"])
    (tmp_path / "a.pdf").write_text("")
    with pytest.raises(DataError, match=r"a\.pdf ends in `\.pdf`; wanted a \.txt"):
        open_corpus([tmp_path / "a.pdf"])
    with pytest.raises(DataError, match=r"holds a\.pdf; wanted a \.txt"):
        open_corpus([tmp_path])
    with pytest.raises(DataError, match="nobody/nothing is no file or folder here"):
        read("nobody/nothing")
