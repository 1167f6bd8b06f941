"""A student that writes with fewer pieces than its teacher."""

import json
from itertools import chain

import numpy as np
import pytest
import torch
from datasets import Dataset

from small_writers import TEXTS, save_random_writer, word_pairs
from tinybert.bart import new_writer, shrink
from tinybert.distill import seq2seq as training
from tinybert.distill import seq2seq_recipe
from tinybert.distill.writer_layers import WriterLayers
from tinybert.distill.writer_vocabulary import carry_over, check_vocabulary, cut_writer
from tinybert.distill.writers import load_writer, open_vocabulary, save_writer
from tinybert.distill.writing import Batches, Top, rows
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.subwords import train_tokenizer
from tinybert.text import Tokenizer

LIMITS = (32, 32)


def cut_of(folder, place, size, student=None, texts=(TEXTS[:1], TEXTS[:1])):
    said = []
    student = load_writer(folder) if student is None else student
    return cut_writer(size, texts, student, folder, place, LIMITS, said.append), said


def two_tables(folder):
    pairs = word_pairs(80)
    train_tokenizer([b for _, b in pairs], folder / "target", vocab_size=300)
    train_tokenizer([a for a, _ in pairs], folder, vocab_size=310)
    sizes = tuple(t.vocab_size for t in open_vocabulary(folder, LIMITS))
    return new_writer(sizes, layers=(1, 1), hidden=32, start=0, pad=1, eos=2, seed=4)


@pytest.mark.parametrize("kind", ["bart", "mbart", "m2m_100", "marian"])
def test_what_stays_is_computed_as_before(kind, tmp_path):
    folder = save_random_writer(tmp_path / "whole", kind)
    teacher = load_writer(folder)
    if kind != "m2m_100":
        teacher.get_buffer("final_logits_bias").copy_(torch.randn(1, teacher.config.vocab_size))
    own, said = cut_of(folder, tmp_path / "cut", "texts", teacher)
    assert own.student.config.vocab_size < teacher.config.vocab_size == len(own.targets)
    sizes = f"{own.student.config.vocab_size} of {teacher.config.vocab_size}"
    assert said == [f"the student's vocabulary: {sizes} pieces"]
    before = open_vocabulary(folder, LIMITS)[0].encode(TEXTS[:1])[0]
    after = own.tokenizers[0].encode(TEXTS[:1])[0]
    assert [list(own.targets[row]) for row in before] == after
    kept = own.targets >= 0
    with torch.inference_mode():
        wanted = teacher(torch.tensor(before), decoder_input_ids=torch.tensor(before)).logits
        found = own.student(torch.tensor(after), decoder_input_ids=torch.tensor(after)).logits
    order = torch.from_numpy(own.targets[kept])
    torch.testing.assert_close(found[..., order], wanted[..., torch.from_numpy(kept)])


def test_the_teacher_reads_what_its_student_reads(tmp_path):
    folder = save_random_writer(tmp_path / "whole")
    teacher = load_writer(folder)
    own, _ = cut_of(folder, tmp_path / "cut", "texts", teacher)
    reading = own.cut(teacher)
    batch = Batches(reading.config.pad_token_id, reading.config.decoder_start_token_id)
    given = (TEXTS, [[text] for text in TEXTS], [[1.0]] * 3)
    inputs = batch(list(rows(*given, own.tokenizers, own.student)))
    losses = []
    for student in (own.student, own.cut(shrink(teacher, [1], [0]))):
        layers = WriterLayers(reading, student, hidden=1.0, cross_attention=1.0)
        losses.append(layers.losses(student, inputs, inputs["pad_mask"])[1])
    assert set(losses[0]) == {"encoder_hidden", "decoder_hidden", "cross_attention"}
    assert max(losses[0].values()) < 1e-9 < min(losses[1].values())


def test_each_side_is_cut_by_its_own_texts(tmp_path):
    student = two_tables(tmp_path / "whole")
    own, said = cut_of(
        tmp_path / "whole", tmp_path / "cut", "texts", student, (["red cat"], ["rot katze"])
    )
    assert len(said) == 2
    source, target = own.tokenizers
    assert "\u2581cat" in source.vocabulary
    assert "\u2581dog" not in source.vocabulary
    assert "\u2581katze" in target.vocabulary
    assert "\u2581hund" not in target.vocabulary
    shapes = {
        name: len(value) for name, value in own.student.state_dict().items() if "embed_t" in name
    }
    assert shapes == {
        "model.encoder.embed_tokens.weight": source.vocab_size,
        "model.decoder.embed_tokens.weight": target.vocab_size,
    }
    lines = ["red dog \u4f60", "hund rot"]
    for tokenizer in own.tokenizers:
        assert tokenizer.vocabulary["<unk>"] not in chain.from_iterable(tokenizer.encode(lines)[0])


