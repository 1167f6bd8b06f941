"""BLEU, chrF, ROUGE and what else is counted of written answers."""

import pytest
from rouge_score import rouge_scorer

from tinybert.errors import DataError
from tinybert.text_metrics import measure, rouge, signatures, words_of

ANSWERS = ["the cat sat on the mat", "paid 1,000.50 on 3 May", "a a a a a"]
RIGHT = [["the cat sat on a mat"], ["paid 1.000,50 on 4 May", "something else"], ["b c"]]
SOURCES = ["x", "bezahlt 1.000,50 am 3 Mai 2024", "y"]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [(a, r) for a, rs in zip(ANSWERS, RIGHT, strict=True) for r in rs]
    + [("", "a"), ("b a", "a b c a")],
)
def test_rouge_is_the_reference_implementation(answer, reference):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    wanted = scorer.score(reference, answer)
    assert rouge(answer, reference) == pytest.approx({n: wanted[n].fmeasure for n in wanted})


def test_each_rouge_takes_its_own_best_reference():
    answer, right = "a b c d", [["b a d c x", "a x c", "a b y z y z y z"]]
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    wanted = scorer.score_multi(right[0], answer)
    one = max((rouge(answer, text) for text in right[0]), key=lambda found: found["rougeL"])
    assert one["rouge1"] < wanted["rouge1"].fmeasure
    assert one["rouge2"] < wanted["rouge2"].fmeasure
    found = measure("summarization", [answer], right, ["s"])
    for name, score in wanted.items():
        assert found[name] == pytest.approx(100 * score.fmeasure)


def test_chinese_characters_are_words():
    assert words_of("第3名：Li 你好") == ["第", "3", "名", "li", "你", "好"]
    assert rouge("你好吗", "你好啊")["rouge1"] == pytest.approx(2 / 3)


def test_chinese_punctuation_is_no_word():
    assert words_of("你好。世界、好，吗！「是」『我』・〇々") == [*"你好世界好吗是我", "〇", "々"]
    assert rouge("你。好。", "我。们。")["rouge1"] == 0
    assert words_of("カタカナー") == [*"カタカナー"]


def test_measures_by_hand():
    found = measure("translation", ANSWERS, RIGHT, SOURCES)
    assert found["lost_numbers"] == pytest.approx(1 / 3)  # 2024
    assert found["repetition"] == pytest.approx((2 / 3) / 3)  # of `a a a` three times
    own = sum(map(len, ANSWERS)) / sum(len(row[0]) for row in RIGHT)
    assert found["length_ratio"] == pytest.approx(own)
    wide = measure("translation", ["1 2"], [["1 2"]], ["\uff11 \uff12 \u0663"])
    assert wide["lost_numbers"] == pytest.approx(1 / 3)
    assert "lost_numbers" not in measure("summarization", ANSWERS, RIGHT, SOURCES)
    same = measure("translation", ["a b c d e"], [["x", "a b c d e"]], ["s"])
    assert (same["bleu"], same["chrf"], same["rougeL"]) == (pytest.approx(100),) * 3


def test_signatures_name_the_tokenizer():
    assert "tok:zh" in signatures([["今天天气很好"]])["bleu"]
    assert "tok:zh" in signatures([["我在 Berlin 看见他们了"]])["bleu"]
    assert "tok:13a" in signatures(RIGHT)["bleu"]
    assert "tok:13a" in signatures([["Tom Reed said 你好 to all of us"]])["bleu"]
    assert "nc:6" in signatures(RIGHT)["chrf"]
    for name in ("bleu", "chrf"):
        assert "nrefs:1|" in signatures([["a b"], ["c"]])[name]
        assert "nrefs:2|" in signatures([["a b", "b"], ["c", "d"]])[name]
        assert "nrefs:var|" in signatures(RIGHT)[name]


def test_counts_must_agree():
    with pytest.raises(DataError, match="0 answers, 0 references, 0 sources"):
        measure("translation", [], [], [])
