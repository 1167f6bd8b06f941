"""New texts: Algorithm 1, its four sources, the teacher's labels, and texts that nobody labelled."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from conftest import FILLER, WORDS, make_tokenizer
from tinybert import data as data_room
from tinybert.data import TaskData
from tinybert.distill import recipe as recipes
from tinybert.distill import vectors as vectors_room
from tinybert.distill.augment import augment, vary
from tinybert.distill.crops import add_crops
from tinybert.distill.infer import predict_logits
from tinybert.distill.objective import Objective
from tinybert.distill.outputs import NO_LABEL, tokenize
from tinybert.distill.pieces import EmbeddingNeighbors, MaskedWords, read_backend
from tinybert.distill.proposals import Source, by_word, check_source, open_source
from tinybert.distill.recipe import AugmentSettings, Stage
from tinybert.distill.task import distill
from tinybert.distill.vectors import vector_neighbors
from tinybert.distill.wordnet import read_wordnet
from tinybert.distill.words import splitter
from tinybert.errors import ConfigError, DataError, UnsupportedModelError
from tinybert.tables import read_table
from tinybert.text import Tokenizer, pad_batch

PIECES = ("good", "fine", "bad", "film", "the", "un", "##known", "Fine", "好", "坏", "人", ".", ",")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def quiet(_):
    pass


# Words


@given(st.text(st.sampled_from("aB3 é_'’-.,\t\n快递好😀ि")))
def test_words_and_gaps_are_the_text(text):
    found = splitter({"快递"})(text)
    assert found.join() == text
    assert [text[a:b] for a, b in found.spans()] == list(found.words)
    assert len(found.gaps) == len(found.words) + 1


def test_chinese_is_cut_into_the_longest_known_words():
    split = splitter({"快递", "快递公司"})
    assert split("快递公司的快递ABC12到了!").words == (
        "快递公司",
        "的",
        "快递",
        "ABC12",
        "到",
        "了",
    )
    assert splitter()("快递 don't x_y").words == ("快", "递", "don't", "x", "y")


# Algorithm 1


def table_source(**table):
    return by_word("table", {word: tuple(found) for word, found in table.items()}, 15)


def test_every_word_is_replaced_at_p_1_and_none_at_p_0():
    source = table_source(good=["great", "fine"], film=["movie"])
    text = "  A GOOD film,\tGood-natured (film)…"
    for made in vary([text], source, copies=9, p=1.0, seed=0)[0]:
        assert "good" not in made.lower()
        assert made.replace("GREAT", "FINE").replace("Great", "Fine") == (
            "  A FINE movie,\tFine-natured (movie)…"
        )
    assert vary([text], source, copies=3, p=0.0, seed=0) == [[text] * 3]


def test_each_word_is_replaced_with_probability_p_by_each_candidate_alike():
    source = table_source(a=["b", "c", "d", "e"])
    made = vary(["a " * 500], source, copies=8, p=0.4, seed=1)[0]
    counts = Counter(word for text in made for word in text.split())
    assert abs(counts["a"] / 4000 - 0.6) < 0.03
    for word in "bcde":
        assert abs(counts[word] / 4000 - 0.1) < 0.02


def test_seed_decides_and_the_batches_do_not(monkeypatch):
    source = table_source(a=["b", "c", "d"], x=["y", "z"])
    texts = [f"a x {i} a" for i in range(20)]
    first = vary(texts, source, copies=4, p=0.5, seed=3)
    assert first != vary(texts, source, copies=4, p=0.5, seed=4)
    monkeypatch.setattr("tinybert.distill.augment._CHUNK", 3)
    assert first == vary(texts, source, copies=4, p=0.5, seed=3)


def test_candidates_are_asked_only_for_words_that_are_replaced():
    asked = []

    def propose(splits, slots):
        asked.extend(splits[i].words[j] for i, j in slots)
        return [["new"]] * len(slots)

    made = vary(["one two three four five six"], Source("s", propose), copies=1, p=0.4, seed=0)
    old = {"one", "two", "three", "four", "five", "six"} - set(made[0][0].split())
    assert set(asked) == old
    assert 0 < len(asked) < 6


def test_capitals_follow_the_word_that_is_replaced():
    source = table_source(paris=["New York", "london"])
    made = vary(["Paris paris PARIS"], source, copies=30, p=1.0, seed=0)[0]
    first, second, third = (set(words) for words in zip(*(t.replace("w Y", "w_Y").replace("w y", "w_y").replace("W Y", "W_Y").split() for t in made), strict=True))  # fmt: skip
    assert first == {"London", "New_York"}
    assert second == {"london", "new_york"}
    assert third == {"LONDON", "NEW_YORK"}


# Embeddings of the teacher


def masked_model(folder, pieces=PIECES, mask=True, kind="bert"):
    """Write a random masked language model of some pieces."""
    pieces = [p for p in SPECIAL if mask or p != "[MASK]"] + list(pieces)
    backend = Backend(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    names = {f"{n[1:-1].lower()}_token": n for n in SPECIAL if n in pieces}
    about = json.dumps({"tokenizer_class": "BertTokenizer", **names})
    (folder / "tokenizer_config.json").write_text(about)
    torch.manual_seed(5)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.7}
    sizes |= {"hidden_size": 16, "intermediate_size": 32, "pad_token_id": 0}
    sizes["max_position_embeddings"] = 14 if kind == "roberta" else 12
    config = AutoConfig.for_model(kind, vocab_size=len(pieces), **sizes)
    model = AutoModelForMaskedLM.from_config(config).eval()
    model.save_pretrained(folder)
    return model, pieces


def proposals(propose, text, known=frozenset()):
    """Return the candidates of each word of a text."""
    split = splitter(known)(text)
    slots = [(0, j) for j in range(len(split.words))]
    return dict(zip(split.words, map(list, propose([split], slots)), strict=True))


def test_embedding_neighbors_are_whole_words_by_cosine(tmp_path):
    model, pieces = masked_model(tmp_path / "m")
    table = model.get_input_embeddings().weight.detach()
    found = proposals(
        EmbeddingNeighbors(read_backend(tmp_path / "m"), table, 3), "good unknown 好 xx"
    )
    at = {piece: table[i].double().numpy() for i, piece in enumerate(pieces)}
    cosines = {
        piece: at["good"] @ at[piece] / np.linalg.norm(at["good"]) / np.linalg.norm(at[piece])
        for piece in ("fine", "bad", "film", "the", "un", "Fine")
    }
    assert found["good"] == sorted(cosines, key=cosines.get, reverse=True)[:3]
    assert set(found["好"]) == {"坏", "人"}
    assert found["unknown"] == found["xx"] == []


def test_embeddings_of_a_byte_level_tokenizer_are_found_by_their_spaced_pieces():
    vocabulary = {p: i for i, p in enumerate(["<unk>", "good", "Ġgood", "Ġfine", "Ġfilm", "fine"])}
    backend = Backend(models.BPE(vocabulary, [], unk_token="<unk>", ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers.decoders import ByteLevel

    backend.decoder = ByteLevel()
    table = torch.tensor([[9.0, 9], [9, 9], [1, 0], [1, 0.1], [0, 1], [1, 0]])
    found = proposals(EmbeddingNeighbors(backend, table, 5), "a good film")
    assert found["good"] == ["fine", "film"]


# A masked language model


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert"])
def test_masked_words_are_what_a_plain_loop_finds(tmp_path, kind):
    model, pieces = masked_model(tmp_path / "m", kind=kind)
    texts = ["the good film.", "bad, the unknown film", "好人 Fine"]
    rest = by_word("rest", {"unknown": ("bad",)}, 4)
    masked = MaskedWords(tmp_path / "m", 4, rest.propose)
    splits = [splitter()(text) for text in texts]
    slots = [(i, j) for i, split in enumerate(splits) for j in range(len(split.words))]
    together = masked(splits, slots)
    for (i, j), candidates in zip(slots, together, strict=True):
        word = splits[i].words[j]
        assert candidates == masked([splits[i]], [(0, j)])[0]
        if word == "unknown":
            assert candidates == ["bad"]
            continue
        tokens = read_backend(tmp_path / "m").encode(texts[i])
        ids = [
            4 if token == word else n for token, n in zip(tokens.tokens, tokens.ids, strict=True)
        ]
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, tokens.tokens.index(word)]
        chinese = word in "好坏人"
        whole = [p for p in pieces if p.isalpha() and (p in "好坏人") == chinese]
        whole = [p for p in whole if p.lower() != word.lower()]
        assert candidates == sorted(whole, key=lambda p: -logits[pieces.index(p)])[:4]


def test_words_beyond_the_longest_input_are_proposed_by_the_fallback(tmp_path):
    masked_model(tmp_path / "m")
    rest = by_word("rest", {"good": ("fallback",)}, 4)
    text = "the " * 12 + "good"
    found = MaskedWords(tmp_path / "m", 4, rest.propose)([splitter()(text)], [(0, 0), (0, 12)])
    assert found[1] == ["fallback"]
    assert len(found[0]) == 4


def test_models_that_cannot_guess_words_are_refused(tmp_path, encoder):
    with pytest.raises(UnsupportedModelError, match=r"no masked-language-model head \(cls\."):
        MaskedWords(encoder, 3, by_word("rest", {}, 3).propose)
    masked_model(tmp_path / "m", mask=False)
    with pytest.raises(UnsupportedModelError, match=r"none of the tokens \[MASK\], <mask>"):
        MaskedWords(tmp_path / "m", 3, by_word("rest", {}, 3).propose)


# Word vectors


def vector_file(path, words, *, header=False, end="\n", size=5):
    random = np.random.default_rng(0)
    matrix = random.normal(size=(len(words), size)).round(3)
    lines = [f"{len(words)} {size}"] if header else []
    lines += [" ".join([w, *map(str, row)]) for w, row in zip(words, matrix, strict=True)]
    path.write_text(end.join(lines) + end)
    return matrix


@pytest.mark.parametrize(("header", "end"), [(False, "\n"), (True, " \n"), (True, "\r\n")])
def test_vector_neighbors_are_what_all_cosines_say(tmp_path, monkeypatch, header, end):
    words = [f"w{i}" for i in range(40)] + ["快递", "包裹", "的", "a b", ",", "邮件"]
    matrix = vector_file(tmp_path / "v.txt", words, header=header, end=end)
    monkeypatch.setattr(vectors_room, "_BLOCK", 7)
    table = vector_neighbors(tmp_path / "v.txt", ["W3, w17 w17 nowhere", "快递的"], 4)
    assert set(table) == {"w3", "w17", "快递", "的"}
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    for word, allowed in (("w3", words[:40]), ("w17", words[:40])):
        cosines = dict(zip(words, unit @ unit[words.index(word)], strict=True))
        near = sorted((w for w in allowed if w != word), key=cosines.get, reverse=True)
        assert list(table[word])[:4] == near[:4]
    assert set(table["快递"]) == {"包裹", "的", "邮件"}


def test_chinese_words_of_the_vectors_are_found_in_a_text(tmp_path):
    vector_file(tmp_path / "v.txt", ["快递", "包裹", "丢", "了"])
    settings = AugmentSettings(source="vectors", vectors=str(tmp_path / "v.txt"))
    source = open_source(settings, ["快递丢了"], None, "")
    assert source.known == {"快递"}
    made = vary(["快递丢了!"], source, copies=20, p=0.5, seed=0)[0]
    assert "包裹丢了!" in made


BAD_VECTORS = {
    "short line": ("a 1 2\nb 1\n", r"v\.txt line 2: 1 numbers after `b`; wanted 2"),
    "long line": ("a 1 2\nb 1 2 3\n", r"v\.txt line 2: 3 numbers after `b`; wanted 2"),
    "header lies": ("2 3\na 1 2\n", r"v\.txt line 2: 2 numbers after `a`; wanted 3"),
    "no number": ("a 1 2\nb 1 x\n", r"v\.txt line 2: `x` after `b`; wanted a finite number"),
    "nan": ("a 1 2\nb 1 nan\n", r"v\.txt line 2: `nan` after `b`; wanted a finite number"),
    "no vectors": ("a\n", r"v\.txt line 1: 0 numbers after `a`; wanted some"),
    "empty": ("", r"v\.txt is empty"),
    "missing": (None, r"v\.txt does not exist"),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_bad_vectors_are_named_by_their_line(tmp_path, case):
    content, message = BAD_VECTORS[case]
    if content is not None:
        (tmp_path / "v.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        vector_neighbors(tmp_path / "v.txt", ["a b"], 3)


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "v.txt").write_bytes(b"a 1 2\n\xe9 1 2\n")
    with pytest.raises(DataError, match=r"v\.txt line 2: byte 0xe9 at column 1 is not UTF-8"):
        vector_neighbors(tmp_path / "v.txt", ["a b"], 3)


# WordNet


PRINCETON = {
    "data.noun": "  1 license\n00000001 03 n 02 film 0 moving_picture 0 000 | a show\n"
    "00000002 03 n 02 film 1 Layer 0 000 | a sheet\n",
    "index.noun": "  1 license\nfilm n 2 0 2 0 00000002 00000001  \nlayer n 1 0 1 0 00000002  \n"
    "moving_picture n 1 0 1 0 00000001  \n",
    "data.adj": "00000003 00 a 03 good 0 fine(p) 0 well 0 000 | nice\n",
    "index.adj": "good a 1 0 1 0 00000003  \n",
    "data.verb": "00000004 00 v 02 film 0 shoot 0 000 01 + 02 00 | with a camera\n",
    "index.verb": "film v 1 0 1 0 00000004  \n",
}
TABLES = {
    "synsets.tsv": "synset\tpos\tmembers\nn1\tn\tfilm|moving picture\nn2\tn\tfilm|Layer\n"
    "a3\ta\tgood|fine|well\nv4\tv\tfilm|shoot\ni5\tn\tI|iodine\n",
    "entries.tsv": "lemma\tpos\tsynsets_in_sense_order\ni\tn\ti5\nfilm\tn\tn2|n1\nfilm\tv\tv4\ngood\ta\ta3\n",
}


def write_all(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize("files", [PRINCETON, TABLES], ids=["princeton", "tables"])
def test_synonyms_come_in_the_order_of_senses(tmp_path, files):
    found = read_wordnet(write_all(tmp_path / "wn", files))
    assert found["film"] == ("Layer", "shoot", "moving picture")
    assert found["good"] == ("fine", "well")
    assert "i" not in found


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("lemmas.tsv", "synset_pwn30\tlemma\n1-a\t高兴\n1-a\t快乐+的\n2-n\t包裹\n1-a\t乐\n"),
        ("wn-data-cmn.tab", "# Wordnet\tcmn\n1-a\tcmn:lemma\t高兴\n1-a\tcmn:lemma\t快乐+的\n"
         "2-n\tcmn:lemma\t包裹\n1-a\tcmn:def\t0\tx\n1-a\tcmn:lemma\t乐\n"),
    ],
)  # fmt: skip
def test_chinese_synonyms(tmp_path, name, lines):
    found = read_wordnet(write_all(tmp_path / "wn", {name: lines}))
    assert found == {"高兴": ("快乐", "乐"), "快乐": ("高兴", "乐"), "乐": ("高兴", "快乐")}
    source = by_word("wordnet", found, 15)
    assert source.known == {"高兴", "快乐"}
    assert set(vary(["我高兴!"], source, copies=20, p=1.0, seed=0)[0]) == {"我快乐!", "我乐!"}


BAD_WORDNETS = {
    "nothing": ({"x.txt": ""}, r"wn holds x\.txt; wanted a WordNet: data\.noun"),
    "data": (PRINCETON | {"data.noun": "0001 03 n zz\n"}, r"data\.noun line 1: `0001 03 n zz`; wanted offset"),
    "index": (PRINCETON | {"index.noun": "film n\n"}, r"index\.noun line 1: `film n`; wanted lemma"),
    "versions": (PRINCETON | {"index.noun": "film n 1 0 1 0 77\n"}, r"index\.noun line 1: data\.noun has no synset 77"),
    "half": ({"data.noun": PRINCETON["data.noun"]}, r"index\.noun does not exist"),
    "columns": (TABLES | {"synsets.tsv": "synset\tx\n"}, r"synsets\.tsv has no column `members`"),
    "short": (TABLES | {"entries.tsv": TABLES["entries.tsv"] + "x\n"}, r"entries\.tsv line 6: `x`; wanted 3 columns"),
    "unknown": (TABLES | {"entries.tsv": TABLES["entries.tsv"] + "x\tn\tn9\n"}, r"entries\.tsv line 6: synsets\.tsv has no synset `n9`"),
    "lemma": ({"lemmas.tsv": "1-n 词\n"}, r"lemmas\.tsv line 1: `1-n 词`; wanted a synset and a lemma"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_WORDNETS)
def test_bad_wordnets_are_named(tmp_path, case):
    files, message = BAD_WORDNETS[case]
    with pytest.raises(DataError, match=message):
        read_wordnet(write_all(tmp_path / "wn", files))


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "vectors"}, r"augment\.vectors is not set; name it with --vectors"),
        ({"source": "mlm"}, r"augment\.mlm is not set; name it with --mlm"),
        ({"source": "wordnet", "wordnet": "no/wn"}, r"augment\.wordnet is `no/wn`, which does not exist"),
        ({"source": "embeddings", "vectors": "v"}, r"which the source `embeddings` does not read; set augment\.source to vectors or mlm"),
    ],
)  # fmt: skip
def test_sources_without_what_they_read_are_refused_before_the_run(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        check_source(AugmentSettings(**settings))
    overrides = {f"augment.{name}": value for name, value in settings.items()}
    with pytest.raises(ConfigError, match=message):
        distill(recipes.load(None, overrides | {"out": str(tmp_path / "run")}), quiet)
    assert not (tmp_path / "run").exists()


# Labels


def test_rows_without_a_label_add_nothing_to_the_labels_loss(encoder):
    student = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3).eval()
    ids = torch.tensor([[2, 5, 3], [2, 6, 3], [2, 7, 3]])
    batch = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    stage = Stage(hard_labels=0.5)
    objective = Objective(student, stage, (), 32, regression=False)
    labels = torch.tensor([NO_LABEL, 2, NO_LABEL])
    found = objective(**batch, labels=labels)
    one = -torch.log_softmax(found["logits"][1], dim=0)[2]
    torch.testing.assert_close(found["parts"]["labels"], one / 3)
    torch.testing.assert_close(found["loss"], 0.5 * one / 3)
    assert objective(**batch, labels=torch.full((3,), NO_LABEL))["loss"] == 0
    whole = objective(**batch, labels=torch.tensor([0, 2, 1]))["parts"]["labels"]
    torch.testing.assert_close(
        whole, torch.nn.functional.cross_entropy(found["logits"], torch.tensor([0, 2, 1]))
    )


def test_targets_that_nobody_gave_add_nothing_either(encoder):
    student = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=1).eval()
    ids = torch.tensor([[2, 5, 3], [2, 6, 3]])
    batch = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    objective = Objective(student, Stage(hard_labels=1.0), (), 32, regression=True)
    found = objective(**batch, labels=torch.tensor([torch.nan, 4.0]))
    torch.testing.assert_close(found["loss"], (found["logits"][1, 0] - 4) ** 2 / 2)
    found["loss"].backward()
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_passages_have_no_label_to_learn_from(encoder, task):
    rows = Dataset.from_dict({"text": ["a the film story was it one"], "label": [1], "line": [1]})
    labels = ("x", "y") if task == "classification" else ()
    data = TaskData(rows, rows, None, task, labels, pair=False, name="t", metric="accuracy")
    tokens = tokenize(add_crops(rows, 5, seed=0), Tokenizer(encoder, max_length=32), data)
    first, *rest = tokens["labels"]
    assert first == 1
    assert rest
    missing = [x == NO_LABEL if task == "classification" else np.isnan(x) for x in rest]
    assert all(missing)


def fitted(encoder, folder, source, labels):
    """Write a teacher: random layers, and a head fitted to the train split by least squares."""
    rows = data_room.load(source).train
    names = {"num_labels": len(labels), "id2label": dict(enumerate(labels))}
    settings = names if labels else {"num_labels": 1, "problem_type": "regression"}
    model = AutoModelForSequenceClassification.from_pretrained(encoder, **settings).eval()
    for weight in (w for w in model.bert.parameters() if w.dim() == 2):
        weight.data *= 10
    tokenizer = Tokenizer(encoder, max_length=32)
    second = rows["text2"] if "text2" in rows.column_names else None
    batch = pad_batch(*tokenizer.encode(rows["text"], second), 0)
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    with torch.inference_mode():
        states = model.bert(**tensors).pooler_output.double()
    target = torch.tensor(rows["label"][:])
    wanted = torch.nn.functional.one_hot(target).double() if labels else target[:, None].double()
    inputs = torch.cat([states, torch.ones(len(states), 1)], dim=1)
    found = torch.linalg.lstsq(inputs, wanted, rcond=1e-2, driver="gelsd").solution.T.float()
    found *= 8 if labels else 1
    model.classifier.weight.data, model.classifier.bias.data = (
        found[:, :-1].clone(),
        found[:, -1].clone(),
    )
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((encoder / name).read_bytes())
    return str(folder)


@pytest.fixture
def taught(settings, encoder, table, tmp_path):
    """A recipe's overrides with a teacher that is any good."""
    teacher = fitted(encoder, tmp_path / "teacher", table, ["bad", "good", "odd"])
    return settings | {"teacher.model": teacher}


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_augment_writes_what_the_teacher_says_of_new_texts(taught, tmp_path, table):
    said = []
    more = taught | {"augment.copies": 3, "seed": 2}
    path = augment(recipes.load(None, more), tmp_path / "new" / "a.jsonl", said.append)
    rows = read(path)
    assert list(rows[0]) == ["text", "label", "score", "origin", "source", "copy"]
    texts = [row["text"] for row in rows]
    old = {r["text"] for n in ("train", "dev", "test") for r in read_table(table / f"{n}.csv")}
    assert len(set(texts)) == len(texts)
    assert not old & set(texts)
    logits = predict_logits(taught["teacher.model"], texts, max_length=32)
    sure = torch.softmax(torch.from_numpy(logits).double(), 1)
    assert [row["label"] for row in rows] == [["bad", "good", "odd"][i] for i in sure.argmax(1)]
    np.testing.assert_allclose([row["score"] for row in rows], sure.max(1).values, atol=1e-5)
    lines = {r["line"]: r["text"] for r in read_table(table / "train.csv")}
    for row in rows:
        assert len(row["text"].split()) == len(lines[row["origin"]].split())
        assert row["source"] == "embeddings"
        assert row["copy"] in (1, 2, 3)
    dropped = 96 * 3 - len(rows)
    assert (
        f"{len(rows)} texts made of 96 by embeddings; dropped: {dropped} duplicates or texts of "
        "the data, 0 for confidence below 0" in said
    )
    again = augment(recipes.load(None, more), tmp_path / "b.jsonl", said.append)
    assert again.read_bytes() == path.read_bytes()
    assert "read from" in said[-3]
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]


