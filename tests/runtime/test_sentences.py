"""Texts are cut at the ends of sentences, and put together as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert.runtime.sentences import Piece, join, pack, split_lines, split_sentences

MIXED = st.text(alphabet='aB 9.。!?！\n\t,“”"’😀…', max_size=60)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Li paid 3.50 at a.com. Then he left.", ["Dr. Li paid 3.50 at a.com.", "Then he left."]),
        ("J. R. came. So did K.", ["J. R. came.", "So did K."]),
        ("He asked. then left.", ["He asked. then left."]),
        ("他来了。“好的！”他说。Ja. Nein", ["他来了。", "“好的！”", "他说。", "Ja.", "Nein"]),
        ("The U.S. Army left. It was 1999. Go.", ["The U.S. Army left.", "It was 1999.", "Go."]),
        ("J.K. Rowling on Mt. Everest, Jan. 5.", ["J.K. Rowling on Mt. Everest, Jan. 5."]),
        ("Am 3. Oktober. Der 1. FC (z. B. hier).", ["Am 3. Oktober.", "Der 1. FC (z. B. hier)."]),
        ('"Stop!" he said. Yahoo! announced it.', ['"Stop!" he said.', "Yahoo! announced it."]),
        ("Am \ue000. Oktober kam er.", ["Am \ue000. Oktober kam er."]),
        ("!!!", ["!!!"]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences(line, wanted):
    assert [piece.text for piece in split_sentences(line)] == wanted


@given(MIXED)
def test_nothing_is_lost(text):
    lines = split_lines(text)
    assert "".join(piece.text + piece.after for piece in lines) == text
    for line in lines:
        parts = split_sentences(line.text)
        assert "".join(piece.text + piece.after for piece in parts) == line.text
        assert line.text == line.text.strip()


def test_blank_lines_stay():
    assert split_lines(" a\n\n\tb c \n") == [
        Piece("", " "), Piece("a", "\n\n\t"), Piece("b c", " \n"),
    ]  # fmt: skip


def test_pack_fills_up_to_the_limit():
    pieces = [Piece("a", " "), Piece("bb", "\n"), Piece("c", "")]
    assert pack(pieces, [2, 3, 2], 5) == [Piece("a bb", "\n"), Piece("c", "")]
    assert pack(pieces, [9, 3, 2], 5) == [Piece("a", " "), Piece("bb\nc", "")]


def test_join_spaces_by_script():
    pieces = [Piece("好。", ""), Piece("行。", ""), Piece("x", "")]
    assert join(["Good.", "Fine.", "Yes."], pieces) == "Good. Fine. Yes."
    pieces = [Piece("Good.", " "), Piece("Fine.", "\n"), Piece("x", "")]
    assert join(["好。", "行。", "是"], pieces) == "好。行。\n是"
    assert join(["下雨。", "2023年"], pieces[:2]).startswith("下雨。2023年")
    assert join(["好。", "“你好。”"], [Piece("a", ""), Piece("b", "")]) == "好。“你好。”"
