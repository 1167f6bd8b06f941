"""The own engine answers as ONNX Runtime does, with the same bits in whatever way it runs."""

import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tinybert
from tiny_models import WORDS
from tinybert.artifact import INT8, hash_file, read_card, write_card
from tinybert.engine import Engine, UnknownGraphError, best_isa, is_built
from tinybert.engine.encoder import find_encoder
from tinybert.engine.graph import read_graph
from tinybert.engine.parts import checked
from tinybert.errors import ArtifactError, ConfigError
from tinybert.runtime.engines import engine_name

ROOT = Path(__file__).parents[2]
needs_engine = pytest.mark.skipif(not is_built(), reason="the engine was not built: no compiler")


def texts(count, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(0, 40))) for _ in range(count)]


def sequences(count, longest, seed=0):
    random = np.random.default_rng(seed)
    ids = [random.integers(0, 16, random.integers(1, longest + 1)).tolist() for _ in range(count)]
    return ids, [[int(t > len(row) // 2) for t in range(len(row))] for row in ids]


def flat(answers):
    return np.concatenate([np.ravel(answer) for answer in answers])


@needs_engine
def test_it_answers_as_onnx_runtime(artifact):
    found = texts(60)
    own = tinybert.load(artifact, engine="native", threads=1)
    other = tinybert.load(artifact, engine="onnx", threads=1)
    assert own.engine == f"native ({best_isa()})"
    assert other.engine == "onnx"
    logits, wanted = own.logits(found), other.logits(found)
    assert logits.shape == wanted.shape
    # A sum that ends on another last bit may once in a while cross a rounding edge of int8.
    moved = np.abs(logits - wanted).max(axis=1)
    assert np.median(moved) < 1e-5
    assert moved.max() < 0.1 * np.ptp(wanted) > 0.01
    if own.card.labels:
        assert (logits.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.95


@needs_engine
def test_scores_far_below_zero(narrow, tmp_path):
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize

    model = AutoModelForSequenceClassification.from_pretrained(narrow.parent / "model")
    with torch.no_grad():
        for layer in model.electra.encoder.layer:
            layer.attention.self.query.bias.fill_(8.0)
            layer.attention.self.key.bias.fill_(-8.0)
    model.save_pretrained(tmp_path / "model")
    shutil.copyfile(narrow.parent / "model/tokenizer.json", tmp_path / "model/tokenizer.json")
    export(tmp_path / "model", tmp_path / "artifact", max_length=32)
    quantize(tmp_path / "artifact")
    own, other = (tinybert.load(tmp_path / "artifact", engine=e) for e in ("native", "onnx"))
    moved = np.abs(own.logits(texts(30)) - other.logits(texts(30))).max(axis=1)
    assert np.median(moved) < 1e-4


@needs_engine
@pytest.mark.parametrize("name", ["roberta", "xlm"])
def test_positions_past_padding(name, request):
    """A token of padding within a text takes no place; ONNX Runtime and the engine agree on it."""
    folder = request.getfixturevalue(name)
    engine = Engine(folder / INT8, max_length=99)
    assert engine.encoder.padding == int(name == "roberta")
    assert engine.longest == 32
    assert (engine.encoder.segments is None) == (name == "roberta")
    session = ort.InferenceSession(folder / INT8)
    names = [node.name for node in session.get_inputs()]
    moved = []
    for seed in range(15):
        ids, _ = sequences(1, 32, seed)
        ids[0][len(ids[0]) // 2] = engine.encoder.padding
        types = [[0] * len(ids[0])]
        whole = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        (wanted,) = session.run(None, {n: np.asarray(whole[n], dtype=np.int64) for n in names})
        moved.append(np.abs(engine.run(ids, types) - wanted).max())
    assert np.median(moved) < 1e-5


@needs_engine
def test_the_same_bits_in_every_way(artifact):
    longest = read_card(artifact).max_length
    ids, types = sequences(30, longest)
    best = Engine(artifact / INT8, max_length=longest)
    wanted = flat(best.run(ids, types))
    assert np.isfinite(wanted).all()
    alone = [best.run([row], [own])[0] for row, own in zip(ids, types, strict=True)]
    assert np.array_equal(flat(alone), wanted)
    for threads in (2, 3, 50):
        assert np.array_equal(flat(best.run(ids, types, threads)), wanted)
    for isa in ("plain", "avx2", "avx512", "neon"):
        try:
            other = Engine(artifact / INT8, max_length=longest, isa=isa)
        except ArtifactError:
            assert isa != "plain"
            continue
        assert np.array_equal(flat(other.run(ids[:9], types[:9])), wanted[: len(flat(alone[:9]))])


@needs_engine
def test_weights_whose_pairs_overflow_16_bits(shipped, tmp_path):
    """On AVX2 their products are widened: 255·(127 + 127) does not fit the quick instruction."""
    graph = read_graph(shipped / INT8)
    content = bytearray((shipped / INT8).read_bytes())
    for weight in graph.weights.values():
        if weight.dtype == np.int8:
            at = content.index(weight.tobytes())
            content[at : at + weight.size] = np.where(weight < 0, -127, 127).astype("i1").tobytes()
    (tmp_path / "model.onnx").write_bytes(content)
    ids, types = sequences(5, 32)
    answers = [
        Engine(tmp_path / "model.onnx", max_length=32, isa=isa).run(ids, types)
        for isa in ("plain", best_isa())
    ]
    assert np.array_equal(*answers)
    if best_isa() in ("avx2", "avx512"):
        wide = Engine(tmp_path / "model.onnx", max_length=32, isa="avx2").run(ids, types)
        assert np.array_equal(wide, answers[0])


@needs_engine
def test_sequences_of_any_kind(shipped):
    engine = Engine(shipped / INT8, max_length=32)
    ids, types = sequences(5, 32)
    wanted = engine.run(ids, types)
    for kind in (tuple, np.array):
        assert (engine.run([kind(row) for row in ids], [kind(t) for t in types]) == wanted).all()
    assert engine.run([], []).shape == (0, engine.width)


@needs_engine
def test_many_threads_share_it(shipped):
    engine = Engine(shipped / INT8, max_length=32)
    jobs = [sequences(20, 32, seed) for seed in range(8)] * 3
    wanted = [engine.run(*job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: engine.run(*job, 2), jobs))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@needs_engine
@pytest.mark.parametrize(
    ("ids", "types", "message"),
    [
        ([[2, 3], [2, 16]], [[0, 0], [0, 0]], "sequence 1 has a token id that the model has no"),
        ([[-1]], [[0]], "sequence 0 has a token id"),
        ([[2**40]], [[0]], "a token id that the model has no row for"),
        ([[2, 3]], [[0, 2]], "sequence 0 has a segment id"),
        ([[2], []], [[0], []], "sequence 1 has no tokens, or more than the model takes"),
        ([[2] * 33], [[0] * 33], "sequence 0 has no tokens, or more"),
        ([[2, 3]], [[0]], "ids and segment ids differ in length"),
    ],
)
def test_ids_and_lengths_out_of_range(shipped, ids, types, message):
    with pytest.raises(ArtifactError, match=message):
        Engine(shipped / INT8, max_length=99).run(ids, types)


@needs_engine
def test_damaged_files_are_refused_or_answer(shipped, tmp_path):
    """Whatever a file holds: an error of ours, or numbers; never a crash."""
    content = (shipped / INT8).read_bytes()
    random = np.random.default_rng(0)
    ids, types = sequences(2, 8)
    refused = 0
    for round_ in range(150):
        damaged = bytearray(content)
        if round_ % 3 == 0:
            del damaged[random.integers(len(damaged)) :]
        else:
            # Half of them near the ends, where names, shapes and nodes are.
            high = len(damaged) if round_ % 3 == 1 else 30_000
            for at in random.integers(0, high, 8):
                damaged[-at - 1] = random.integers(256)
        path = tmp_path / "model.onnx"
        path.write_bytes(damaged)
        try:
            answers = Engine(path, max_length=32).run(ids, types)
        except (ArtifactError, UnknownGraphError):
            refused += 1
        else:
            assert answers.shape == (2, 3)
    assert refused > 50


def test_who_runs_it(shipped, monkeypatch):
    quick = is_built() and best_isa() != "plain"
    assert tinybert.load(shipped).engine.startswith("native" if quick else "onnx")
    assert tinybert.load(shipped, precision="fp32").engine == "onnx"
    monkeypatch.setenv("TINYBERT_ENGINE", "onnx")
    assert tinybert.load(shipped).engine == "onnx"
    assert engine_name(shipped, INT8, max_length=32) == "onnx"
    if is_built():
        assert tinybert.load(shipped, engine="native").engine.startswith("native")
        monkeypatch.setenv("TINYBERT_ISA", "plain")
        monkeypatch.setenv("TINYBERT_ENGINE", "native")
        assert tinybert.load(shipped).engine == "native (plain)"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"engine": "torch"}, "engine is `torch`; wanted one of auto, native, onnx"),
        ({"engine": "native", "precision": "fp32"}, "engine native cannot run .*int8 models only"),
    ],
)
def test_engines_that_are_not_there(shipped, setting, message):
    with pytest.raises(ConfigError, match=message):
        tinybert.load(shipped, **setting)


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """The engine built for 64-bit ARM, emulated (``make arm``)."""
    for package in ("unicorn", "ziglang"):
        pytest.importorskip(package)
    from arm_emulator import Library

    extension = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    (about,) = extension["ext-modules"]
    path = tmp_path_factory.mktemp("arm") / "engine.so"
    compiler = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-musl"]
    sources = [str(ROOT / source) for source in about["sources"]]
    given = [*about["extra-compile-args"], "-shared", "-fPIC", "-o", str(path), *sources]
    subprocess.run([*compiler, *given], check=True)
    return Library(path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs_engine
def test_the_same_bits_on_arm(artifact, arm, monkeypatch):
    longest = read_card(artifact).max_length
    ids, types = sequences(9, longest)
    wanted = flat(Engine(artifact / INT8, max_length=longest).run(ids, types))
    monkeypatch.setattr("tinybert.engine.native._library", lambda: arm)
    assert best_isa() == "neon"
    for isa in ("plain", "neon"):
        other = Engine(artifact / INT8, max_length=longest, isa=isa)
        assert np.array_equal(flat(other.run(ids, types)), wanted)
    with pytest.raises(ArtifactError, match="no avx2 on this processor"):
        Engine(artifact / INT8, max_length=longest, isa="avx2")


@needs_engine
def test_an_instruction_set_that_is_not_there(shipped, monkeypatch):
    monkeypatch.setenv("TINYBERT_ISA", "sse9")
    with pytest.raises(ConfigError, match="TINYBERT_ISA is `sse9`; this processor has plain"):
        tinybert.load(shipped)


@needs_engine
def test_a_model_that_it_does_not_know(shipped, folder):
    shutil.copy(folder / "onnx/model.onnx", folder / INT8)
    card = read_card(shipped)
    write_card(folder, replace(card, files=card.files | {INT8: hash_file(folder / INT8)}))
    assert tinybert.load(folder).engine == "onnx"
    with pytest.raises(ConfigError, match=r"cannot run .*: it does not know .*; take `onnx`"):
        tinybert.load(folder, engine="native")


def cut(matrix, rows, columns):
    """Return a matrix with its first rows and columns alone."""
    sides = {name: getattr(matrix, name)[:columns] for name in ("bias", "scale", "total")}
    return replace(matrix, values=matrix.values[:rows, :columns], **sides)


@pytest.mark.parametrize(
    ("width", "mixed", "inner", "message"),
    [
        (38, 38, 200, None),
        (19, 38, 16, None),
        (37, 38, 200, "heads of 37 numbers in 38 of 152"),
        (0, 38, 200, "heads of 0 numbers in 38 of 152"),
        (76, 38, 200, "heads of 76 numbers in 38 of 152"),
        (4, 8, 200, "states of 8 numbers"),
        (38, 38, 8, "states of 8 numbers"),
    ],
)
def test_layers_of_any_width_that_the_engine_can_read(narrow, width, mixed, inner, message):
    encoder = find_encoder(read_graph(narrow / INT8))
    layer = encoder.layers[1]
    sides = {name: cut(getattr(layer, name), 152, mixed) for name in ("query", "key", "value")}
    sides |= {"out": cut(layer.out, mixed, 152), "inner": cut(layer.inner, 152, inner)}
    small = replace(layer, **sides, outer=cut(layer.outer, inner, 152))
    found = replace(encoder, layers=[small, small], head_width=width)
    if message is None:
        assert checked(found) is found
        return
    with pytest.raises(UnknownGraphError, match=message):
        checked(found)
