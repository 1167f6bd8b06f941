"""Artifacts that write texts: any input, in bounded time, alone or among others."""

import io
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import tinybert
from small_writers import TEXTS, save_random_writer
from tinybert.artifact import read_card
from tinybert.cli import app
from tinybert.distill.writers import load_writer, save_writer
from tinybert.errors import ArtifactError, ConfigError, DataError
from tinybert.runtime import Decoding, Summarizer, Translator, load_labeler, predict
from tinybert.runtime.generation import windows
from tinybert.runtime.sentences import Piece
from tinybert.ship.writer import export_writer

LONG = "the red cat sat on 12 mats, we saw it! " * 12


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("writers")
    model = save_random_writer(place / "w")
    for task in ("translation", "summarization"):
        short = Decoding(max_tokens=12)
        export_writer(model, place / task, task=task, max_length=24, decoding=short)
    return place


@pytest.fixture(scope="module")
def translator(folders):
    return tinybert.load(folders / "translation", threads=1)


@pytest.fixture(scope="module")
def summarizer(folders):
    return tinybert.load(folders / "summarization", threads=1)


def test_alone_or_in_a_batch(translator, summarizer):
    assert isinstance(translator, Translator)
    assert isinstance(summarizer, Summarizer)
    for model in (translator, summarizer):
        texts = [*TEXTS, "a", LONG, "你好。\n\n今天 12 点。"]
        assert model(texts) == [model([text])[0] for text in texts]
        assert model([]) == []


def test_texts_run_with_those_of_their_length_alone(translator, monkeypatch):
    words = " ".join(TEXTS).split()
    texts = [" ".join(words[i % 7 : i % 7 + i % 6 + 1]) for i in range(60)]
    write, four = translator._generate, Decoding(max_tokens=12)
    alone = [write([text], four, best=2)[0] for text in texts]
    model, batches = write._model, []

    class Watched:
        def translate_batch(self, sources, **settings):
            batches.append([len(tokens) for tokens in sources])
            return model.translate_batch(sources, **settings)

    monkeypatch.setattr(write, "_model", Watched())
    assert write(texts, four, best=2) == alone
    assert len(batches) > 5
    assert all(len(set(lengths)) == 1 for lengths in batches)


def test_lines_and_blank_lines_stay(translator):
    first, second = translator(["the cat", "a green house"])
    assert translator(["the cat\n\n a green house\n"]) == [f"{first}\n\n {second}\n"]
    assert translator(["", " \n\t"]) == ["", " \n\t"]


def test_parts_of_a_long_line_are_translated_one_by_one(folders, translator):
    sentences = ["The red cat sat on 12 mats.", "We saw it on a green house!", "你好，世界。"]
    line = " ".join(sentences)
    card = read_card(folders / "translation")
    card = replace(card, generation={**card.generation, "split": "sentence"})
    by_sentence = Translator(translator._generate, card)
    assert by_sentence([line])[0].split() == " ".join(translator(sentences)).split()
    packed = translator([f"{sentences[0]} {sentences[1]}", sentences[2]])
    whole = translator._generate.lengths([line, f"{sentences[0]} {sentences[1]}"])
    assert whole[0] > card.max_length >= whole[1]
    assert translator([line])[0].split() == " ".join(packed).split()


def test_a_sentence_too_long_is_cut_behind_a_space_or_a_comma(translator):
    write = translator._generate
    sentence = "the red cat sat, " * 30
    parts = write.cut(sentence)
    assert "".join(parts) == sentence
    assert len(parts) > 2
    assert all(part[-1] in " ," for part in parts)
    solid = "x" * 300
    assert "".join(write.cut(solid)) == solid
    for part in (*parts, *write.cut(solid)):
        assert write.lengths([part])[0] <= write.tokenizer.max_length


def test_a_long_text_has_one_summary(summarizer):
    assert summarizer(["", "  \n "]) == ["", ""]
    (whole,) = summarizer([LONG])
    assert len(whole) < len(LONG)


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "好" * 5000, "😀\u200d" * 2000, "!" * 9000, "\0\t"]
)
def test_strange_texts_are_answered(translator, summarizer, text):
    for model in (translator, summarizer):
        (answer,) = model([text], beams=1, max_tokens=4)
        assert isinstance(answer, str)
        answer.encode()


