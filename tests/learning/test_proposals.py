"""The four sources of words for new texts, against plain loops; bad files are named."""

import gzip
import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
)

from tinybert.distill import vectors as vectors_room
from tinybert.distill.augment import vary
from tinybert.distill.pieces import EmbeddingNeighbors, MaskedWords, read_backend
from tinybert.distill.proposals import by_word, open_source
from tinybert.distill.recipe import AugmentSettings
from tinybert.distill.vectors import vector_neighbors
from tinybert.distill.wordnet import read_wordnet
from tinybert.distill.words import splitter
from tinybert.errors import DataError, UnsupportedModelError

PIECES = ("good", "fine", "bad", "film", "the", "un", "##known", "Fine", "好", "坏", "人", ".", ",")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


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


def test_vectors_with_tabs_and_packed_ones(tmp_path):
    vector_file(tmp_path / "v.txt", ["a", "b", "c"])
    lines = (tmp_path / "v.txt").read_text()
    with gzip.open(tmp_path / "t.txt.gz", "wt") as file:
        file.write(lines.replace(" ", "\t", 1).replace(" ", "\t"))
    wanted = vector_neighbors(tmp_path / "v.txt", ["a"], 2)
    assert vector_neighbors(tmp_path / "t.txt.gz", ["a"], 2) == wanted
    assert set(wanted["a"]) == {"b", "c"}


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


def test_embeddings_of_the_teacher_know_its_words(encoder):
    """The words of the fixtures are pieces, so that the tests above replace them."""
    backend = read_backend(encoder)
    words = [piece for piece in backend.get_vocab() if piece.isalpha()]
    table = torch.randn(backend.get_vocab_size(), 8)
    found = proposals(EmbeddingNeighbors(backend, table, 5), " ".join(words))
    assert len(found) == 25
    assert all(len(candidates) == 5 for candidates in found.values())
