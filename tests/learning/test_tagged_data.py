"""Tagged words: files, columns, schemes, metrics, and what is wrong with them."""

import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from tinybert import baselines, metrics, tag_baselines
from tinybert import data as data_room
from tinybert.data import TaskData
from tinybert.errors import DataError
from tinybert.tag_metrics import tag_metrics
from tinybert.tags import as_bioes, scheme_of, spans

TRAIN = (
    "-DOCSTART- -X- O O\n\n# id = 7\nNew NNP x B-LOC\nYork NNP x I-LOC\n\n# NN x O\nman NN x O\n"
)
PLAIN = "a\tDET\nfilm\tNOUN\n\t\nit\tPRON\n"


def folder(path, **files):
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return path


def words(split):
    return [list(zip(row["words"], row["label"], strict=True)) for row in split]


def test_columns_comments_and_documents(tmp_path):
    found = data_room.load(folder(tmp_path, train_conll=TRAIN, dev_txt="York\tB-LOC\nman\tO\n"))
    assert (found.task, found.metric) == ("tagging", "entity_f1")
    assert found.labels == ("B-LOC", "I-LOC", "O")
    assert words(found.train) == [[("New", 0), ("York", 1)], [("#", 2), ("man", 2)]]
    assert (found.train["line"][:], found.train["text"][:]) == ([4, 7], ["New York", "# man"])
    assert words(found.dev) == [[("York", 0), ("man", 2)]]
    assert found.labels[found.outside] == "O"


def test_bmes_without_a_dev_file(tmp_path):
    rows = "\n\n".join(f"高 B-NAME\n勇{i} E-NAME\n， O\n男 S-SEX" for i in range(20))
    path = tmp_path / "people.bmes"
    path.write_text(rows + "\n", encoding="utf-8")
    found = data_room.load(path, task="tagging")
    assert (len(found.train), len(found.dev)) == (18, 2)
    assert scheme_of(found.labels) == "BIOES"
    assert scheme_of([*found.labels, "M-NAME"]) == "BMES"


def test_plain_tags_are_measured_word_by_word(tmp_path):
    found = data_room.load(folder(tmp_path, train_bio=PLAIN, dev_bio=PLAIN.replace("it", "he")))
    assert (found.labels, found.metric) == (("DET", "NOUN", "PRON"), "token_accuracy")
    assert words(found.train) == [[("a", 0), ("film", 1)], [("it", 2)]]
    assert metrics.measure(found, "dev", np.eye(3)[[0, 0, 2]]) == {
        "token_accuracy": pytest.approx(2 / 3)
    }


@pytest.mark.parametrize("names", [("tokens", "ner_tags"), ("words", "labels")])
def test_lists_in_a_table(tmp_path, names):
    rows = [(["New", "York"], ["B-LOC", "I-LOC"]), (["a", "man"], ["O", "B-LOC"])] * 2
    lines = [json.dumps(dict(zip(names, row, strict=True)) | {"text": "x"}) for row in rows]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines))
    found = data_room.load(path, dev_fraction=0.5)
    assert (found.task, found.labels) == ("tagging", ("B-LOC", "I-LOC", "O"))
    assert sorted(text for split in (found.train, found.dev) for text in split["text"]) == [
        *["New York"] * 2, *["a man"] * 2,
    ]  # fmt: skip
    rows = data_room.load_rows(path, task="tagging", labels=("O", "B-LOC", "I-LOC"))
    assert words(rows.test)[0] == [("New", 1), ("York", 2)]


def test_numbered_tags_of_a_data_set(tmp_path):
    names = ["O", "B-PER", "I-PER"]
    features = Features(
        {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))}
    )
    rows = Dataset.from_dict(
        {"tokens": [["Ann", "is"], ["a"]], "ner_tags": [[1, 0], [0]]}, features
    )
    DatasetDict(train=rows, validation=rows).save_to_disk(tmp_path / "saved")
    found = data_room.load(tmp_path / "saved")
    assert (found.task, found.labels) == ("tagging", tuple(names))
    assert words(found.dev) == [[("Ann", 1), ("is", 0)], [("a", 0)]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", "line 2: `b` has no tag; wanted a word and its tag, with a tab or spaces be"),
        ("a\nb\n", "line 1: `a` has no tag"),
        ("a\tO\nb\t\n", "line 2: `b` has no tag"),
        ("a\tO\n\tO\n", "line 2: tag `O` has no word"),
        ("a DT O\nb O\n", r"line 2: 2 columns \(b O\); wanted 3 as on the first line"),
        ("", "dev.conll is empty; wanted a word and its tag"),
        ("# text = a\n\n", "dev.conll is empty; wanted a word and its tag"),
        ("a O\nb B-LOK\n", "line 1: tag `B-LOK` is not one of the 3 tags of .* nearest: `B-LOC`"),
    ],
)  # fmt: skip
def test_bad_lines_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message.replace("dev.conll", r"dev\.conll")):
        data_room.load(folder(tmp_path, train_conll=TRAIN, dev_conll=text))


