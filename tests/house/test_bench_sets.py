"""The sets of the benchmarks are cut as they say, and rows carry the metric that judges them."""

import json
from pathlib import Path

import pytest

from tinybert import data as data_room

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sets(bench):  # noqa: ARG001
    import _sets

    return _sets


def loaded(sets, name, source):
    import quality

    values = quality.load_recipe(name, sets.settings(name, source)).data.model_dump()
    return data_room.load(values.pop("source"), **values)


def test_each_set_has_a_recipe(sets):
    for name, wanted in sets.SETS.items():
        assert (ROOT / "recipes" / f"{wanted.recipe or name}.toml").is_file(), name


def test_whole_sentences_are_those_inside_no_other(sets):
    rows = ["1\ta good film", "1\tgood film", "0\tfilm", "0\tdull", "1\ta good film"]
    assert sorted(sets.whole_sentences(rows)) == ["0\tdull", "1\ta good film"]


def test_dev_is_cut_off_train_once_and_by_label(sets, tmp_path, write_tsv):
    rows = [(f"intent{i % 3}", f"message number {i}") for i in range(60)]
    write_tsv(tmp_path / "banking77", "train.tsv", ("label", "text"), rows)
    write_tsv(tmp_path / "banking77", "test.tsv", ("label", "text"), [("intent0", 'say "no"')])
    source = sets.prepare("banking77", tmp_path, tmp_path / "work")
    data = loaded(sets, "banking77", source)
    assert {name: len(rows) for name, rows in data.splits().items()} == {
        "train": 54, "dev": 6, "test": 1
    }  # fmt: skip
    assert sorted(data.dev["label"]) == [0, 0, 1, 1, 2, 2]
    assert data.test["text"][0] == 'say "no"'
    (tmp_path / "banking77" / "train.tsv").write_text("")
    assert sets.prepare("banking77", tmp_path, tmp_path / "work") == source


def test_one_file_becomes_three_splits(sets, tmp_path, write_tsv):
    rows = [(i % 2, f"第{i}份很好吃") for i in range(100)]
    write_tsv(tmp_path / "waimai_10k", "all.tsv", ("label", "text"), rows)
    source = sets.prepare("waimai", tmp_path, tmp_path / "work")
    data = loaded(sets, "waimai", source)
    assert [len(rows) for rows in data.splits().values()] == [80, 10, 10]
    texts = [text for rows in data.splits().values() for text in rows["text"]]
    assert sorted(texts) == sorted(text for _, text in rows)


@pytest.mark.parametrize(
    ("name", "label", "metric"),
    [("mrpc", "label", "f1"), ("stsb", "score", "pearson"), ("cola", "label", "matthews")],
)
def test_official_metrics(sets, tmp_path, write_tsv, name, label, metric):
    columns = (label, "sentence") if name == "cola" else (label, "sentence1", "sentence2")
    folder = sets.SETS[name].folder
    for split in ("train", "dev"):
        rows = [(f"{i % 2}.5" if name == "stsb" else i % 2, f"{split} {i}") for i in range(8)]
        rows = rows if name == "cola" else [(*row, f"second {row[1]}") for row in rows]
        write_tsv(tmp_path / folder, f"{split}.tsv", columns, rows)
    data = loaded(sets, name, sets.prepare(name, tmp_path, tmp_path / "work"))
    assert (data.metric, data.pair, data.test) == (metric, name != "cola", None)


