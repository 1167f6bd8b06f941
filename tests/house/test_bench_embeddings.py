"""Sentence vectors are measured on pairs that nobody learned from."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("bench")


def test_no_sentence_of_dev_and_test_is_learned_from(tmp_path, pairs):
    import embeddings

    with (pairs / "train.tsv").open("a") as stream:
        stream.write("3\ttest ab 1\ttrain ab 0\n")
    lines = embeddings.sentences(pairs, tmp_path / "text.txt").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 30
    assert all(line.startswith("train") for line in lines)


def test_jobs(asked, tmp_path):
    import embeddings

    arguments = asked(embeddings, "--data DIR --seeds 0 1 --layers 3 2")
    jobs = embeddings.jobs(tmp_path, tmp_path / "text.txt", tmp_path, arguments)
    assert asked(embeddings, "--job {}").job == "{}"
    students = [(job["seed"], job["layers"]) for job in jobs if job["system"] == "student"]
    assert students == [(0, 3), (1, 3), (0, 2), (1, 2)]
    assert len({job["run"] for job in jobs}) == len(jobs)


def test_likeness_is_the_cosine():
    import embeddings

    vectors = {"one": [1.0, 0.0], "same": [3.0, 0.0], "half": [1.0, 1.0], "other": [0.0, 2.0]}
    scored = (["one"] * 3, ["same", "half", "other"], np.array([5.0, 3.0, 1.0]))
    found = embeddings.spearman(lambda texts: [vectors[text] for text in texts], scored)
    assert found == pytest.approx(1.0)