def test_rows_of_tags_that_train_lacks_are_left_out(tmp_path):
    dev = "a O\nb B-PERSON\n\nc O\nd I-LOC\n\ne O\n"
    found = data_room.load(folder(tmp_path, train_conll="x B-LOC\ny O\n", dev_conll=dev))
    assert list(found.dev["text"]) == ["e"]
    note = "2 dev rows of tags that train lacks left out: `B-PERSON` (1), `I-LOC` (1)"
    assert note in found.notes


def test_schemes_are_not_mixed(tmp_path):
    for tag, text in (("LOC", "a LOC"), ("E-LOC", "b O\n\na E-LOC")):
        path = folder(tmp_path, train_conll="x B-LOC\ny I-LOC\nz U-LOC\n\n" + text)
        if tag == "LOC":
            (path / "train.conll").write_text("x B-LOC\ny O\n\n" + text)
        with pytest.raises(
            DataError, match=r"train\.conll line \d: tag `\S+` does not fit the sch"
        ):
            data_room.load(path)
    with pytest.raises(DataError, match="only the tag `O` in train; wanted two or more"):
        data_room.load(folder(tmp_path, train_conll="a O\n\nb O\n"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, r"line 2: 2 words and 1 tags \(a b\); wanted a tag"),
        ({"tokens": "a b", "tags": ["O"]}, "line 2: column `tokens` is .*; wanted a list of words"),
        ({"tokens": ["a"], "tags": None}, "line 2: column `tags` is None; wanted a list of tags"),
    ],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path, row, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"tokens": ["x"], "tags": ["B-X"]}) + "\n" + json.dumps(row))
    with pytest.raises(DataError, match=message):
        data_room.load(path, task="tagging")


def test_pairs_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"tokens": ["x"], "text2": "y", "tags": ["B-X"]}))
    with pytest.raises(DataError, match="text2 is `text2`; tagging takes no pairs of texts"):
        data_room.load(path, task="tagging", text2="text2")


def test_metrics_by_hand():
    labels = ("O", "B-A", "I-A", "B-B", "I-B")
    gold = np.array([1, 2, 0, 3, 0, 1])
    found = np.array([1, 2, 0, 3, 4, 2])
    scores = tag_metrics(labels, found, gold, [5, 1])
    assert scores["token_accuracy"] == pytest.approx(4 / 6)
    assert scores["precision"] == scores["recall"] == scores["entity_f1"] == pytest.approx(2 / 3)
    nothing = tag_metrics(labels, gold * 0, gold, [5, 1])
    assert (nothing["entity_f1"], nothing["precision"]) == (0, 0)


@given(st.lists(st.sampled_from([f"{p}-{k}" for p in "BIESMLU" for k in "XY"] + ["O"]), max_size=9))
def test_broken_sequences_are_read_as_seqeval_reads_them(tags):
    wanted = [(kind, start, end + 1) for kind, start, end in get_entities([*map(as_bioes, tags)])]
    assert [tuple(span) for span in spans(tags)] == wanted


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (("O", "I-A", "B-A"), "BIO"),
        (("O", "B-A", "E-A", "S-A"), "BIOES"),
        (("B", "M", "E", "S"), "BMES"),
        (("O", "B-A", "L-A", "U-A"), "BILOU"),
        (("NN", "S-P", ".", "-LRB-"), "plain"),
        (("PER", "O"), "plain"),
        (("B-A", "I-A"), "BIO"),
    ],
)
def test_schemes(tags, scheme):
    assert scheme_of(tags) == scheme


def split(rows):
    return Dataset.from_dict(
        {
            "text": [" ".join(word for word, _ in row) for row in rows],
            "words": [[word for word, _ in row] for row in rows],
            "label": [[tag for _, tag in row] for row in rows],
        }
    )


def test_baselines():
    """The usual tag of a word; and a tag that only its neighbor gives away."""
    train = split(
        [[("in", 0), ("Rome", 1)], [("by", 0), ("Rome", 2)], [("in", 0), ("Bonn", 1)]] * 4
    )
    dev = split([[("by", 0), ("Oslo", 2)], [("in", 0), ("Ulm", 1)]])
    data = TaskData(train, dev, None, "tagging", ("O", "B-A", "B-B"), False, "x", "entity_f1")
    assert baselines.majority(data) == {
        "entity_f1": 0, "precision": 0, "recall": 0, "token_accuracy": 0.5,
    }  # fmt: skip
    assert tag_baselines.lexicon(data).argmax(1).tolist() == [0, 0, 0, 0]
    assert tag_baselines.lexicon(data, "train").argmax(1).tolist()[:6] == [0, 1, 0, 1, 0, 1]
    found = tag_baselines.features(data)
    assert metrics.measure(data, "dev", found)["entity_f1"] == 1
