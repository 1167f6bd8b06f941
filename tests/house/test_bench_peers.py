"""Other tools are given the same data, steps and teachers; those that are absent are left out."""

import json
import math

import numpy as np
import pytest

from tinybert import data as data_room

pytestmark = pytest.mark.usefixtures("bench")


def test_teachers_first_then_peers(asked, monkeypatch, tmp_path, pairs):
    import peers
    import quality

    started = []

    def peer(job):
        started.append((job["system"], job["seed"]))
        peers.row_path(job).parent.mkdir(parents=True, exist_ok=True)
        peers.row_path(job).write_text(json.dumps({"seed": job["seed"]}))

    monkeypatch.setattr(quality, "start_job", lambda *job: started.append(job[2:4]))
    monkeypatch.setattr(peers, "start_job", peer)
    line = f"--data {pairs.parent} --sets stsb --seeds 0 1 --workers 1 --work {tmp_path}"
    for systems, teachers in (("textbrewer", [(0, 0), (1, 0)]), ("model2vec", [])):
        started.clear()
        asked(peers, f"{line} --systems {systems}")
        peers.main()
        assert started == [*teachers, (systems, 0), (systems, 1)]
    content = json.loads((tmp_path / "results" / "peers-stsb.json").read_text())
    assert content["rows"] == [{"seed": 0}, {"seed": 1}]


class Bag:
    """Stands in for a static model: counts of letters."""

    def encode(self, texts):
        return np.array([[text.count(letter) for letter in "abcde"] for text in texts], float)


def test_jobs_and_results(asked, tmp_path):
    import peers
    import quality

    line = "--data DIR --sets mrpc --seeds 0 1 --systems textbrewer model2vec --rate 1e-4"
    arguments = asked(peers, line)
    jobs = peers.jobs("mrpc", "DIR/mrpc", tmp_path, arguments)
    assert [(job["system"], job["seed"], job["layers"], job["rate"]) for job in jobs] == [
        ("textbrewer", 0, 3, 1e-4),
        ("textbrewer", 1, 3, 1e-4),
        ("model2vec", 0, None, None),
        ("model2vec", 1, None, None),
    ]
    assert asked(peers, "--job {}").job == "{}"
    recipe = peers.load_recipe(jobs[0], {"max_length": 32})
    assert (recipe.student.layers, recipe.max_length, recipe.seed) == (3, 32, 0)
    lengths = [recipe.layer_stage.epochs, recipe.prediction_stage.epochs]
    assert lengths == quality.epochs("mrpc", 3)
    assert peers.steps(recipe, 100, 40) == sum(math.ceil(4 * n) for n in lengths)
    for number, job in enumerate(jobs):
        path = peers.row_path(job)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"seed": job["seed"], "test": number / 10}))
    (tmp_path / "mrpc").mkdir()
    peers.write_results("mrpc", str(tmp_path / "mrpc"), jobs, arguments)
    content = json.loads((tmp_path / "results" / "peers-mrpc.json").read_text())
    assert [row["test"] for row in content["rows"]] == [0.0, 0.1, 0.2, 0.3]
    assert content["command"].endswith("--systems textbrewer model2vec --rate 0.0001")


def test_static_vectors_of_pairs(pairs):
    import _static
    from tinybert import metrics

    data = data_room.load(pairs)
    answer = _static.logits(Bag(), data, 0)
    assert answer("test").shape == (15, 1)
    assert metrics.measure(data, "test", answer("test"))["pearson"] > 0.99
    assert _static.features(Bag(), ["ab"], ["aa"]).tolist() == [[1, 1, 0, 0, 0, 2, 0, 0, 0, 0]]


def test_a_peer_writes_its_row(monkeypatch, tmp_path, pairs):
    import _static
    import peers

    monkeypatch.setattr(_static, "static_model", lambda _, __: Bag())
    monkeypatch.setattr(_static, "size_mb", lambda _: 1.0)
    job = {"name": "stsb", "source": str(pairs), "seed": 0, "layers": None}
    job |= {"system": "model2vec", "rate": None, "settings": {}, "work": str(tmp_path)}
    peers.run_job(**job)
    row = json.loads(peers.row_path(job).read_text())
    assert {"set": "stsb", "system": "model2vec", "metric": "pearson", "steps": None}.items() <= (
        row.items()
    )
    assert {"dev", "dev_spearman", "test", "test_spearman", "seconds", "mb"} <= row.keys()


def test_layers_that_textbrewer_matches():
    import _textbrewer

    found = [(match["layer_T"], match["layer_S"]) for match in _textbrewer.matches((2, 4, 6))]
    assert found == [(0, 0), (2, 1), (4, 2), (6, 3)]


def test_textbrewer_trains_a_student(tmp_path, pairs):
    pytest.importorskip("textbrewer")
    import _encoder
    import _textbrewer
    from tinybert.distill.infer import load_classifier
    from tinybert.distill.recipe import load
    from tinybert.student import make_student
    from tinybert.text import Tokenizer

    data = data_room.load(pairs)
    out = _encoder.train(data.joined("train") * 2, tmp_path / "encoder", epochs=1, width=16)
    teacher = load_classifier(out, num_labels=1, problem_type="regression")
    student = make_student(teacher, 2)
    before = [weight.clone() for weight in student.parameters()]
    _textbrewer.train(
        student,
        teacher,
        Tokenizer(out, max_length=16),
        data,
        data.train,
        load(None, {"prediction_stage.batch_size": 4}),
        steps=6,
        rate=1e-3,
        folder=tmp_path / "stages",
    )
    assert not student.training
    assert any((a != b).any() for a, b in zip(before, student.parameters(), strict=True))
