"""What is said while a long step goes on."""

import sys

import pytest

from tinybert.distill import progress as module
from tinybert.distill.progress import progress, time_left


@pytest.mark.parametrize(
    ("seconds", "done", "left", "wanted"),
    [
        (60, 1, 9, "; about 9 min left"),
        (1, 10, 1, "; about 1 min left"),
        (61, 1, 1, "; about 2 min left"),
        (5, 0, 9, ""),
        (5, 9, 0, ""),
    ],
)
def test_time_left(seconds, done, left, wanted):
    assert time_left(seconds, done, left) == wanted


def test_a_line_now_and_then_where_there_is_no_terminal(capsys, monkeypatch):
    with progress("answers", 3000) as add:
        add(1000)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(module, "SILENCE", 0.0)
    with progress("answers", 3000, 1000) as add:
        add(1000)
        add(1000)
    out, err = capsys.readouterr()
    assert out == "  answers: 2,000 of 3,000; about 1 min left\n  answers: 3,000 of 3,000\n"
    assert not err


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(module, "SILENCE", 0.0)
    with progress("answers", 10, 5) as add:
        add(5)
    out, err = capsys.readouterr()
    assert not out
    assert "answers: 100%" in err
    assert "10/10" in err