def test_tnews_with_and_without_its_unlabelled_titles(sets, tmp_path):
    folder = tmp_path / "fewclue_tnews"
    folder.mkdir()
    for split in ("train", "dev", "test", "unlabeled"):
        rows = [{"label_desc": f"news_{i % 2}", "sentence": f"{split} 标题 {i}"} for i in range(6)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    source = sets.prepare("tnews", tmp_path, tmp_path / "work")
    assert len(loaded(sets, "tnews", source).unlabelled) == 6
    assert loaded(sets, "tnews-labelled", source).unlabelled is None
    texts = sets.chinese_texts(tmp_path, tmp_path / "work")
    assert sum("标题" in text for text in texts) == 12
    assert len(texts) == 12 + 959
    assert not any(text.startswith(("dev", "test")) for text in texts)


def test_what_is_missing_is_named(sets, tmp_path):
    with pytest.raises(SystemExit, match="mrpc needs --data DIR with a folder mrpc in it"):
        sets.prepare("mrpc", tmp_path, tmp_path / "work")
    assert sets.prepare("helpdesk-zh", None, tmp_path) == "helpdesk"


@pytest.mark.usefixtures("sets")
def test_rows_carry_the_metric_and_are_judged_on_the_last_split():
    import quality

    dev = {"teacher": {"matthews": 0.4, "accuracy": 0.8, "f1": 0.9},
           "student": {"matthews": 0.3, "accuracy": 0.7, "f1": 0.8}}  # fmt: skip
    row = quality.figures("matthews", ("accuracy",), {"dev": dev})
    assert row == {
        "metric": "matthews",
        "dev_teacher": 0.4,
        "dev_teacher_accuracy": 0.8,
        "dev_student": 0.3,
        "dev_student_accuracy": 0.7,
        "kept": pytest.approx(0.75),
        "kept_on": "dev",
    }
    both = quality.figures("accuracy", (), {"dev": dev, "test": dev})
    assert (both["kept_on"], both["kept"]) == ("test", pytest.approx(0.875))
    assert "test_student_accuracy" not in both


@pytest.mark.usefixtures("sets")
def test_teachers_are_shared_where_they_are_the_same(tmp_path):
    import quality

    def folder(name, title, **settings):
        return quality.teacher_folder(tmp_path, name, title, 1, settings).relative_to(tmp_path)

    assert folder("tnews-labelled", "tnews-labelled") == Path("tnews/seed-1-teacher")
    assert folder("sst2", "sst2") == Path("sst2/seed-0-teacher")
    assert folder("mrpc", "other", **{"teacher.epochs": "1"}) == Path("other/seed-1-teacher")
    assert quality.teacher_job("tnews-labelled", "tnews-labelled", {}) == quality.teacher_job(
        "tnews", "tnews-wide", {"student.hidden": "64"}
    )
    own = {"teacher.epochs": "1"}
    assert quality.teacher_job("mrpc", "other", own | {"student.layers": "1"}) == {
        "name": "mrpc", "title": "other", "settings": own
    }  # fmt: skip
    with pytest.raises(SystemExit, match="need a name for the results: --name"):
        folder("mrpc", "mrpc", **{"teacher.epochs": "1"})


@pytest.mark.usefixtures("sets")
def test_an_encoder_from_plain_text(tmp_path):
    import _encoder
    from tinybert.distill.infer import load_classifier

    texts = ["今天的菜很好吃", "送餐很慢，不好吃", "今天送餐很快"] * 4
    out = _encoder.train(texts, tmp_path / "encoder", epochs=1, width=16, longest=16)
    model = load_classifier(out, num_labels=2)
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (16, 4)
    assert _encoder._passages("字" * 190) == ["字" * 120, "字" * 70]
    assert _encoder._passages("字" * 150) == ["字" * 120]


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*mb.toml")), ids=lambda p: p.stem)
def test_the_recipe_of_a_small_artifact_is_what_was_measured(path):
    import quality
    from tinybert.distill import recipe as recipes

    content = json.loads((ROOT / "bench" / "results" / f"quality-{path.stem}.json").read_text())
    row = content["rows"][0]
    lengths = quality.epochs(row["set"], row["layers"])
    given = dict(zip(("layer_stage.epochs", "prediction_stage.epochs"), lengths, strict=False))
    given |= {name: json.loads(value) for name, value in row["settings"].items()}
    given |= {"student.layers": row["layers"], "data.drop_leaks": True}
    wanted = quality.load_recipe(row["set"], given | {"out": f"runs/{path.stem}"})
    assert recipes.load(path) == wanted
