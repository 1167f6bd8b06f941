"""The reference says what the code says."""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_fresh(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    sys.modules.pop("make_reference", None)
    from make_reference import REFERENCE, reference

    assert REFERENCE.read_text(encoding="utf-8") == reference(), "stale; run: make docs"
    for part in (
        "`student.crops`",
        "`data.unlabelled_rows`",
        "### tinybert plan",
        "Translator.stream",
    ):
        assert part in reference()