def test_the_best_come_first(translator):
    (found,) = translator.hypotheses(["the red cat"], 3)
    assert len({one.text for one in found}) == 3
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].score < 0
    assert translator(["the red cat"]) == [found[0].text]
    assert translator.hypotheses([""], 3)[0][0].text == ""
    assert len(translator.hypotheses(["the red cat"], beams=1)[0]) == 1
    for one in translator.hypotheses(["the", "red cat", "a"], 8, beams=8):
        assert len({answer.text for answer in one}) == len(one)
    lines = translator.hypotheses(["the red cat", "a house"], 2)
    (both,) = translator.hypotheses(["the red cat\na house"], 2)
    for whole, *parts in zip(both, *lines, strict=True):
        assert whole.text == "\n".join(part.text for part in parts)
        assert whole.score == pytest.approx(sum(part.score for part in parts) / 2)


def test_what_has_no_words_stays_as_it_is(translator):
    for text in ("42", "2024-05-01", "--- ***", "😀", "joe@example.com", "https://a.com/b?c=1"):
        assert translator([text]) == [text]
        assert "".join(translator.stream(text)) == text
    lines = translator(["the red cat\n12:30\n\n"])[0].split("\n")
    assert lines == [*translator(["the red cat"]), "12:30", "", ""]


ENDS = """
import sys, tinybert
model = tinybert.load(sys.argv[1], threads=1)
for piece in model.stream("the red cat sat", max_tokens=9):
    print(piece)
    if sys.argv[2] == "stop":
        break
"""


@pytest.mark.parametrize("way", ["go", "stop"])
def test_a_program_that_streams_ends_well(folders, way):
    words = [sys.executable, "-c", ENDS, str(folders / "translation"), way]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_stream_has_one_beam(translator, summarizer):
    for model in (translator, summarizer):
        with pytest.raises(ConfigError, match="beams is 3; a stream has one"):
            list(model.stream("the", beams=3))


def test_a_stream_is_the_greedy_answer(translator, summarizer):
    for model in (translator, summarizer):
        text = "the red cat sat\n\n你好，世界"
        pieces = list(model.stream(text))
        assert len(pieces) > 2
        assert "" not in pieces
        assert "".join(pieces) == model([text], beams=1)[0]


@pytest.mark.parametrize("between", ["", " ", "   "])
def test_a_stream_joins_its_parts_as_an_answer_does(translator, between):
    text = between.join(["你好，世界，今天有 12 个。", "The red cat sat on 3 mats.", "你好！"] * 3)
    pieces = list(translator.stream(text))
    assert "" not in pieces
    assert "".join(pieces) == translator([text], beams=1)[0]


@pytest.mark.parametrize("gap", [" ", "      ", "\n\n \n"])
def test_windows_fit_whatever_stands_between_their_parts(translator, gap):
    text = gap.join(["the red.", "The cat.", "The mat.", "We saw."] * 5)
    pieces = [Piece(part, gap) for part in text.split(gap)]
    parts = windows(translator._generate, pieces)
    assert max(translator._generate.lengths([part.text for part in parts])) <= 24
    assert "".join(part.text + part.after for part in parts) == text + gap
    assert len(parts) < len(pieces)


def test_many_threads_share_a_writer(translator):
    """What one thread measures without a limit must not lift the limit of another."""
    texts = [LONG[i:] for i in range(0, 200, 9)] + TEXTS
    wanted = [translator([text], beams=1, max_tokens=2) for text in texts]
    tokenizer = translator._generate.tokenizer
    whole, spans, cut = (
        len(tokenizer.pieces([LONG])[0]),
        tokenizer.spans(LONG),
        tokenizer.encode([LONG]),
    )
    assert len(cut[0][0]) == 24 < whole

    def measure(_):
        return (
            len(tokenizer.pieces([LONG])[0]),
            tokenizer.spans(LONG),
            tokenizer.encode([LONG]),
            tokenizer.untruncated_lengths([LONG]),
        )

    with ThreadPoolExecutor(6) as pool:
        asked = pool.map(lambda text: translator([text], beams=1, max_tokens=2), texts * 4)
        measured = set(map(repr, pool.map(measure, range(600))))
        assert list(asked) == wanted * 4
    assert measured == {repr((whole, spans, cut, tokenizer.untruncated_lengths([LONG])))}