def late_padding(folder):
    """Write a tokenizer whose padding is its last piece, as Marian's is; return its size."""
    train_tokenizer(TEXTS, folder, vocab_size=400)
    spec = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = spec["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    old, size = vocabulary["<pad>"], len(vocabulary)
    vocabulary["<pad>"], vocabulary[last] = size - 1, old
    for token in spec["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    return size


def test_ids_of_special_tokens_move_with_them(tmp_path):
    last = late_padding(tmp_path / "whole") - 1
    student = new_writer(
        last + 1, layers=(1, 1), hidden=32, start=last, pad=last, eos=2, positions=32
    )
    settings = student.generation_config
    there = Tokenizer(tmp_path / "whole", max_length=32).vocabulary
    gone = next(i for piece, i in there.items() if len(piece) == 2 and piece.isalpha())
    settings.bad_words_ids, settings.forced_bos_token_id = [[last], [gone]], 3
    own, _ = cut_of(tmp_path / "whole", tmp_path / "cut", "texts", student, (["12"], ["12"]))
    assert own.targets[gone] == -1
    new = own.tokenizers[0].vocabulary
    assert own.student.config.pad_token_id == new["<pad>"] < last
    assert own.student.config.decoder_start_token_id == new["<pad>"]
    assert own.student.config.eos_token_id == new["</s>"]
    assert own.student.generation_config.bad_words_ids == [[new["<pad>"]]]
    assert own.student.generation_config.forced_bos_token_id == own.targets[3]


def test_positions_counted_from_the_padding_are_not_moved(tmp_path):
    student = load_writer(save_random_writer(tmp_path / "whole", "m2m_100"))
    student.config.pad_token_id = late_padding(tmp_path / "whole") - 1
    with pytest.raises(UnsupportedModelError, match=r"padding token \d+ would change: its"):
        cut_of(tmp_path / "whole", tmp_path / "cut", "texts", student)


def test_a_size_is_kept_and_too_small_a_one_refused(tmp_path):
    folder = save_random_writer(tmp_path / "whole")
    least = cut_of(folder, tmp_path / "none", "texts", texts=([], []))[0]
    size = least.student.config.vocab_size + 4
    own, said = cut_of(folder, tmp_path / "cut", size)
    assert own.student.config.vocab_size == own.tokenizers[0].vocab_size <= size
    assert "of the texts' pieces fall into smaller ones" in said[0]
    assert cut_of(folder, tmp_path / "cut", size, texts=(TEXTS, TEXTS))[1] != said
    whole = cut_of(folder, tmp_path / "both", "texts", texts=(TEXTS[2:], TEXTS[:1]))[0]
    for text in (TEXTS[0], TEXTS[2]):
        pieces = open_vocabulary(folder, LIMITS)[0].encode([text])[0][0]
        assert (whole.targets[pieces] >= 0).all()
    check_vocabulary(size, folder)
    with pytest.raises(ConfigError, match=r"vocabulary is 20; special tokens and the characters"):
        check_vocabulary(20, folder)


def test_next_tokens_go_where_both_cut_alike():
    theirs = Dataset.from_dict({"labels": [[[7, 8, 9], [8]], [[9]]], "places": [[0, 3], [4]]})
    own = Dataset.from_dict({"labels": [[[5, 1, 2, 4], [1]], [[4]]], "places": [[0, 4], [5]]})
    new_ids = np.array([0, -1, 6, -1, -1, -1, -1, 5, -1, 4])  # 8 became 1 2
    ids = np.array([[7, 1], [8, 1], [9, 2], [3, 1], [3, 1]], dtype=np.int32)
    shares = [[0.5, 0.25], [0.5, 0.5], [0.75, 0.25], [0.5, 0.5], [0.5, 0.5]]
    probabilities = np.array(shares, np.float16)
    found = carry_over(Top(ids, probabilities), theirs, own, new_ids)
    assert found.ids.dtype == np.int32
    assert found.ids.tolist() == [[5, 0], [1, 1], [2, 2], [4, 6], [1, 1], [4, 4]]
    wanted = [[0.5, 0], [1, 0], [1, 0], [0.75, 0.25], [1, 0], [1, 0]]
    assert found.probabilities.tolist() == wanted


def test_rows_of_alike_pieces_keep_all_of_the_teachers(tmp_path):
    folder = save_random_writer(tmp_path / "whole")
    teacher = load_writer(folder)
    own, _ = cut_of(folder, tmp_path / "cut", "texts", texts=(TEXTS, TEXTS))
    given = (TEXTS, [[text] for text in TEXTS], [[1.0]] * 3)
    tokenizers = (Tokenizer(folder, max_length=32),) * 2
    theirs, mine = rows(*given, tokenizers, teacher), rows(*given, own.tokenizers, own.student)
    flat = [i for row in theirs["labels"] for one in row for i in one]
    ids = np.array([[i, 2, 0] for i in flat], dtype=np.int32)
    shares = np.tile(np.array([0.5, 0.25, 0.125], np.float16), (len(flat), 1))
    found = carry_over(Top(ids, shares), theirs, mine, own.targets)
    assert (found.ids == own.targets[ids]).all()
    assert (found.probabilities == shares).all()


class StopError(Exception):
    """Ends a run where a test has seen enough."""


def test_the_student_begins_with_its_own_id(tmp_path, monkeypatch):
    last = late_padding(tmp_path / "whole") - 1
    teacher = new_writer(
        last + 1, layers=(1, 1), hidden=32, start=last, pad=last, eos=2, positions=32
    )
    save_writer(teacher, tmp_path / "whole", tmp_path / "teacher")
    lines = [json.dumps({"source": text, "target": text}) for text in ("12", "1 2", "2 1")] * 4
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    seen = []

    def stop(*arguments):
        learned, batches = arguments[2:4]
        seen.append(batches([learned[0]]))
        raise StopError

    monkeypatch.setattr(training, "_train", stop)
    recipe = seq2seq_recipe.load(
        None,
        {"out": str(tmp_path / "run"), "data.path": str(tmp_path / "pairs.jsonl")}
        | {"teacher.model": str(tmp_path / "teacher"), "student.vocabulary": "texts"}
        | {"student.encoder_layers": 1, "max_length": 16, "max_target": 16},
    )
    with pytest.raises(StopError):
        training.seq2seq(recipe, lambda _: None)
    own = open_vocabulary(tmp_path / "run" / "stages" / "vocabulary", (16, 16))[0].vocabulary
    assert own["<pad>"] < last
    assert set(seen[0]["decoder_input_ids"][:, 0].tolist()) == {own["<pad>"]}
    assert seen[0]["top_ids"].max() <= own["<pad>"]
