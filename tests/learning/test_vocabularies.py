"""Students with a vocabulary of their own: which pieces stay, and how their words are compared."""

import json
import string

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from tinybert.distill import recipe as recipes
from tinybert.distill.aligned import _numbered, pool_array, pool_scores, pool_states
from tinybert.distill.objective import Objective
from tinybert.distill.recipe import Stage
from tinybert.distill.task import distill
from tinybert.distill.vocabularies import cut_words
from tinybert.errors import ConfigError
from tinybert.text import Tokenizer
from tinybert.vocabulary import Cut, cut_to_size

UNSEEN = ("zebra", "quilt", "jumps")


@pytest.fixture
def spelled(taught, tmp_path, write_tokenizer):
    """Overrides with a teacher whose vocabulary holds letters, known words and unseen ones."""
    place = tmp_path / "spelled"
    write_tokenizer(place)
    path = place / "tokenizer.json"
    old = Backend.from_file(str(path))
    letters = [f"{mark}{c}" for c in string.ascii_lowercase for mark in ("", "##")]
    known = [word for word, _ in sorted(old.get_vocab().items(), key=lambda item: item[1])]
    pieces = list(dict.fromkeys([*known, *letters, *UNSEEN]))
    old.model = models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]")
    old.add_special_tokens(known[:4])
    old.save(str(path))
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(place)
    return taught | {
        "teacher.model": str(place),
        "teacher.epochs": 12,
        "student.layers": 1,
        "max_length": 48,
        "layer_stage.attention": 1.0,
        "layer_stage.embedding": 1.0,
    }


def run(settings, said=None):
    return distill(recipes.load(None, settings), [].append if said is None else said.append)


def stage(folder, name):
    return json.loads((folder / "stages" / name / "log.json").read_text())


def test_only_what_the_texts_need_stays(spelled):
    said = []
    folder = run(spelled | {"student.vocabulary": "texts", "ship.baselines": True}, said)
    teacher, student = (Tokenizer(folder / n, max_length=48) for n in ("teacher", "student"))
    assert teacher.vocabulary.keys() - student.vocabulary.keys() == {*UNSEEN}
    assert any(line.startswith("vocabulary: ") and "fall" not in line for line in said)
    assert len(student.pieces(["zebra"])[0]) == 5
    config = json.loads((folder / "student" / "config.json").read_text())
    assert config["vocab_size"] == student.vocab_size
    table = BertForSequenceClassification.from_pretrained(folder / "student")
    words = BertForSequenceClassification.from_pretrained(folder / "teacher").bert.embeddings
    own = table.bert.embeddings.word_embeddings.weight
    for piece, new in student.vocabulary.items():
        old = teacher.vocabulary[piece]
        torch.testing.assert_close(own[new], words.word_embeddings.weight[old])
    ids = AutoTokenizer.from_pretrained(folder / "student")("the superb film")["input_ids"]
    assert ids == student.encode(["the superb film"])[0][0]
    about = json.loads((folder / "run.json").read_text())
    assert about["dev"]["student"]["accuracy"] > 0.7
    assert Tokenizer(folder / "label_only", max_length=48).vocabulary == student.vocabulary


def test_frequent_pieces_stay_and_words_meet(spelled):
    said = []
    small = {"student.vocabulary": 68, "student.embedding": 12, "layer_stage.epochs": 4}
    folder = run(spelled | small, said)
    student = Tokenizer(folder / "student", max_length=48)
    assert student.vocab_size == 68
    assert any("pieces fall into smaller ones" in line for line in said)
    rows = [row for row in stage(folder, "layer") if "hidden/1" in row]
    for part in ("hidden/1", "attention/1", "embedding"):
        assert rows[-1][part] < rows[0][part], part
    answers = [row["prediction"] for row in stage(folder, "prediction") if "prediction" in row]
    assert np.mean(answers[-3:]) < np.mean(answers[:3])


def test_too_few_pieces_are_refused(spelled):
    wanted = (
        r"vocabulary is 20; special tokens and the characters .* are \d+; take more, or `texts`"
    )
    with pytest.raises(ConfigError, match=wanted):
        run(spelled | {"student.vocabulary": 20})
    with pytest.raises(ConfigError, match=r"student\.vocabulary"):
        recipes.load(None, {"student.vocabulary": "all"})


