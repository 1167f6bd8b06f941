"""Reading tables: what is found, what is said, what is refused."""

import json

import datasets
import pytest

import tinybert
from tinybert import data
from tinybert.errors import DataError


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ROWS = "".join(f"text number {i},{'yes' if i % 2 else 'no'}\n" for i in range(40))


def test_csv_gets_a_dev_split_by_label(tmp_path):
    path = write(tmp_path, "t.csv", "text,label\n" + ROWS)
    found = data.load(path, dev_fraction=0.2)
    again = data.load(path, dev_fraction=0.2)
    assert found.labels == ("no", "yes")
    assert (len(found.train), len(found.dev), found.test) == (32, 8, None)
    assert sum(found.dev["label"]) == 4
    assert found.dev["text"] == again.dev["text"]
    assert found.dev["text"] != data.load(path, dev_fraction=0.2, seed=1).dev["text"]
    assert "no dev split: 8 rows of train cut off by label, seed 0" in found.notes


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same(tmp_path, suffix):
    rows = [(f'he said "no {i}", once', i % 3) for i in range(12)]
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        doubled = [text.replace('"', '""') for text, _ in rows]
        lines = [f'"{text}",{label}' for text, (_, label) in zip(doubled, rows, strict=True)]
        path.write_text("sentence,category\n" + "\n".join(lines))
    elif suffix == "tsv":
        path.write_text("sentence\tcategory\n" + "\n".join(f"{t}\t{y}" for t, y in rows))
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps({"sentence": t, "category": y}) for t, y in rows))
    else:
        from datasets import Dataset

        Dataset.from_dict(
            {"sentence": [t for t, _ in rows], "category": [y for _, y in rows]}
        ).to_parquet(path)
    found = data.load(path, dev=path)
    assert found.train["text"][:] == [t for t, _ in rows]
    assert found.train["label"][:] == [y for _, y in rows]
    assert found.labels == ("0", "1", "2")


def test_values_that_look_missing_stay_texts(tmp_path):
    found = data.load(
        write(tmp_path, "t.csv", "text,label\nNA,a\nnull,b\nnan,a\nNone,b\n"), dev_fraction=0.3
    )
    assert sorted(found.train["text"][:] + found.dev["text"][:]) == ["NA", "None", "nan", "null"]


def test_pairs_and_regression_are_found(tmp_path):
    lines = "".join(f"a {i}\tb {i}\t{i / 4}\n" for i in range(20))
    found = data.load(write(tmp_path, "t.tsv", "sentence1\tsentence2\tscore\n" + lines))
    assert (found.pair, found.task, found.labels) == (True, "regression", ())
    assert set(found.train.column_names) == {"text", "text2", "label", "line"}


def test_columns_can_be_named(tmp_path):
    path = write(
        tmp_path, "t.csv", "body,kind,label\n" + "".join(f"x {i},k{i % 2},z\n" for i in range(8))
    )
    found = data.load(path, text="body", label="kind")
    assert found.labels == ("k0", "k1")
    with pytest.raises(
        DataError, match=r"no column `bodi`; it has body, kind, label; did you mean `body`"
    ):
        data.load(path, text="bodi", label="kind")
    with pytest.raises(DataError, match="name the text column with --text"):
        data.load(path)


def test_leaks_duplicates_and_rare_labels_are_said_and_dropped(tmp_path):
    train = "text,label\nsame,a\nsame,a\nshared,b\nother,b\nfifth,a\nonce,c\n,a\n"
    write(tmp_path, "train.csv", train)
    write(tmp_path, "dev.csv", "text,label\nshared,b\nnew,a\n")
    kept = data.load(tmp_path)
    notes = " | ".join(kept.notes)
    assert "1 train rows also stand in dev (50.0% of it): kept" in notes
    assert "1 duplicate rows in train" in notes
    assert "1 empty texts taken out of train" in notes
    assert "labels seen once in train: c" in notes
    dropped = data.load(tmp_path, drop_leaks=True)
    assert "shared" not in dropped.train["text"][:]
    assert len(dropped.train) == len(kept.train) - 1


def test_equal_texts_never_part_when_dev_is_cut(tmp_path):
    lines = "".join(f"t{i % 10},{'a' if i % 10 < 5 else 'b'}\n" for i in range(60))
    found = data.load(write(tmp_path, "t.csv", "text,label\n" + lines), dev_fraction=0.3)
    assert not set(found.train["text"]) & set(found.dev["text"])


