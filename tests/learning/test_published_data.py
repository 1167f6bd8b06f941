"""Data as they are published: without labels, without a header, with answers elsewhere, packed."""

import gzip
import json
import lzma

import datasets as hf
import pytest

from tinybert import console, data
from tinybert.distill.wordnet import read_wordnet
from tinybert.errors import DataError
from tinybert.tables import decoded_lines, read_table


def saved(folder, **splits):
    hf.DatasetDict({k: hf.Dataset.from_dict(v) for k, v in splits.items()}).save_to_disk(folder)
    return folder


def test_a_test_split_of_numbers_without_targets_is_left_out(tmp_path):
    texts = [f"text {i}" for i in range(8)]
    rows = {"sentence1": texts, "sentence2": texts, "label": [i / 2 for i in range(8)]}
    hidden = rows | {"label": [-1.0] * 8}
    found = data.load(
        saved(tmp_path / "s", train=rows, validation=rows, test=hidden), task="glue/stsb"
    )
    assert found.test is None
    assert "test has no labels (all -1) and is left out" in found.notes
    kept = data.load(saved(tmp_path / "t", train=rows, test=rows), task="glue/stsb")
    assert len(kept.test) == 8
    only = saved(tmp_path / "u", train=hidden)
    assert {*data.load(only, task="regression").train["label"]} == {-1.0}


def test_rows_without_a_label_are_left_out_of_train_too(tmp_path):
    values = [-1 if i % 5 == 0 else i % 2 for i in range(40)]
    rows = hf.Dataset.from_dict({"text": [f"text {i}" for i in range(40)], "label": values})
    rows = rows.cast_column("label", hf.ClassLabel(names=["no", "yes"]))
    rows.to_parquet(tmp_path / "train.parquet")
    found = data.load(tmp_path / "train.parquet")
    assert "8 train rows without a label (-1) left out" in found.notes
    for row in found.train:
        assert row["label"] == int(row["text"].split()[1]) % 2


def test_published_files_without_a_header(tmp_path):
    lines = [f"gj04\t{i % 2}\t{'' if i % 2 else '*'}\tSentence {i}." for i in range(6)]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tHidden.\n")
    found = data.load(tmp_path, task="glue/CoLA")
    assert (len(found.train), len(found.dev), found.test) == (6, 6, None)
    assert found.train["text"][0] == "Sentence 0."
    assert found.labels == ("0", "1")
    (tmp_path / "train.tsv").write_text("source\tlabel\tmark\tsentence\n" + "\n".join(lines))
    assert len(data.load(tmp_path, task="glue/cola").train) == 6
    rows = data.load_rows(tmp_path / "dev.tsv", task="glue/cola", labels=("0", "1"))
    assert (rows.metric, len(rows.dev)) == ("matthews", 6)
    (tmp_path / "own.tsv").write_text("id\ttext\tkind\taccept\n" + "\n".join(lines))
    named = {"text": "accept", "label": "text"}
    rows = data.load_rows(tmp_path / "own.tsv", task="glue/cola", labels=("0", "1"), **named)
    assert rows.dev["text"][0] == "Sentence 0."


def test_answers_known_to_stand_elsewhere_are_mended(tmp_path):
    asked = [
        {"id": str(n), "question": "谁?", "answers": [{"text": "张三", "answer_start": start}]}
        for n, start in enumerate((0, 3, -1))
    ]
    contexts = [{"context": f"张三来了{end}", "qas": asked} for end in "。！？"]
    file = {"version": "1", "data": [{"paragraphs": contexts}]}
    (tmp_path / "train.json").write_text(json.dumps(file))
    found = data.load(tmp_path, task="clue/cmrc2018")
    assert {tuple(row[0]) for row in [*found.train["label"], *found.dev["label"]]} == {(0, 2)}
    with pytest.raises(DataError, match=r"answer_start is 3, where the context reads"):
        data.load(tmp_path, task="clue/drcd")


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip), ("xz", lzma)])
def test_packed_tables_and_texts(tmp_path, ending, pack):
    path = tmp_path / f"a.csv.{ending}"
    with pack.open(path, "wt") as file:
        file.write("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20)))
    assert read_table(path)["text"][0] == "text 0"
    more = tmp_path / f"u.txt.{ending}"
    with pack.open(more, "wt") as file:
        file.write("one\ntwo\n")
    rows = tmp_path / "v.json"
    rows.write_text('{"text": "three"}\n{"text": "four"}\n')
    found = data.load(path, unlabelled=[more, rows])
    assert list(found.unlabelled["text"]) == ["one", "two", "three", "four"]
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=r"x is a folder; wanted a file that ends in one of \.txt"):
        data.load(path, unlabelled=tmp_path / "x")
    whole = more.read_bytes()
    more.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=rf"u\.txt\.{ending} cannot be unpacked"):
        list(decoded_lines(more))


