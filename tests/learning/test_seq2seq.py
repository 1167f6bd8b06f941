"""A tiny teacher learns to translate word by word, and its student learns from it."""

import json
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset
from typer.testing import CliRunner

import tinybert
from small_writers import WORDS, word_pairs, write_pairs, writer_settings
from tinybert import text_metrics
from tinybert.artifact import read_card, write_card
from tinybert.cli import app
from tinybert.distill import beams, seq2seq_recipe
from tinybert.distill import seq2seq as training
from tinybert.distill.beams import beam_texts
from tinybert.distill.folder import hold_texts
from tinybert.distill.trainer import Schedule
from tinybert.distill.writer_targets import monolingual, next_tokens, targets
from tinybert.distill.writers import load_writer, open_vocabulary
from tinybert.errors import ArtifactError, ConfigError
from tinybert.pairs import load_saved_pairs
from tinybert.runtime import Decoding, Hypothesis, Translator
from tinybert.ship.verify import verify
from tinybert.ship.writer import answers_of, evaluate_writer, verify_writer
from tinybert.ship.writing import report_writing, seq2seq


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("seq2seq")
    write_pairs(place / "pairs")
    (place / "more.txt").write_text("\n".join(a for a, _ in word_pairs(60, 7)))
    more = {"data.monolingual": str(place / "more.txt")}
    return seq2seq(seq2seq_recipe.load(None, writer_settings(place, **more)), lambda _: None)


class StopError(Exception):
    """Ends a run where a test has seen enough."""


def test_the_recipes_pace_reaches_the_training(tmp_path, monkeypatch):
    write_pairs(tmp_path / "pairs")
    seen = []

    def stop(*arguments, keep_best, longest, **_):
        seen.append((arguments[4], keep_best))
        assert longest == 8 < max(arguments[2]["length"])
        raise StopError

    monkeypatch.setattr(training, "run_stage", stop)
    more = {"teaching.average": 2, "teaching.patience": 7, "teaching.warmup": 0.2, "seed": 3}
    with pytest.raises(StopError):
        seq2seq(seq2seq_recipe.load(None, writer_settings(tmp_path, **more)), lambda _: None)
    pace = {"learning_rate": 8e-3, "batch_size": 16, "warmup": 0.2, "seed": 3, "bf16": False}
    pace |= {"decay": "inverse_sqrt", "average": 2, "patience": 7, "beta2": 0.98}
    assert seen == [(Schedule(epochs=8, **pace), "chrf")]
    asked = seq2seq_recipe.load(None, {"training.beta2": 0.9}).training
    assert {asked.settled(new=new).beta2 for new in (True, False)} == {0.9}
    assert seq2seq_recipe.load().training.settled(new=False).beta2 == 0.999


def test_a_teacher_that_ignores_its_sources_has_no_student(tmp_path):
    write_pairs(tmp_path / "pairs")
    pace = {"teaching.learning_rate": 2.0, "teaching.epochs": 1, "teaching.warmup": 0.0}
    recipe = seq2seq_recipe.load(None, writer_settings(tmp_path, **pace))
    with pytest.raises(ConfigError, match=r"every dev source the same answer.* a lower teaching"):
        seq2seq(recipe, lambda _: None)
    assert not (tmp_path / "run" / "teacher").exists()


