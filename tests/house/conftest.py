"""What the benchmarks are asked, and tables for them to read."""

import sys

import pytest


@pytest.fixture
def asked(monkeypatch):
    """Return a function that parses a benchmark's command line."""

    def parse(script, line):
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *line.split()])
        return script.parse()

    return parse


@pytest.fixture
def write_tsv():
    """Return a function that writes rows, under a header, into a folder."""

    def write(folder, name, header, rows):
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    return write


@pytest.fixture
def pairs(tmp_path, write_tsv):
    """Return a folder like STS-B's: second texts tell the score by their length."""
    folder = tmp_path / "stsb_en"
    for split in ("train", "dev", "test"):
        rows = [
            (i % 5 + 0.5, f"{split} {'a' * (i % 5 + 1)} {i}", f"{split} ab {i}") for i in range(15)
        ]
        write_tsv(folder, f"{split}.tsv", ("score", "sentence1", "sentence2"), rows)
    return folder