def test_a_model_is_measured_by_a_task_s_official_metric(tmp_path, monkeypatch):
    rows = "".join(f"{i % 2}\tone {i}\ttwo {i}\n" for i in range(6))
    path = tmp_path / "dev.tsv"
    path.write_text("Quality\t#1 String\t#2 String\n" + rows)
    monkeypatch.setattr(console, "_answers_of", lambda _: ("classification", ("0", "1")))
    found = console.read_data(
        tmp_path, str(path), task="glue/mrpc", text=None, text2=None, label=None
    )
    assert (found.metric, found.pair, len(found.dev)) == ("f1", True, 6)


def test_what_else_tasks_are_called(tmp_path):
    path = tmp_path / "a.csv"
    names = ("a", "b", "a|b")
    path.write_text("text,label\n" + "".join(f"t {i},{names[i % 3]}\n" for i in range(30)))
    for task, message in (("ner", "mean `tagging`"), ("QA", "mean `answering`")):
        with pytest.raises(DataError, match=message):
            data.load(path, task=task)
    with pytest.raises(DataError, match="such a student is made by `tinybert embed`"):
        data.load(path, task="embedding")
    sets = "labels such as `a|b` are taken for classes of their own"
    assert any(note.startswith(sets) for note in data.load(path).notes)
    assert not any("a|b" in note for note in data.load(path, task="multilabel").notes)


def test_a_folder_of_packed_tables(tmp_path):
    for split in ("train", "dev"):
        with gzip.open(tmp_path / f"{split}.csv.gz", "wt") as file:
            file.write("text,label\n" + "".join(f"{split} {i},{'ab'[i % 2]}\n" for i in range(20)))
    found = data.load(tmp_path)
    assert (len(found.train), len(found.dev)) == (20, 20)


def test_rows_to_measure_by_want_labels(tmp_path):
    rows = [{"text": f"t {i}", "label": i % 3 - 1} for i in range(6)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"line 1: label -1 beside 0, 1; the model's labels are a,"):
        data.load_rows(path, task="classification", labels=("a", "b", "c"))
    path.write_text("\n".join(json.dumps(row | {"label": -1}) for row in rows))
    with pytest.raises(DataError, match="no row has a label; wanted labels to measure a model by"):
        data.load_rows(path, task="classification", labels=("a", "b", "c"))
    path.write_text("\n".join(json.dumps(row | {"label": row["label"] + 1}) for row in rows))
    assert len(data.load_rows(path, task="classification", labels=("a", "b", "c")).dev) == 6


def test_nouns_with_capitals_and_words_of_content_have_synonyms(tmp_path):
    lemmas = [("1", "Haus"), ("1", "Gebäude"), ("2", "bill"), ("2", "invoice"), ("3", "Bill")]
    lemmas += [("3", "William"), ("4", "AI"), ("4", "Intelligence")]
    (tmp_path / "lemmas.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in lemmas))
    found = read_wordnet(tmp_path)
    assert (found["haus"], found["bill"]) == (("Gebäude",), ("invoice",))
    assert "ai" not in found


def test_words_of_grammar_and_capitals_have_no_synonyms(tmp_path):
    (tmp_path / "data.noun").write_text(
        "00000001 03 n 03 in 0 inch 0 In 1 000 | x\n00000002 03 n 02 AI 0 Army_Intelligence 0 000 | x\n"
        "00000003 03 n 02 film 0 movie 0 000 | x\n"
    )
    (tmp_path / "index.noun").write_text(
        "in n 1 0 1 0 00000001  \nai n 1 0 1 0 00000002  \nfilm n 1 0 1 0 00000003  \n"
    )
    assert read_wordnet(tmp_path) == {"film": ("movie",)}