@pytest.mark.parametrize("kind", ["mbart", "m2m_100"])
def test_answers_that_begin_with_a_language_are_streamed(kind, tmp_path):
    model = load_writer(save_random_writer(tmp_path / "w", kind))
    model.generation_config.forced_bos_token_id = 5
    save_writer(model, tmp_path / "w", tmp_path / "forced")
    export_writer(tmp_path / "forced", tmp_path / "a", task="translation", max_length=24)
    written = tinybert.load(tmp_path / "a", threads=1)
    assert len(written.card.generation["prefix"]) == 1
    text = "the red cat\nyou"
    assert "".join(written.stream(text, max_tokens=9)) == written([text], beams=1, max_tokens=9)[0]
    longest = written.card.generation["positions"] - 1
    assert written.card.decoding()["max_tokens"] == longest
    assert written([text], beams=1, max_tokens=longest)
    with pytest.raises(ConfigError, match=f"the model writes at most {longest}"):
        written([text], max_tokens=longest + 1)


def test_no_answer_is_longer_than_the_model_can_write(folders, translator, tmp_path):
    assert translator.card.generation["positions"] == 64
    assert translator(["the red cat"], beams=1, max_tokens=64)
    wanted = "max_tokens is 65; the model writes at most 64"
    for ask in (
        translator,
        translator.hypotheses,
        lambda texts, **s: list(translator.stream(texts[0], **s)),
    ):
        with pytest.raises(ConfigError, match=wanted):
            ask(["the red cat"], max_tokens=65)
    done = CliRunner().invoke(
        app, ["translate", str(folders / "translation"), "a", "--max-tokens", "65"]
    )
    assert done.exit_code == 2
    assert wanted in done.output
    for asked in (None, Decoding(max_tokens=65)):
        export_writer(
            folders / "w-model", tmp_path / "a", task="translation", max_length=24, decoding=asked
        )
        assert read_card(tmp_path / "a").decoding()["max_tokens"] == 64


def test_names_of_special_tokens_are_text(translator):
    for text in ("a </s> b", "<pad>", "1<s>2</s>3<unk>"):
        ids = translator._generate.tokenizer.encode([text])[0][0]
        assert translator._generate.tokenizer.decode(ids) == text


def test_settings(translator):
    assert translator.decoding == Decoding(max_tokens=12)
    assert len(translator(["the red cat"], max_tokens=2)[0]) < len(translator(["the red cat"])[0])
    with pytest.raises(ConfigError, match="unknown setting `beam`; wanted one of beams, length"):
        translator(["a"], beam=2)
    with pytest.raises(ConfigError, match="beams is 0; wanted at least 1"):
        translator(["a"], beams=0)
    for name, value, wanted in (
        ("beams", "4", "is '4'; wanted at least 1, a whole number"),
        ("beams", 2.5, "is 2.5; wanted at least 1, a whole number"),
        ("no_repeat", -1, "is -1; wanted at least 0, a whole number"),
        ("max_tokens", 0, "is 0; wanted at least 1, a whole number"),
        ("length_penalty", -0.5, "is -0.5; wanted a number at least 0"),
        ("length_penalty", float("nan"), "is nan; wanted a number at least 0"),
        ("repetition_penalty", 0, "is 0; wanted a number above 0"),
        ("repetition_penalty", float("inf"), "is inf; wanted a number above 0"),
        ("beams", True, "is True; wanted at least 1, a whole number"),
        ("beams", 1001, "is 1001; wanted at most 1,000"),
        ("truncation", "yes", "is 'yes'; wanted True or False"),
        ("truncation", True, "is True; a translator reads all of a text"),
    ):
        with pytest.raises(ConfigError, match=f"{name} {wanted}"):
            translator(["a"], **{name: value})
    with pytest.raises(ConfigError, match="best is 5; wanted 1 to 4, the number of beams"):
        translator.hypotheses(["a"], 5)
    for best in ("2", True, 0):
        with pytest.raises(ConfigError, match=f"best is {best!r}; wanted 1 to 4"):
            translator.hypotheses(["a"], best)
    with pytest.raises(DataError, match=r"one text was given; wanted a list: \['a'\]"):
        translator("a")
    with pytest.raises(DataError, match="input 1 is 7; wanted a text"):
        translator(["a", 7])
    with pytest.raises(DataError, match=r"input 0 holds U\+D83D"):
        translator(["\ud83d"])