def test_classes_only_in_dev_are_left_out_and_said(tmp_path):
    write(tmp_path, "train.csv", "text,label\na,alpha\nb,beta\nc,alpha\nd,beta\n")
    write(tmp_path, "dev.csv", "text,label\ne,alpha\nf,quite different\n")
    found = data.load(tmp_path)
    assert len(found.dev) == 1
    assert "1 dev rows of classes that train lacks left out: `quite different` (1)" in found.notes


BAD = {
    "missing": (None, r"t\.csv does not exist"),
    "empty": ("", r"t\.csv is empty; wanted a header"),
    "header only": ("text,label\n", r"t\.csv has no rows"),
    "short row": ("text,label\na,x\nlonely\n", r"t\.csv line 3: 1 columns \(\['lonely'\]\); wanted 2: text, label"),
    "encoding": (b"text,label\na,x\ncaf\xe9,y\n", r"t\.csv line 3: byte 0xe9 at column 4 is not UTF-8"),
    "one class": ("text,label\na,x\nb,x\n", r"only the label `x` in train; wanted two or more"),
    "no label": ("text,label\na,x\nb,\nc,y\n", r"t\.csv line 3: label `` is not one of the 2 labels"),
    "multi-line": ('text,label\n"a\nb",x\nc\n', r"t\.csv line 4: 1 columns"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_named_by_file_line_and_value(tmp_path, case):
    content, message = BAD[case]
    path = tmp_path / "t.csv"
    if content is not None:
        write(tmp_path, "t.csv", content)
    with pytest.raises(DataError, match=message):
        data.load(path)


def test_misspelt_label_is_refused_with_the_nearest(tmp_path):
    write(tmp_path, "train.csv", "text,label\na,complaint\nb,praise\nc,praise\n")
    write(tmp_path, "dev.csv", "text,label\nd,praise\ne,complaint \n")
    with pytest.raises(
        DataError,
        match=r"dev\.csv line 3: label `complaint ` is not one of the 2 labels of the training set; nearest: `complaint`",
    ):
        data.load(tmp_path)


def test_targets_that_are_no_numbers_are_refused(tmp_path):
    path = write(tmp_path, "t.csv", "text,score\na,1.5\nb,nan\nc,2.5\n")
    with pytest.raises(DataError, match=r"t\.csv line 3: target is 'nan'; wanted a finite number"):
        data.load(path)


def test_bad_json_is_named(tmp_path):
    path = write(tmp_path, "t.jsonl", '{"text": "a", "label": "x"}\n{"text": \n')
    with pytest.raises(DataError, match=r"t\.jsonl line 2: not JSON"):
        data.load(path)
    path = write(tmp_path, "u.jsonl", '{"text": "a", "label": "x"}\n{"text": null, "label": "y"}\n')
    with pytest.raises(DataError, match=r"u\.jsonl line 2: column `text` is None; wanted a text"):
        data.load(path)


def test_saved_data_come_back(tmp_path, capfd):
    found = data.load("helpdesk", language="zh")
    datasets.enable_progress_bars()
    capfd.readouterr()
    data.save(found, tmp_path / "run" / "data")
    assert capfd.readouterr().err == ""
    again = data.load_saved(tmp_path / "run")
    assert again.labels == found.labels
    assert again.train["text"][:3] == found.train["text"][:3]
    assert again.splits().keys() == found.splits().keys()


def test_embedded_data_are_split_by_author():
    splits = tinybert.datasets.load("helpdesk", language="en")
    authors = {name: set(split["author"]) for name, split in splits.items()}
    assert {n: s.num_rows for n, s in splits.items()} == {"train": 959, "dev": 240, "test": 478}
    assert not authors["train"] & authors["test"]
    assert not authors["train"] & authors["dev"]
    assert len(set(splits["train"]["label"])) == 12
    with pytest.raises(DataError, match="no language `de`"):
        tinybert.datasets.load("helpdesk", language="de")


def test_datasets_folder_is_read(tmp_path):
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    rows = Dataset.from_dict(
        {"sentence": [f"s{i}" for i in range(6)], "label": [0, 1] * 3}, features
    )
    hidden = Dataset.from_dict({"sentence": ["t"], "label": [-1]}, features)
    DatasetDict({"train": rows, "validation": rows, "test": hidden}).save_to_disk(tmp_path / "set")
    found = data.load(tmp_path / "set")
    assert found.labels == ("neg", "pos")
    assert found.test is None
    assert "test has no labels (all -1) and is left out" in found.notes
