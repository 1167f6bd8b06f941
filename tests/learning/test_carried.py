"""Numbers and addresses are carried over a translation, whatever the model has learned of them."""

import random

import pytest
import torch

import tinybert
from small_writers import WORDS, save_random_writer, writer_settings
from tinybert import runtime
from tinybert.artifact import read_card
from tinybert.distill import seq2seq as training
from tinybert.distill import seq2seq_recipe
from tinybert.distill.copied import with_carried
from tinybert.distill.writers import load_writer, make_student
from tinybert.errors import ConfigError
from tinybert.pairs import load_pairs, load_saved_pairs
from tinybert.runtime import Decoding
from tinybert.runtime.carried import MARKS, bring_back, carry, carry_pair, carrying
from tinybert.runtime.generation import Hypothesis
from tinybert.ship.writer import evaluate_writer
from tinybert.ship.writing import seq2seq

A, B = MARKS[:2]


def test_marks_stand_for_what_is_no_part_of_a_word():
    assert carry("room 1102: mail joe@a.com, A380!") == (
        f"room {A}: mail {B}, A380!",
        ("1102", "joe@a.com"),
    )
    assert carry("在15:30见2人") == (f"在{A}见{B}人", ("15:30", "2"))
    many = " ".join(map(str, range(20)))
    marked, spans = carry(many)
    assert spans == tuple(map(str, range(10)))
    assert bring_back(marked, spans) == (many, 10)
    assert carry(f"a {A} 7") == (f"a {A} 7", ())


@pytest.mark.parametrize(
    "address",
    [
        "https://shop.example.com:8443/orders/17",
        "https://a.com/~joe/x",
        "https://de.wikipedia.org/wiki/Köln",
        "https://a.com/page#part-2",
        "http://localhost:3000/login",
        "www.a.com",
        "joe.b-c@mail.a.com",
    ],
)
def test_an_address_is_carried_as_a_whole(address):
    assert carry(f"see {address}, 5.") == (f"see {A}, {B}.", (address, "5"))
    assert carry(f"请看{address}，谢谢") == (f"请看{A}，谢谢", (address,))


@pytest.mark.parametrize("text", ["-" * 10**5, "www." * 30000, "https://" + "." * 10**5])
def test_long_texts_are_searched_in_time(text):
    assert carry(text)[0].count(A) <= 1


def test_both_sides_of_a_pair_have_the_same_marks():
    pair = carry_pair("3 of 1,000 saw 3 in 2020 at a@b.de", "bei a@b.de sahen 2020 drei von 1,000")
    assert pair == (
        f"3 of {A} saw 3 in {B} at {MARKS[2]}",
        f"bei {MARKS[2]} sahen {B} drei von {A}",
    )
    assert carry_pair("no 7", "keine 8") == ("no 7", "keine 8")


def test_an_answer_without_a_mark_is_asked_for_without_marks():
    asked = []

    def generate(texts, *_):
        asked.append(list(texts))
        words = {f"{A} cats": f"{A} Katzen", f"{A} dogs": "Hunde", "7 dogs": "7 Hunde", "x": "y"}
        words |= {f"{A} {B}": f"{A} {A}", "1 2": f"eins {A} 2"}
        return [[Hypothesis(words[text], -1.0)] for text in texts]

    found = carrying(generate)(["5 cats", "7 dogs", "x", "1 2"], Decoding(), 1)
    assert [row[0].text for row in found] == ["5 Katzen", "7 Hunde", "y", "eins 2"]
    assert asked == [
        [f"{A} cats", f"{A} dogs", "x", f"{A} {B}"],
        [f"{A} dogs", f"{A} {B}"],
        ["7 dogs", "1 2"],
    ]


def test_of_other_beams_those_with_the_most_marks_are_taken():
    beams = ["Hunde", f"{A} Hunde {A}", f"{B} Hunde", f"{A} Hunde um {B}", f"{B} und {A} Hunde"]

    def generate(texts, _, best):
        assert texts == [f"{A} dogs at {B}"]
        return [[Hypothesis(text, -float(i)) for i, text in enumerate(beams[:best])]]

    for count, wanted in (
        (1, ["3 Hunde um 12:30"]),
        (2, ["3 Hunde um 12:30", "12:30 und 3 Hunde"]),
    ):
        (found,) = carrying(generate)(["3 dogs at 12:30"], Decoding(beams=5), count)
        assert [one.text for one in found] == wanted
    (found,) = carrying(generate)(["3 dogs at 12:30"], Decoding(beams=3), 1)
    assert [(one.text, one.score) for one in found] == [("12:30 Hunde", -2.0)]


def test_an_answer_without_a_mark_may_be_found_otherwise():
    def generate(texts, *_):
        return [[Hypothesis("x", -1.0)] for _ in texts]

    def plainly(texts, *_):
        return [[Hypothesis(text.upper(), -1.0)] for text in texts]

    assert carrying(generate, plainly)(["5 cats"], Decoding(), 1)[0][0].text == "5 CATS"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("carried")
    draw = random.Random(0)
    lines = ["source\ttarget"]
    for _ in range(320):
        words = draw.choices([word for word in WORDS if word != "7"], k=2)
        number = str(draw.randrange(100))
        lines.append(
            f"{words[0]} {number} {words[1]}\t{WORDS[words[0]]} {number} {WORDS[words[1]]}"
        )
    (place / "pairs.tsv").write_text("\n".join(lines))
    more = carried_pairs(place) | {"training.epochs": 2, "teaching.epochs": 6}
    return seq2seq(seq2seq_recipe.load(None, writer_settings(place, **more)), lambda _: None)