def test_references_and_answers_count_by_the_recipe(run, tmp_path):
    shares = {"targets.references": 0.2, "targets.word_level": 0.0}
    recipe, data = seq2seq_recipe.load(run / "recipe.toml", shares), load_saved_pairs(run)
    more = monolingual(recipe, data, print)
    tokenizers = open_vocabulary(run / "stages/tokenizer", (16, 16))
    teacher = load_writer(run / "teacher")
    texts = targets(recipe, teacher, data, more, tokenizers, run / "stages", print)
    learned = texts.rows(tokenizers, teacher)
    assert next_tokens(recipe, teacher, learned, tokenizers[0].pad_id, run / "stages") is None
    shares["targets.word_level"] = 0.5
    found = []
    for precision in ("fp32", "bf16"):
        shares["precision"] = precision
        recipe = seq2seq_recipe.load(run / "recipe.toml", shares)
        folder = tmp_path / precision
        folder.mkdir()
        found.append(next_tokens(recipe, teacher, learned, tokenizers[0].pad_id, folder))
    exact, fast = (np.asarray(top.probabilities, dtype=float) for top in found)
    assert 0 < np.abs(exact - fast).max() < 0.05
    log = json.loads((run / "stages" / "writing" / "log.json").read_text())
    assert log[-1]["step"] == 2 * math.ceil(len(learned) / (16 / 2))
    assert list(learned["weights"]) == [[0.8, 0.2]] * len(data.train) + [[1.0]] * len(more)
    answers = beams.read_texts(run / "stages" / "beams.jsonl")
    wanted = tokenizers[1].encode([answers[0], data.train[0]["target"]])[0]
    assert learned[0]["labels"] == [
        row[-len(own) :] for row, own in zip(wanted, learned[0]["labels"], strict=True)
    ]
    assert learned[0]["labels"] != [[], []]


def test_the_artifact_translates(run):
    model = tinybert.load(run / "artifact", threads=1)
    assert isinstance(model, Translator)
    assert model.card.generation["split"] == "sentence"
    data = load_saved_pairs(run)
    found = evaluate_writer(run / "artifact", data)
    assert found["chrf"] > 75
    assert found["lost_numbers"] < 0.5
    assert read_card(run / "artifact").metrics["test_chrf"] == found["chrf"]
    assert evaluate_writer(run / "teacher", data, max_length=16)["chrf"] > 75
    assert [model([text])[0] for text in WORDS] == model(list(WORDS))


@pytest.mark.usefixtures("bench")
def test_the_artifact_is_timed_beside_pytorch(run):
    import writing

    found = writing.measure(run, words=4, most=2)
    greedy, beams = found["rows"]
    assert (greedy["beams"], beams["beams"]) == (1, 4)
    for row in found["rows"]:
        assert row["sentences"] == 2
        assert {"artifact_ms", "student_torch_ms", "teacher_torch_ms"} < set(row)
    same = found["sameness"]
    assert same["alone_differs"] == 0
    assert same["unlike_fp32"] <= same["texts"] // 4
    assert same["int8"] == pytest.approx(same["fp32"], abs=5)
    with pytest.raises(SystemExit, match="no test sentence of about 90 words"):
        writing.measure(run, words=90, most=2)


def test_the_report_stands_side_by_side(run):
    report = json.loads((run / "report.json").read_text())
    systems = ["teacher", "student", "artifact", "source"]
    assert [row["system"] for row in report["systems"]] == systems
    sizes = [row["file_mb"] for row in report["systems"][:3]]
    assert sizes[0] > sizes[1] > sizes[2] > 0
    kept = [row["kept"] * report["systems"][0]["quality"]["chrf"] for row in report["systems"]]
    assert kept == pytest.approx([row["quality"]["chrf"] for row in report["systems"]])
    sources = list(load_saved_pairs(run).test["source"])
    references = list(load_saved_pairs(run).test["references"])
    unchanged = text_metrics.measure("translation", sources, references, sources)
    assert report["systems"][3]["quality"] == unchanged
    assert set(report["examples"][0]) == {"source", "reference", "teacher", "student", "artifact"}
    assert "tok:13a" in report["signatures"]["bleu"]
    page = (run / "report.html").read_text()
    assert report["examples"][0]["artifact"] in page
    assert "<td>Source unchanged</td>" in page
    for drawn in ("next token", "dev chrf", "weights, MB", "Teaching the student"):
        assert drawn in page