def test_predict_and_commands(folders, translator, tmp_path):
    answers = translator(["the cat", "a\nred"])
    out = io.StringIO()
    rows = [json.dumps({"source": text}) for text in ("the cat", "a\nred")]
    (tmp_path / "t.jsonl").write_text("\n".join([*rows, "{}"]))
    said = []
    bad = predict(
        translator, file=tmp_path / "t.jsonl", out=out, format="jsonl", text_column="source",
        complain=said.append,
    )  # fmt: skip
    assert (bad, len(said)) == (1, 1)
    assert [json.loads(line)["text"] for line in out.getvalue().splitlines()] == answers
    call = CliRunner().invoke
    done = call(app, ["translate", str(folders / "translation"), "the cat", "--beams", "1"])
    assert done.output == translator(["the cat"], beams=1)[0] + "\n"
    done = call(app, ["translate", str(folders / "translation"), "the cat\n\n  a red"])
    assert done.output == translator(["the cat\n\n  a red"])[0] + "\n"
    place = str(folders / "summarization")
    done = call(app, ["summarize", place, "the cat", "--stream"])
    assert done.exit_code == 0
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        table = '{"text": "the cat"}' if name == "a.jsonl" else "text\nthe cat\n"
        (tmp_path / name).write_text(table)
        done = call(app, ["summarize", place, "--file", str(tmp_path / name), "--truncation"])
        assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)
    done = call(app, ["translate", str(folders / "translation"), "a", "--truncation"])
    assert done.exit_code == 2
    done = call(app, ["summarize", place, "a", "--repetition-penalty", "0"])
    assert done.stderr.endswith("repetition_penalty is 0.0; wanted a number above 0\n")
    done = call(app, ["summarize", str(folders / "translation"), "the cat"])
    assert (done.exit_code, done.stdout) == (2, "")
    wanted = "is for translation; wanted summarization; its command is `tinybert translate`\n"
    assert done.stderr.endswith(wanted)
    done = call(app, ["evaluate", str(folders / "translation")])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith("translation lies in no run; name the data with --data\n")
    done = call(app, ["predict", str(folders / "translation"), "the cat"])
    assert done.output == f"1\t{' '.join(answers[0].split())}\n"


def test_what_labels_is_told_apart(folders, shipped, tmp_path):
    with pytest.raises(ArtifactError, match="is for translation; wanted one of answering, classif"):
        load_labeler(folders / "translation")
    with pytest.raises(ConfigError, match=r"precision is `fp32`; .* has int8 alone"):
        tinybert.load(folders / "translation", precision="fp32")
    with pytest.raises(ConfigError, match="beams given; the model's task is classification"):
        predict(shipped, ["a"], decoding={"beams": 2}, out=io.StringIO())
    with pytest.raises(ConfigError, match="format is `plain`; the model's task is classif"):
        predict(shipped, ["a"], format="plain", out=io.StringIO())
    damaged = tmp_path / "damaged"
    shutil.copytree(folders / "translation", damaged)
    (damaged / "ctranslate2" / "model.bin").write_bytes(b"no model")
    with pytest.raises(ArtifactError, match=r"ctranslate2/model.bin is not the file"):
        tinybert.load(damaged)


def test_card(folders):
    card = read_card(folders / "translation")
    assert (card.task, card.labels, card.model) == ("translation", (), "ctranslate2/model.bin")
    assert card.generation["max_tokens"] == 12
    page = (folders / "translation" / "README.md").read_text()
    assert "pipeline_tag: translation" in page
    assert "pip install 'tinybert[seq2seq]'" in page


def test_answers_without_the_training_side(folders, translator):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'datasets', 'sacrebleu'): sys.modules[name] = None\n"
        "import tinybert\n"
        "print(tinybert.load(sys.argv[1], threads=1)(['the cat'])[0])\n"
    )
    command = [sys.executable, "-c", code, str(folders / "translation")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == translator(["the cat"])[0] + "\n"


def test_without_ctranslate2_the_extra_is_named(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(tinybert.MissingExtraError, match=r"pip install 'tinybert\[seq2seq\]'"):
        tinybert.load(folders / "translation")
