"""Written answers that need no model."""

from tinybert.text_baselines import unwritten


def test_a_summary_may_be_how_its_source_begins():
    message = "Hello there. My card is blocked since Monday, please help me soon."
    chinese = "\u6211\u7684\u5361\u88ab\u9501\u4e86\u3002" + 20 * "\u8bf7\u5e2e\u5fd9"
    found = unwritten("summarization", [message, chinese, ""])
    assert found == {
        "first sentence": ["Hello there.", "\u6211\u7684\u5361\u88ab\u9501\u4e86\u3002", ""],
        "first 8 words": ["Hello there. My card is blocked since Monday,", chinese[:16], ""],
    }


def test_a_translation_may_be_left_out():
    assert unwritten("translation", ["a", "b"]) == {"source": ["a", "b"]}
