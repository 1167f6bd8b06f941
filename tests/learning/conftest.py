"""A tiny teacher folder and a tiny labelled table, both made in the test."""

import gc
import json
import multiprocessing
import random
import signal
import time

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = {
    "good": ("fine", "great", "lovely", "superb", "sweet"),
    "bad": ("awful", "broken", "cruel", "dull", "ugly"),
    "odd": ("blue", "seven", "north", "quartz", "violin"),
}
FILLER = ("a", "the", "film", "story", "very", "and", "was", "it", "this", "one")


@pytest.fixture(autouse=True, scope="session")
def _few_objects_to_collect():
    """Keep what is imported out of the collections that end each training."""
    import tinybert.distill.task  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYBERT_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)


def make_tokenizer(folder, pad="[PAD]"):
    pieces = [pad, "[UNK]", "[CLS]", "[SEP]", *FILLER, *(w for ws in WORDS.values() for w in ws)]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "BertTokenizer",
        "pad_token": pad,
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(pieces)


@pytest.fixture
def write_tokenizer():
    return make_tokenizer


def rows(count, seed=0):
    pick = random.Random(seed)
    made = []
    for i in range(count):
        label = list(WORDS)[i % 3]
        words = [pick.choice(FILLER) for _ in range(pick.randint(2, 9))]
        words.insert(pick.randint(0, len(words)), pick.choice(WORDS[label]))
        made.append((" ".join(words), label))
    return made


@pytest.fixture(scope="session")
def start():
    """Start a function of tests/trainings.py in a process that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainings"])

    def start(function, *arguments):
        process = context.Process(target=function, args=arguments)
        process.start()
        return process

    return start


@pytest.fixture
def kill_at_checkpoint(start):
    """Run a training in a process and kill it at the first checkpoint in a stage's folder."""

    def kill(function, settings, folder):
        process = start(function, settings)
        deadline = time.monotonic() + 120
        while not list(folder.glob("checkpoint-*/trainer_state.json")):
            assert process.is_alive(), "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (folder / "log.json").exists(), "the stage was over before it was killed"

    return kill


@pytest.fixture
def untimed(monkeypatch):
    """Give every timed model the same figures, so that a report starts no processes."""
    from tinybert.ship import figures
    from tinybert.ship.measure import Figures

    cost = Figures(0.5, 100.0, 3.0, 5.0, 90.0, 200.0, 1, (0.5, 0.5))
    names = ("teacher", "student", "artifact")
    monkeypatch.setattr(figures, "measure", lambda *_, **__: dict.fromkeys(names, cost))


@pytest.fixture
def labelled_rows():
    return rows


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "table")


def write_table(folder):
    folder.mkdir()
    for split, count, seed in (("train", 96, 1), ("dev", 30, 2), ("test", 30, 3)):
        lines = ["text,label", *(f"{text},{label}" for text, label in rows(count, seed))]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def encoder(tmp_path):
    """A bare BERT encoder folder, 4 layers of width 32."""
    return write_encoder(tmp_path / "encoder")


def write_encoder(folder):
    from transformers import BertConfig, BertModel

    size = make_tokenizer(folder)
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def wide_encoder(tmp_path):
    """A bare BERT encoder folder of width 128: wide enough to be quantized."""
    from transformers import BertConfig, BertModel

    def write(layers, spread=0.02):
        folder = tmp_path / "wide"
        config = BertConfig(
            vocab_size=make_tokenizer(folder),
            hidden_size=128,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=40,
            initializer_range=spread,
        )
        BertModel(config).save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def settings(table, encoder, tmp_path):
    """Overrides of a recipe that teaches a teacher and trains a student in seconds."""
    return overrides(table, encoder, tmp_path / "run")


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory):
    """A teacher that knows the table's labels, taught once for all tests that only read it."""
    from tinybert.distill import recipe
    from tinybert.distill.task import teach

    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    table, encoder = write_table(folder / "table"), write_encoder(folder / "encoder")
    given = overrides(table, encoder, folder / "run")
    return teach(recipe.load(None, given), lambda _: None)


@pytest.fixture
def taught(table, teacher_folder, tmp_path):
    """Overrides of a recipe whose teacher is taught already."""
    return overrides(table, teacher_folder, tmp_path / "run")


@pytest.fixture(scope="session")
def taught_in(teacher_folder):
    """Return a function that writes the table into a folder and returns such overrides for it."""
    return lambda folder: overrides(write_table(folder / "table"), teacher_folder, folder / "run")


def overrides(table, teacher, out):
    return {
        "out": str(out),
        "max_length": 32,
        "precision": "fp32",
        "data.source": str(table),
        "teacher.model": str(teacher),
        "teacher.epochs": 12,
        "teacher.learning_rate": 2e-3,
        "teacher.batch_size": 16,
        "student.layers": 2,
        "layer_stage.epochs": 2,
        "layer_stage.batch_size": 16,
        "layer_stage.learning_rate": 1e-3,
        "prediction_stage.epochs": 4,
        "prediction_stage.batch_size": 16,
        "prediction_stage.learning_rate": 1e-3,
        "ship.baselines": False,
    }


@pytest.fixture
def pairs():
    """Write a folder of pairs of texts, with a class or a number."""

    def write(folder, *, number):
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

    return write
