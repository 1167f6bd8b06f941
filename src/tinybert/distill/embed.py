"""A sentence encoder learns its teacher's vectors of plain texts."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor, nn

from tinybert.artifact import write_atomic
from tinybert.baselines import cosines, vectorizer
from tinybert.distill.folder import hold_texts, open_folder, versions
from tinybert.distill.infer import load_classifier, longest_input, resolve, save_tokenizer
from tinybert.distill.processes import first_alone, spoken_once
from tinybert.distill.sentence import (
    SentenceEncoder,
    encode,
    pooling_of,
    save_encoder,
)
from tinybert.distill.sentence_recipe import SentenceRecipe
from tinybert.distill.start import start_student
from tinybert.distill.trainer import run_stage, schedule_of
from tinybert.errors import ConfigError, DataError
from tinybert.labels import encode as read_numbers
from tinybert.layout import layout_of
from tinybert.metrics import compute
from tinybert.sources import Columns, find_columns
from tinybert.tables import read_table
from tinybert.text import Tokenizer, pad_batch
from tinybert.unlabelled import read_unlabelled

__all__ = ["Pairs", "embed", "likeness", "read_pairs"]

Say = Callable[[str], None]
Vectors = npt.NDArray[np.float32]
Pairs = tuple[list[str], list[str], npt.NDArray[np.float64]]


def embed(recipe: SentenceRecipe, say: Say = print) -> Path:
    """Distil a sentence encoder; called again, it goes on where it stopped.

    Args:
        recipe: Every setting.
        say: Told of each step.

    Returns:
        The run's folder: ``student``, which sentence-transformers reads too, ``stages``,
        ``run.json``, ``recipe.toml``.

    Raises:
        TinyBertError: Texts, teacher or settings cannot be used; before any training starts.

    Source: Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual",
    section 2: the student's vector against the teacher's, for plain texts.
    Differs: vectors have length 1, so that the squared distance is 2·(1 - cosine).
    """
    say = spoken_once(say)
    texts, held = _texts(recipe, say)
    pairs = read_pairs(recipe.data.dev) if recipe.data.dev is not None else None
    source = resolve(recipe.teacher)
    classifier = load_classifier(source)
    layout = layout_of(classifier.config)
    pooling = recipe.pooling or pooling_of(source)
    _check(recipe, classifier.config)
    run = open_folder(recipe)
    start = start_student(recipe.student, classifier, recipe.seed)
    hold_texts(run, texts, held)
    with first_alone() as first:
        if first:
            save_tokenizer(source, run / "stages" / "tokenizer")
    tokenizer = Tokenizer(run / "stages" / "tokenizer", max_length=recipe.max_length)
    teacher = SentenceEncoder(layout.encoder(classifier), pooling)  # type: ignore[arg-type]
    student = SentenceEncoder(layout.encoder(start), pooling)  # type: ignore[arg-type]
    quality = {"start": likeness(student, tokenizer, pairs)} if pairs else {}
    if pairs:
        quality["tfidf"] = _tfidf_likeness(texts, pairs)
    started = time.monotonic()
    learned = _teacher_vectors(teacher, tokenizer, texts, run / "stages" / "teacher.npy", say)
    wanted = encode(teacher, tokenizer, held)
    run_stage(
        run / "stages" / "vectors",
        _Objective(student),
        _rows(texts, learned, tokenizer),
        _Collator(tokenizer.pad_id),
        schedule_of(recipe.training, recipe),
        evaluate=_measure(student, tokenizer, held, wanted, pairs),
        keep_best="spearman" if pairs else "cosine",
    )
    student.eval()
    figures = _measure(student, tokenizer, held, wanted, pairs)()
    if pairs:
        quality |= {"teacher": likeness(teacher, tokenizer, pairs), "student": figures["spearman"]}
        shown = ", ".join(f"{name} {value:.3f}" for name, value in quality.items())
        say(f"Spearman's correlation on the dev pairs: {shown}")
    with first_alone() as first:
        if first:
            save_encoder(student, source, run / "student")
            _write_run(recipe, student, len(texts), figures, quality, run, started)
    say(f"student {run / 'student'}: cosine with the teacher {figures['cosine']:.4f}")
    return run


def read_pairs(path: str | Path) -> Pairs:
    """Read pairs of texts with a number that grows with their likeness.

    Raises:
        DataError: The file cannot be read, has no two text columns, or a number is none.
    """
    table = read_table(path)
    columns = find_columns({"train": table}, str(path))
    if columns.text2 is None:
        raise DataError(
            f"{path} has one column of texts; wanted pairs: sentence1, sentence2, score"
        )
    scores = Dataset.from_dict({"label": table[columns.label], "line": table["line"]})
    scores = read_numbers(
        scores, [], "regression", origin=str(path), name="dev", separator="", notes=[]
    )
    texts = list(table[columns.text]), list(table[columns.text2])
    return *texts, np.asarray(scores["label"], dtype=np.float64)


def likeness(model: SentenceEncoder, tokenizer: Tokenizer, pairs: Pairs) -> float:
    """Return Spearman's correlation of the cosines of pairs with their numbers."""
    first, second, scores = pairs
    near = (encode(model, tokenizer, first) * encode(model, tokenizer, second)).sum(axis=1)
    return compute("regression", near, scores)["spearman"]