def test_tags_and_answers_want_their_own_pieces(spelled, tmp_path):
    words = [["the", "superb"], ["a", "film"]]
    lines = "\n".join(json.dumps({"tokens": w, "tags": ["O", "B-X"]}) for w in words * 8)
    place = tmp_path / "tagged"
    place.mkdir()
    for split in ("train", "dev"):
        (place / f"{split}.jsonl").write_text(lines)
    more = {"data.source": str(place), "data.task": "tagging", "student.vocabulary": 58}
    with pytest.raises(ConfigError, match="tagging has no student that cuts words otherwise"):
        run(spelled | more)


def test_the_largest_cut_that_fits_is_taken():
    pieces = {"[UNK]": 0} | {
        piece: i for i, piece in enumerate(["a", "b", "##a", "##b", "ab", "##ab", "ba", "bab"], 1)
    }
    spec = json.loads(Backend(models.WordPiece(pieces, unk_token="[UNK]")).to_str())
    spec["added_tokens"] = [{"id": 0, "content": "[UNK]"}]
    counts = {pieces["bab"]: 9, pieces["ab"]: 5, pieces["ba"]: 7}
    cut = cut_to_size(spec, counts, 7)
    assert {*cut.tokenizer["model"]["vocab"]} == {"[UNK]", "a", "b", "##a", "##b", "bab", "ba"}


def test_words_are_means_of_their_pieces_on_both_sides():
    own = [(-1, 0), (0, 0), (0, 0), (0, 1), (-1, 1)]
    teachers = [(-1, 0), (0, 0), (0, 1), (0, 1), (0, 2), (-1, 1)]
    assert _numbered(own, teachers) == ([0, 1, 1, 2, 3], [0, 1, 2, 2, -1, 3])
    numbers = [0, 1, 2, 2, -1, 3]
    draw = np.random.default_rng(0)
    states, scores = draw.random((6, 3), np.float32), draw.random((2, 6, 6), np.float32)
    places = [[0], [1], [2, 3], [5]]
    wanted = np.array([states[p].mean(0) for p in places])
    pairs = np.array([[scores[:, a][:, :, b].mean((1, 2)) for b in places] for a in places])
    pairs = pairs.transpose(2, 0, 1)
    np.testing.assert_allclose(pool_array(states, numbers), wanted, rtol=1e-6)
    np.testing.assert_allclose(pool_array(scores, numbers), pairs, rtol=1e-6)
    words = torch.tensor([numbers])
    torch.testing.assert_close(
        pool_states(torch.from_numpy(states)[None], words)[0], torch.from_numpy(wanted)
    )
    torch.testing.assert_close(
        pool_scores(torch.from_numpy(scores)[None], words)[0], torch.from_numpy(pairs.copy())
    )


def test_words_that_one_side_lacks_count_nothing():
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    objective = Objective(model, Stage(hidden=1.0), (1,), 16, task="classification")
    ids = torch.randint(5, 30, (2, 4))
    words = torch.tensor([[0, 1, 1, 2], [0, 1, -1, -1]])
    target = torch.randn(2, 3, 16)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids),
             "token_type_ids": torch.zeros_like(ids), "words": words}  # fmt: skip
    losses = []
    for filler in (0.0, 99.0):
        target[1, 2] = filler
        losses.append(objective(**batch, hidden_1=target)["loss"])
    torch.testing.assert_close(losses[0], losses[1])


def test_a_made_piece_starts_as_the_mean_of_those_that_held_it():
    config = BertConfig(
        vocab_size=5, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = BertForSequenceClassification(config)
    old = model.bert.embeddings.word_embeddings.weight.detach().clone()
    cut_words(model, Cut({}, ((0,), (3,), (1, 2)), {0: 0, 3: 1}))
    new = model.bert.embeddings.word_embeddings
    torch.testing.assert_close(new.weight, torch.stack([old[0], old[3], old[1:3].mean(0)]))
    assert (model.config.vocab_size, new.padding_idx) == (3, 0)