def test_doubted_texts_are_dropped_and_counted(taught, tmp_path):
    def made(limit, name):
        said = []
        more = taught | {"augment.copies": 2, "augment.min_confidence": limit}
        return read(augment(recipes.load(None, more), tmp_path / name, said.append)), said

    every, _ = made(0.0, "all.jsonl")
    limit = sorted(row["score"] for row in every)[len(every) // 2]
    some, said = made(limit, "some.jsonl")
    assert some == [row for row in every if row["score"] >= limit]
    assert 0 < len(some) < len(every)
    assert f"{len(every) - len(some)} for confidence below" in said[-2]
    with pytest.raises(ConfigError, match=r"0 texts made of 96 by embeddings; .* lower min_conf"):
        made(1.0, "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_augmented_tables_are_read_back(taught, tmp_path, suffix):
    more = recipes.load(None, taught | {"augment.copies": 1})
    rows = read(augment(more, tmp_path / "a.jsonl", quiet))
    found = read_table(augment(more, tmp_path / f"a.{suffix}", quiet))
    assert found["text"][:] == [row["text"] for row in rows]
    assert [float(s) for s in found["score"]] == [row["score"] for row in rows]
    assert found.column_names[:-1] == list(rows[0])


def test_augment_refuses_what_it_cannot_write_or_ask(taught, tmp_path, encoder):
    recipe = recipes.load(None, taught)
    with pytest.raises(ConfigError, match=r"--to is .*a\.xlsx; wanted a file that ends in \.jsonl"):
        augment(recipe, tmp_path / "a.xlsx", quiet)
    bare = recipes.load(None, taught | {"teacher.model": str(encoder)})
    with pytest.raises(ConfigError, match=r"no fine-tuned head to label texts with"):
        augment(bare, tmp_path / "a.csv", quiet)
    lines = [{"text": f"a\tfilm {i}", "label": "good" if i % 2 else "bad"} for i in range(9)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tabs = recipes.load(None, taught | {"data.source": str(tmp_path / "t.jsonl")})
    with pytest.raises(DataError, match=r"t line 1: the text holds a tab"):
        augment(tabs, tmp_path / "a.tsv", quiet)


def pairs(folder, *, number):
    """Write pairs of texts with a class or a number."""
    folder.mkdir()
    for split, count in (("train", 96), ("dev", 24)):
        rows = ["sentence1,sentence2,label"]
        for i in range(count):
            good = (i % 3 > 0) + (i % 2)
            label = good + 0.5 if number else ("bad", "good", "odd")[good]
            rows.append(
                f"{'fine' if i % 3 else 'awful'} film,{'great' if i % 2 else 'dull'} story {i},{label}"
            )
        (folder / f"{split}.csv").write_text("\n".join(rows))
    return str(folder)


def test_both_texts_of_a_pair_are_made_of_their_own(settings, encoder, tmp_path):
    """A chain of words: a copy made of a copy would hold the second next word."""
    source = pairs(tmp_path / "pairs", number=True)
    chain = ["fine awful sweet", "awful sweet fine", "great dull ugly", "dull ugly great"]
    files = {
        "lemmas.tsv": "".join(
            f"{n}\t{w}\n" for n, line in enumerate(chain) for w in line.split()[:2]
        )
    }
    folder = write_all(tmp_path / "wn", files)
    teacher = fitted(encoder, tmp_path / "teacher", source, [])
    more = settings | {"data.source": source, "teacher.model": teacher}
    more |= {"augment.source": "wordnet", "augment.wordnet": str(folder)}
    more |= {"augment.p": 1.0, "augment.copies": 4, "augment.min_confidence": 0.9}
    said = []
    rows = read(augment(recipes.load(None, more), tmp_path / "a.jsonl", said.append))
    assert list(rows[0]) == ["text", "text2", "label", "score", "origin", "source", "copy"]
    near = {
        "fine": {"awful"},
        "awful": {"fine", "sweet"},
        "great": {"dull"},
        "dull": {"great", "ugly"},
    }
    lines = {r["line"]: r for r in read_table(tmp_path / "pairs" / "train.csv")}
    for row in rows:
        for ours, theirs in (("text", "sentence1"), ("text2", "sentence2")):
            new, old = row[ours].split(), lines[row["origin"]][theirs].split()
            assert new[0] in near[old[0]]
            assert new[1:] == old[1:]
    assert all(row["score"] is None and isinstance(row["label"], float) for row in rows)
    assert "min_confidence is for classes: a regression's texts are all kept" in said


# Inside a run


def log(folder, stage):
    return json.loads((folder / "stages" / stage / "log.json").read_text())


def steps(folder, stage):
    return [row["step"] for row in log(folder, stage)][-1]


def test_a_run_learns_from_augmented_and_unlabelled_texts(taught, tmp_path):
    pool = tmp_path / "pool.txt"
    pool.write_text("\n".join(["a fine film", "", "the awful story", "one very blue story"]))
    more = taught | {
        "augment.source": "embeddings",
        "augment.copies": 1,
        "data.unlabelled": str(pool),
        "student.crops": 1,
        "prediction_stage.hard_labels": 0.5,
        "ship.baselines": True,
        "layer_stage.epochs": 1,
        "prediction_stage.epochs": 1,
    }
    said = []
    recipe = recipes.load(None, more)
    folder = distill(recipe, said.append)
    made = len(read(folder / "augmented.jsonl"))
    passages = next(int(line.split()[0]) for line in said if "passages" in line)
    count = 96 + passages + made + 3
    assert f"{made} augmented texts added for the teacher ({folder / 'augmented.jsonl'})" in said
    assert "3 unlabelled texts added for the teacher" in said
    assert any("unlabelled pool.txt: 3 texts; dropped: 1 empty" in line for line in said)
    assert steps(folder, "layer") == -(-count // 16)
    assert steps(folder, "prediction") == -(-count // 16)
    assert steps(folder, "label_only") == 2 * 96 / 16
    assert json.loads((folder / "run.json").read_text())["data"]["train"] == 96
    stamp = (folder / "augmented.jsonl").stat().st_mtime_ns
    distill(recipe, said.append)
    assert (folder / "augmented.jsonl").stat().st_mtime_ns == stamp


# Texts that nobody labelled


def load(source, *files, **settings):
    return data_room.load(source, unlabelled=files, **settings)


def test_unlabelled_files_of_every_format(table, tmp_path):
    texts = ['he said "no", once', "NA", "two\twords"]
    (tmp_path / "a.txt").write_bytes('\ufeffhe said "no", once\r\nNA\r\n \ntwo\twords'.encode())
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": t, "x": 1}) for t in texts))
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["id", "text"], *enumerate(texts)])
    Dataset.from_dict({"text": texts}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.tsv").write_text("text\n" + "\n".join(t.replace("\t", " ") for t in texts))
    for suffix in ("txt", "jsonl", "csv", "parquet"):
        found = load(table, tmp_path / f"a.{suffix}").unlabelled
        assert found["text"][:] == texts, suffix
    assert load(table, tmp_path / "a.txt").unlabelled["line"][:] == [1, 2, 4]
    both = load(table, tmp_path / "a.txt", tmp_path / "a.tsv").unlabelled
    assert both["text"][:] == [*texts, "two words"]


def test_unlabelled_texts_of_dev_and_test_are_dropped_and_said(table, tmp_path):
    held = [read_table(table / f"{name}.csv")["text"][0] for name in ("dev", "test", "train")]
    lines = [*held, " " + held[0], "new one", "new one", "", "  ", "new two"]
    (tmp_path / "p.txt").write_text("\n".join(lines))
    found = load(table, tmp_path / "p.txt")
    assert found.unlabelled["text"][:] == ["new one", "new two"]
    assert found.notes[-1] == (
        "unlabelled p.txt: 2 texts; dropped: 2 empty, 3 that stand in dev or test, 2 seen before"
    )
    (tmp_path / "q.txt").write_text(held[0])
    with pytest.raises(DataError, match=r"unlabelled q\.txt: 0 texts; .*; nothing is left"):
        load(table, tmp_path / "q.txt")


def test_unlabelled_rows_are_drawn_by_seed(table, tmp_path):
    (tmp_path / "p.txt").write_text("\n".join(f"text {i}" for i in range(50)))
    draw = [load(table, tmp_path / "p.txt", unlabelled_rows=9, seed=s) for s in (0, 0, 1)]
    first, again, other = (found.unlabelled["text"][:] for found in draw)
    assert len(first) == 9
    assert first == again != other
    assert draw[0].notes[-1].endswith("; 9 drawn, seed 0")
    with pytest.raises(DataError, match="unlabelled_rows is 9, but no unlabelled file is named"):
        load(table, unlabelled_rows=9)


def test_unlabelled_pairs_need_both_texts(tmp_path):
    source = pairs(tmp_path / "pairs", number=False)
    (tmp_path / "p.csv").write_text("sentence1,sentence2\na,b\nc,\n")
    (tmp_path / "o.jsonl").write_text('{"text": "d", "text2": "e"}\n')
    found = load(source, tmp_path / "p.csv", tmp_path / "o.jsonl").unlabelled
    assert [(row["text"], row["text2"]) for row in found] == [("a", "b"), ("d", "e")]
    (tmp_path / "p.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"p\.txt is plain text, the labelled data are pairs"):
        load(source, tmp_path / "p.txt")


BAD_POOLS = {
    "p.txt": (None, r"p\.txt does not exist; wanted a text file"),
    "p.log": ("x", r"p\.log ends in `\.log`; wanted one of \.txt, \.csv"),
    "q.txt": (b"fine\ncaf\xe9\n", r"q\.txt line 2: byte 0xe9 at column 4 is not UTF-8"),
    "p.csv": ("texte\na\n", r"p\.csv has no column `text`; it has texte; did you mean `texte`"),
    "q.csv": ("text,x\na,1\nb\n", r"q\.csv line 3: 1 columns"),
    "p.jsonl": ('{"text": "a"}\n{"text": null}\n', r"p\.jsonl line 2: column `text` is None"),
}


@pytest.mark.parametrize("name", BAD_POOLS)
def test_bad_unlabelled_files_are_named(table, tmp_path, name):
    content, message = BAD_POOLS[name]
    if content is not None:
        raw = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=message):
        load(table, tmp_path / name)


def test_embeddings_of_the_teacher_know_its_words(encoder):
    """The words of the fixtures are pieces, so that the tests above replace them."""
    size = make_tokenizer(encoder)
    table = torch.randn(size, 8)
    words = [*FILLER, *(w for ws in WORDS.values() for w in ws)]
    found = proposals(EmbeddingNeighbors(read_backend(encoder), table, 5), " ".join(words))
    assert all(len(candidates) == 5 for candidates in found.values())