def carried_pairs(place):
    return {"data.path": str(place / "pairs.tsv"), "data.carried": True}


def test_numbers_never_seen_survive(run):
    card = read_card(run / "artifact")
    assert card.generation["carried"] is True
    model = tinybert.load(run / "artifact", threads=1)
    texts = ["red 48213 cat", "sun 3.75 red", "cat joe@example.com dog", "red 7 blue"]
    answers = model(texts)
    for answer, span in zip(answers, ("48213", "3.75", "joe@example.com", "7"), strict=True):
        assert span in answer
    assert answers == [model([text])[0] for text in texts]
    assert "48213" in "".join(model.stream("red 48213 cat"))
    for text in ("12:30", "joe@a.com", "100%", "red 5 cat\n12:30"):
        assert "".join(model.stream(text)) == model([text], beams=1)[0]
    data = load_saved_pairs(run)
    assert not any(mark in text for text in data.dev["source"] for mark in MARKS)
    assert evaluate_writer(run / "artifact", data, "dev")["lost_numbers"] < 0.05
    for length in (None, 16):
        student = evaluate_writer(run / "student", data, "dev", max_length=length)
        assert student["lost_numbers"] < 0.05
    vocabulary = model._generate.tokenizer.vocabulary
    assert set(MARKS) <= set(vocabulary)


class Deaf:
    """A generator whose answers to texts with marks have none; it remembers the other texts."""

    def __init__(self, generator):
        self._generator, self.asked = generator, []

    def __getattr__(self, name):
        return getattr(self._generator, name)

    def __call__(self, texts, decoding, best=1):
        if any(mark in text for text in texts for mark in MARKS):
            return [[Hypothesis("rot", -1.0)] for _ in texts]
        self.asked += texts
        return self._generator(texts, decoding, best)


def test_what_is_too_long_without_its_marks_is_translated_to_its_end(run):
    model = tinybert.load(run / "artifact", threads=1)
    deaf = Deaf(model._generate)
    text = f"red https://a.com/{'b' * 40} cat blue dog"
    limit = model.card.max_length
    assert deaf.lengths([carry(text)[0]])[0] <= limit < deaf.lengths([text])[0]
    (answer,) = runtime.Translator(deaf, model.card)([text])
    assert answer != "rot"
    assert len(deaf.asked) > 1
    assert max(deaf.lengths(deaf.asked)) <= limit
    assert "".join("".join(deaf.asked).split()) == "".join(text.split())


def test_another_student_of_a_teacher_that_knows_marks(run, tmp_path):
    settings = writer_settings(tmp_path, **carried_pairs(run.parent))
    settings |= {"teacher.model": str(run / "teacher"), "training.epochs": 3}
    again = seq2seq(seq2seq_recipe.load(None, settings), lambda _: None)
    answers = tinybert.load(again / "artifact", threads=1)(["red 48213 cat", "red 7 blue"])
    assert "48213" in answers[0]
    assert "7" in answers[1]


def test_a_student_of_the_teachers_width_may_be_new(run):
    teacher = load_writer(run / "teacher")
    for start, same in (("teacher", True), ("random", False)):
        recipe = seq2seq_recipe.load(None, {"student.start": start, "student.encoder_layers": 1})
        student = make_student(recipe, teacher)
        weights = [m.model.encoder.layers[0].fc1.weight for m in (student, teacher)]
        assert weights[0].shape == weights[1].shape
        assert torch.equal(*weights) is same
        assert student.config.encoder_attention_heads == teacher.config.encoder_attention_heads


@pytest.mark.parametrize(("start", "beta2"), [("teacher", 0.999), ("random", 0.98)])
def test_new_weights_have_a_shorter_second_moment(run, tmp_path, monkeypatch, start, beta2):
    def stop(*given, **_):
        raise StopIteration(given[4].beta2)

    monkeypatch.setattr(training, "run_stage", stop)
    settings = writer_settings(tmp_path, **carried_pairs(run.parent))
    settings |= {"teacher.model": str(run / "teacher"), "student.start": start}
    with pytest.raises(StopIteration, match=str(beta2)):
        seq2seq(seq2seq_recipe.load(None, settings), lambda _: None)


def test_a_named_teacher_without_marks_is_refused(run, tmp_path):
    plain = save_random_writer(tmp_path / "plain")
    settings = writer_settings(tmp_path, **carried_pairs(run.parent))
    recipe = seq2seq_recipe.load(None, settings | {"teacher.model": str(plain)})
    with pytest.raises(ConfigError, match=r"tokenizer of `.*plain-model` knows no marks; wanted"):
        seq2seq(recipe, lambda _: None)
    assert not (tmp_path / "run").exists()


def test_marks_want_a_tokenizer_that_knows_them():
    for more in ({"teacher.bert": "b"}, {"task": "summarization"}):
        with pytest.raises(ConfigError, match=r"data.carried is true; wanted a translator whose"):
            seq2seq_recipe.load(None, {"data.carried": True} | more)


def test_how_many_pairs_have_marks_is_said(tmp_path):
    (tmp_path / "p.tsv").write_text("source\ttarget\na 1\tb 1\na 2\tb\nc\td 3\n")
    data = with_carried(load_pairs(tmp_path / "p.tsv", task="translation", whole=True))
    assert data.train["source"][0] == f"a {A}"
    assert data.dev["source"][0] == "a 1"
    assert data.notes[-1].startswith("1 pairs of train have numbers or addresses on both sides")