def test_teacher_and_student_are_cut_and_search_as_the_artifact(run, tmp_path):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("stages"))
    artifact = tmp_path / "run" / "artifact"
    card = read_card(artifact)
    write_card(artifact, replace(card, generation={**card.generation, "max_tokens": 1}))
    data = load_saved_pairs(run)
    report_writing(tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    for row in report["examples"]:
        assert all(len(row[name].split()) <= 1 for name in ("teacher", "student", "artifact"))
    rows = {"source": ["red cat. Blue dog\n\nsun"], "references": [["x"]]}
    lines = replace(data, test=Dataset.from_dict(rows))
    (plain,) = answers_of(run / "student", lines, "test", max_length=16)
    (cut,) = answers_of(run / "student", lines, "test", max_length=16, like=card)
    assert plain.count("\n\n") == cut.count("\n\n") == 1
    assert cut == tinybert.load(run / "artifact", threads=1)(rows["source"])[0]
    assert plain != cut


def test_the_teachers_answers_are_kept(run):
    answers = [json.loads(line) for line in (run / "stages" / "beams.jsonl").open()]
    assert len(answers) > 240
    ids = np.load(run / "stages" / "top-ids.npy")
    probabilities = np.load(run / "stages" / "top-probabilities.npy")
    assert ids.shape == probabilities.shape
    assert ids.shape[1] == 8
    assert (np.diff(probabilities.astype(float), axis=1) <= 0).all()
    log = json.loads((run / "stages" / "writing" / "log.json").read_text())
    named = [row for row in log if "next_token" in row]
    assert named[-1]["next_token"] < named[0]["next_token"]
    rates = [row["learning_rate"] for row in log if "learning_rate" in row]
    assert rates[-1] > 0.2 * max(rates)


def test_a_model_in_a_run_is_measured_as_its_report_measures_it(run, tmp_path):
    data = load_saved_pairs(run)
    report = json.loads((run / "report.json").read_text())
    assert report["data"]["split"] == "test"
    for row in report["systems"][:2]:
        found = evaluate_writer(run / row["system"], data, "test")
        assert found == pytest.approx(row["quality"])
    place = tmp_path / "run"
    shutil.copytree(run, place, ignore=shutil.ignore_patterns("stages"))
    card = read_card(place / "artifact")
    write_card(place / "artifact", replace(card, generation={**card.generation, "max_tokens": 1}))
    plain = evaluate_writer(run / "student", data, "test")
    for length in (None, card.max_length):
        asked = evaluate_writer(place / "student", data, "test", max_length=length)
        assert asked["length_ratio"] < 0.5 * plain["length_ratio"]


def test_a_run_goes_on_with_its_own_texts_alone(tmp_path, monkeypatch):
    write_pairs(tmp_path / "pairs")
    more = tmp_path / "more.txt"
    more.write_text("red red red red red red\ncat cat cat cat cat cat")
    recipe = seq2seq_recipe.load(None, writer_settings(tmp_path, **{"data.monolingual": str(more)}))

    def stop(*_, **__):
        raise StopError

    monkeypatch.setattr(training, "run_stage", stop)
    for _ in range(2):
        with pytest.raises(StopError):
            training.seq2seq(recipe, lambda _: None)
    more.write_text("red red red red red red\ncat cat cat cat cat red")
    with pytest.raises(
        ConfigError, match="was begun with other texts or labels than its files hold now"
    ):
        training.seq2seq(recipe, lambda _: None)


def test_texts_are_held_in_their_order_each_by_itself(tmp_path):
    hold_texts(tmp_path, ["ab", "c"], ["d"])
    hold_texts(tmp_path, ["ab"], ["c", "d"])
    for other in (["a", "bc", "d"], ["c", "ab", "d"], ["ab", "c"]):
        with pytest.raises(ConfigError, match="was begun with other texts"):
            hold_texts(tmp_path, other)


def test_the_student_is_plain(run):
    student = load_writer(run / "student")
    assert (student.config.encoder_layers, student.config.decoder_layers) == (1, 1)
    assert student.lm_head.weight is student.model.encoder.embed_tokens.weight


def test_a_finished_run_is_not_trained_again(run):
    before = (run / "student" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "artifact")
    said = []
    again = seq2seq(seq2seq_recipe.load(run / "recipe.toml"), said.append)
    assert again == run
    assert not any("teaching" in line for line in said)
    assert (run / "student" / "model.safetensors").read_bytes() == before
    assert (run / "artifact" / "card.json").is_file()


def test_commands(run):
    call = CliRunner().invoke
    done = call(app, ["evaluate", str(run / "artifact"), "--split", "dev"])
    assert done.output.startswith("bleu")
    assert re.search(r"signatures\n  bleu +nrefs:1\|case:mixed\|\S*tok:\S+\n  chrf", done.output)
    done = call(app, ["verify", str(run / "artifact"), "--max-drop", "0.05"])
    assert "same_answers" in done.output
    assert read_card(run / "artifact").parity["passed"]
    pairs = ["--data", str(run.parent / "pairs" / "test.tsv"), "--source", "source"]
    done = call(app, ["verify", str(run / "artifact"), *pairs, "--max-drop", "0.5"])
    assert "texts                    20" in done.output
    done = call(app, ["verify", str(run / "artifact"), *pairs, "--source", "sauce"])
    assert "did you mean `source`" in " ".join(done.stderr.split())
    done = call(app, ["verify", str(run / "artifact"), "--max-flips", "0.1"])
    assert "writes texts; wanted max_drop alone" in " ".join(done.stderr.split())
    done = call(app, ["info", str(run / "artifact")])
    assert "translation" in done.output
    assert "engine                   ctranslate2\n" in done.output
    sizes = "Layers: 1 in the encoder, 1 in the decoder. Width: 32, in the feed-forward 128. V"
    assert sizes in (run / "artifact" / "README.md").read_text()
    done = call(app, ["info", str(run / "student"), "--json"])
    found = json.loads(done.output)
    assert (found["layers"], found["decoder_layers"]) == (1, 1)
    assert found["parameters_head"] == found["vocabulary"]  # a bias for each piece
    words = 32 * (found["vocabulary"] + 2 * 20) + 4 * 32
    assert found["parameters_embeddings"] == words
    done = call(app, ["quantize", str(run / "artifact")])
    assert "is for translation; its weights are int8 already" in " ".join(done.stderr.split())
    file = run.parent / "pairs" / "test.tsv"
    done = call(
        app, ["evaluate", str(run / "student"), "--data", str(file), "--task", "translation"]
    )
    assert "chrf" in done.output, done.stderr
    for task in ("summarization", "glue/mrpc"):
        done = call(app, ["evaluate", str(run / "artifact"), "--data", str(file), "--task", task])
        assert done.exit_code == 2
        assert f"task is `{task}`; " in done.stderr
    student = str(run / "student")
    named = ["--to", f"{run}-a", "--task", "translation", "--max-length", "16", "--target-token"]
    for wrong in (
        ["evaluate", student, "--target-token", "nope"],
        ["export", student, *named, "nope"],
    ):
        done = call(app, wrong)
        assert done.exit_code == 2
        assert "target_token is `nope`; the tokenizer has no such token" in " ".join(
            done.stderr.split()
        )
    assert not (run.parent / f"{run.name}-a").exists()
    done = call(app, ["export", student, *named, "▁"])
    assert done.exit_code == 0, done.stderr
    assert read_card(f"{run}-a").generation["prefix"] == ["▁"]
    done = call(app, ["evaluate", student, "--split", "test", "--max-length", "3"])
    assert done.stderr.endswith("max_length is 3; wanted at least 4 tokens\n")
    shown = call(app, ["translate", str(run / "artifact"), "red cat", "--best", "3"]).output
    scores = [float(line.split("\t")[0]) for line in shown.splitlines()]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    for wrong, problem in (
        (["--best", "3", "--format", "jsonl"], "--best takes texts of the command line"),
        (["--stream", "--beams", "4"], "--stream takes the likeliest word each time"),
        (["--stream", "--format", "text"], "and prints plain text"),
    ):
        done = call(app, ["translate", str(run / "artifact"), "red cat", *wrong])
        assert done.exit_code == 2
        assert problem in " ".join(done.stderr.split())
    done = call(app, ["report", str(run), "--split", "dev"])
    report = json.loads((run / "report.json").read_text())
    assert report["data"]["split"] == "dev"
    best, last = (report["systems"][i]["quality"]["chrf"] for i in (0, 2))
    assert f"keeps {100 * last / best:.1f} % of the teacher's chrf on pairs, dev" in done.output
    rows = [line.split() for line in done.output.splitlines()]
    shown = report["systems"][2]
    figures = [f"{value:.2f}" for value in shown["quality"].values()]
    cost = [f"{shown['kept']:.1%}", f"{shown['file_mb']:.1f}", f"{shown['texts_per_second']:.0f}"]
    assert ["int8", *figures, *cost] in rows
    unchanged = report["systems"][3]
    assert (unchanged["file_mb"], unchanged["texts_per_second"]) == (None, None)
    assert any(row[:2] == ["Source", "unchanged"] and row[-2:] == ["–", "–"] for row in rows)
    assert done.output.endswith(f"report: {run / 'report.html'}\n")


def test_an_artifact_of_another_model_is_refused(run, tmp_path):
    shutil.copytree(run / "artifact", tmp_path / "artifact")
    with pytest.raises(
        ArtifactError, match=r"does not answer as .*: log probabilities differ by|falls"
    ):
        verify_writer(tmp_path / "artifact", run / "teacher", load_saved_pairs(run), max_drop=-101)
    with pytest.raises(ArtifactError, match=r"limit -200 points"):
        verify(tmp_path / "artifact", run / "student", load_saved_pairs(run), max_drop=-2.0)


def test_answers_go_on_where_they_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(beams, "_CHUNK", 2)
    asked = []

    def write(texts, _):
        asked.extend(texts)
        if len(asked) > 4:
            raise KeyboardInterrupt
        return [[Hypothesis(text.upper() + "\n", 0.0)] for text in texts]

    texts = list("abcdefg")
    with pytest.raises(KeyboardInterrupt):
        beam_texts(write, texts, tmp_path / "b.jsonl", Decoding(), lambda _: None)
    with open(tmp_path / ".b.jsonl.partial", "a") as file:
        file.write('"half')
    asked.clear()
    asked_before = asked

    def slow(texts, _):
        asked_before.extend(texts)
        return [[Hypothesis(text.upper() + "\n", 0.0)] for text in texts]

    found = beam_texts(slow, texts, tmp_path / "b.jsonl", Decoding(), lambda _: None)
    assert found == [f"{text.upper()}\n" for text in texts]
    assert asked == list("efg")
    assert beam_texts(slow, texts, tmp_path / "b.jsonl", Decoding(), lambda _: None) == found


def test_a_teacher_that_writes_nothing_is_told(run, tmp_path):
    recipe = seq2seq_recipe.load(run / "recipe.toml", {"targets.references": 0.0})
    data = load_saved_pairs(run)
    lines = [json.dumps(" ")] * (len(data.train) + 1)
    (tmp_path / "beams.jsonl").write_text("\n".join(lines) + "\n")
    tokenizers = open_vocabulary(run / "stages/tokenizer", (16, 16))
    given = (recipe, load_writer(run / "teacher"), data, ["one more"], tokenizers)
    with pytest.raises(ConfigError, match=f"nothing for any of {len(lines)} sources, .* is 0; let"):
        targets(*given, tmp_path, print)