def _tfidf_likeness(texts: list[str], pairs: Pairs) -> float:
    """Return the same correlation of the cosines of TF-IDF vectors, fitted to the texts."""
    first, second, scores = pairs
    vectors = vectorizer(texts).fit(texts)
    return compute("regression", cosines(vectors, first, second)[:, 0], scores)["spearman"]


class _Objective(nn.Module):
    """L = mean(1 - cos(student, teacher)) over a batch."""

    def __init__(self, student: SentenceEncoder) -> None:
        super().__init__()
        self.student = student

    def forward(self, vectors: Tensor, **inputs: Tensor) -> Mapping[str, Any]:
        """Return the loss.

        Args:
            vectors: The teacher's, float (B, E), of length 1.
            inputs: ``input_ids``, ``attention_mask``, ``token_type_ids``, int64 (B, T).
        """
        own = self.student(**inputs).float()
        loss = (1 - (own * vectors).sum(dim=-1)).mean()
        return {"loss": loss, "parts": {"vector": loss.detach()}}


class _Collator:
    """Turns rows into one padded batch of tensors."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        ids, types = ([row[name] for row in rows] for name in ("input_ids", "token_type_ids"))
        tensors = {k: torch.from_numpy(v) for k, v in pad_batch(ids, types, self._pad_id).items()}
        stacked = np.stack([np.asarray(row["vectors"], dtype=np.float32) for row in rows])
        return tensors | {"vectors": torch.from_numpy(stacked)}


def _texts(recipe: SentenceRecipe, say: Say) -> tuple[list[str], list[str]]:
    """Return the texts to learn from and those held out."""
    settings = recipe.data
    if not settings.texts:
        raise ConfigError("no texts are named; wanted --text FILE")
    columns = Columns(settings.column, None, "")
    found, notes = read_unlabelled(
        settings.texts, columns, held=(), known=(), rows=settings.rows, seed=recipe.seed
    )
    for note in notes:
        say(note)
    texts = list(found["text"])
    if len(texts) <= settings.held_out:
        raise DataError(
            f"{len(texts):,} texts, {settings.held_out} are held out for measuring; name more text "
            "or lower data.held_out"
        )
    picked = np.random.default_rng(recipe.seed).permutation(len(texts))
    held = set(picked[: settings.held_out].tolist())
    return [t for i, t in enumerate(texts) if i not in held], [texts[i] for i in sorted(held)]


def _check(recipe: SentenceRecipe, config: Any) -> None:
    """Refuse settings that do not fit the teacher."""
    problems = []
    width, longest = int(config.hidden_size), longest_input(config)
    if recipe.student.hidden not in (None, width):
        problems.append(
            f"student.hidden is {recipe.student.hidden}, its vectors have {width} numbers; wanted "
            "the same width and fewer layers"
        )
    if recipe.max_length > longest:
        problems.append(f"max_length is {recipe.max_length}, it takes {longest} tokens")
    if problems:
        raise ConfigError(f"teacher {recipe.teacher} cannot be used: {'; '.join(problems)}")


def _teacher_vectors(
    teacher: SentenceEncoder, tokenizer: Tokenizer, texts: list[str], path: Path, say: Say
) -> Vectors:
    """Return the teacher's vectors, computed once a run."""
    with first_alone() as first:
        if first and not path.is_file():
            say(f"teacher vectors of {len(texts):,} texts, once")
            teacher.to("cuda" if torch.cuda.is_available() else "cpu")
            partial = path.with_name(f".{path.name}.partial.npy")
            np.save(partial, encode(teacher, tokenizer, texts))
            partial.replace(path)
    found: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _rows(texts: list[str], vectors: Vectors, tokenizer: Tokenizer) -> Dataset:
    """Return the rows of the training."""
    ids, types = tokenizer.encode(texts, None)
    columns = {
        "input_ids": ids,
        "token_type_ids": types,
        "length": [len(row) for row in ids],
        "vectors": list(vectors),
    }
    return Dataset.from_dict(columns).with_format("numpy")


def _measure(
    student: SentenceEncoder,
    tokenizer: Tokenizer,
    held: list[str],
    wanted: Vectors,
    pairs: Pairs | None,
) -> Callable[[], dict[str, float]]:
    """Return a function that measures the student on texts it does not learn from."""

    def measure() -> dict[str, float]:
        near = (encode(student, tokenizer, held) * wanted).sum(axis=1)
        found = {"cosine": float(near.mean())}
        return found | ({"spearman": likeness(student, tokenizer, pairs)} if pairs else {})

    return measure


def _write_run(
    recipe: SentenceRecipe,
    student: SentenceEncoder,
    count: int,
    figures: dict[str, float],
    quality: dict[str, float],
    run: Path,
    started: float,
) -> None:
    """Write what the run was and found."""
    about = {
        "task": "embedding",
        "teacher": recipe.teacher,
        "pooling": student.pooling,
        "width": student.width,
        "student_layers": int(student.encoder.config.num_hidden_layers),
        "max_length": recipe.max_length,
        "texts": count,
        "held_out": figures,
        "spearman": quality,
        "seconds": time.monotonic() - started,
        "seed": recipe.seed,
        "versions": versions(),
    }
    write_atomic(
        run / "run.json", (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    )
