"""More text for the teacher to label: words replaced (Algorithm 1), texts paired anew."""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from datasets import Dataset, concatenate_datasets
from tqdm import tqdm
from transformers import PreTrainedModel

from tinybert.artifact import VALUED
from tinybert.audit import row_keys
from tinybert.data import TaskData
from tinybert.distill.infer import load_classifier, resolve
from tinybert.distill.label import check_target, label_rows, write_rows
from tinybert.distill.pairings import near_pairs
from tinybert.distill.proposals import Source, check_source, open_source
from tinybert.distill.recipe import AugmentSettings, Recipe
from tinybert.distill.teach import check_teacher, has_head, save_model
from tinybert.distill.texts import load_data, refuse_new_texts
from tinybert.distill.trainer import use_bf16
from tinybert.distill.words import Split, like, splitter
from tinybert.errors import ConfigError
from tinybert.text import Tokenizer

__all__ = ["augment", "augmented_rows", "vary"]

Say = Callable[[str], None]

_CHUNK = 64


def augment(recipe: Recipe, to: str | Path, say: Say = print) -> Path:
    """Write new texts into a file: made of the training texts and labelled by the teacher.

    Args:
        recipe: Sections ``data``, ``teacher.model`` (fine-tuned) and ``augment`` are used; a source
            of ``none`` means ``embeddings``, unless ``pairs`` are wanted.
        to: A file that ends in .jsonl, .csv or .tsv. Its columns: ``text``, ``text2`` (pairs only),
            ``label`` and ``score`` (the teacher's answer and its probability), ``origin`` (line of
            the row it was made of; of a new pair its first text's), ``source``, ``copy``.
        say: Told of each step, and at the end how many rows were made and dropped.

    Returns:
        The file.

    Raises:
        TinyBertError: Data, teacher, source or file cannot be used, or no new text came out.
    """
    settings = recipe.augment
    if not settings.wanted:
        settings = settings.model_copy(update={"source": "embeddings"})
    check_source(settings)
    data = load_data(recipe, say)
    refuse_new_texts(recipe.model_copy(update={"augment": settings}), data.task)
    check_target(to, data)
    model = recipe.teacher.model
    if not has_head(model):
        raise ConfigError(
            f"teacher {model} has no fine-tuned head to label texts with; "
            "fine-tune it first (`tinybert teach`)"
        )
    teacher = load_classifier(model)
    folder = resolve(model)
    with TemporaryDirectory() as spare:
        if not (Path(folder) / "tokenizer.json").is_file():
            folder = str(Path(spare) / "teacher")
            save_model(teacher, model, folder)
        tokenizer = Tokenizer(folder, max_length=recipe.max_length)
        check_teacher(teacher, model, tokenizer, data, recipe.max_length)
        rows = augmented_rows(settings, data, teacher, folder, tokenizer, recipe, say)
    write_rows(rows, to)
    say(f"augmented texts: {to}")
    return Path(to)


def augmented_rows(
    settings: AugmentSettings,
    data: TaskData,
    teacher: PreTrainedModel,
    folder: str | Path,
    tokenizer: Tokenizer,
    recipe: Recipe,
    say: Say,
) -> Dataset:
    """Return new texts made of the training texts, labelled by the teacher.

    Args:
        settings: The source and its numbers.
        data: The task. No new text is one of train, dev or test, and none comes twice.
        teacher, folder, tokenizer: The teacher, its folder and its tokenizer.
        recipe: Seed and precision.
        say: Told how many rows were made and dropped.

    Returns:
        Columns ``text``, ``text2`` (pairs only), ``label``, ``score``, ``origin``, ``source``,
        ``copy`` (1 to N_a; of a new pair its rank).

    Raises:
        ConfigError: No new text came out.
    """
    names = ["text", "text2"] if data.pair else ["text"]
    held = {key for split in data.splits().values() for key in row_keys(split)}
    parts, doubles = [], 0
    if settings.source != "none":
        varied, doubles = _varied(settings, data.train, names, teacher, folder, recipe.seed, held)
        parts.append(varied)
    if settings.pairs:
        held |= {key for part in parts for key in row_keys(part)}
        parts.append(near_pairs(data.train, settings.pairs, held=held, seed=recipe.seed))
    rows = concatenate_datasets([part for part in parts if len(part)] or parts)
    made, unsure = len(rows), 0
    if made:
        bf16 = use_bf16(recipe.precision)
        rows = label_rows(rows, teacher, folder, tokenizer, data, bf16=bf16, say=say)
        if data.task not in VALUED:
            scores = enumerate(rows["score"])
            rows = rows.select([i for i, score in scores if score >= settings.min_confidence])
            unsure = made - len(rows)
        elif settings.min_confidence:
            say("min_confidence is for labels: where the teacher gives values all texts are kept")
    ways = {settings.source: settings.source != "none", "pairs": settings.pairs > 0}
    by = " and ".join(way for way, wanted in ways.items() if wanted)
    said = (
        f"{len(rows):,} texts made of {len(data.train):,} by {by}; dropped: {doubles:,} "
        f"duplicates or texts of the data, {unsure:,} for confidence below "
        f"{settings.min_confidence:g}"
    )
    if not len(rows):
        raise ConfigError(f"{said}; wanted another source, a larger p or a lower min_confidence")
    say(said)
    order = [*names, "label", "score", "origin", "source", "copy"]
    return rows.select_columns(order)


def _varied(
    settings: AugmentSettings,
    train: Dataset,
    names: Sequence[str],
    teacher: PreTrainedModel,
    folder: str | Path,
    seed: int,
    held: Collection[tuple[str, str]],
) -> tuple[Dataset, int]:
    """Return the variants of the training texts that are new, and how many were not."""
    texts = [text for name in names for text in train[name]]
    source = open_source(settings, texts, teacher, folder)
    variants = [
        vary(list(train[name]), source, copies=settings.copies, p=settings.p, seed=(seed, n))
        for n, name in enumerate(names)
    ]
    return _new_rows(train, names, variants, source.name, held)


def vary(
    texts: Sequence[str],
    source: Source,
    *,
    copies: int,
    p: float,
    seed: int | Sequence[int],
) -> list[list[str]]:
    """Return N_a variants of each text.

    In each copy, for each word, u ~ U(0, 1) is drawn; where u ≤ p_t the word becomes one of its K
    candidates, each as likely; a word without candidates stays. Spaces and punctuation stay, and
    the new word takes the capitals of the old one.

    Args:
        texts: N texts.
        source: Gives the K candidates of a word in its text.
        copies: N_a.
        p: p_t, 0 to 1.
        seed: Seeds every draw; which texts are asked about together changes nothing.

    Returns:
        N lists of N_a texts; a variant may be the text itself.

    Source: Jiao et al. 2020, Algorithm 1.
    Differs: candidates are asked for only where a copy replaces the word. The official code skips
        stop words and every word with a letter outside a to z.
    """
    random, split = np.random.default_rng(seed), splitter(source.known)
    made: list[list[str]] = []
    with tqdm(total=len(texts), desc="augmenting", disable=not sys.stderr.isatty()) as bar:
        for start in range(0, len(texts), _CHUNK):
            splits = [split(text) for text in texts[start : start + _CHUNK]]
            shapes = [(copies, len(found.words)) for found in splits]
            draws = [(random.random(shape) <= p, random.random(shape)) for shape in shapes]
            slots = [
                (i, int(j))
                for i, (chosen, _) in enumerate(draws)
                for j in np.flatnonzero(chosen.any(0))
            ]
            candidates = dict(zip(slots, source.propose(splits, slots), strict=True))
            for i, (found, (chosen, picks)) in enumerate(zip(splits, draws, strict=True)):
                options = [candidates.get((i, j), ()) for j in range(len(found.words))]
                made.append(
                    [_copy(found, options, *row) for row in zip(chosen, picks, strict=True)]
                )
            bar.update(len(splits))
    return made


def _copy(
    split: Split,
    options: Sequence[Sequence[str]],
    chosen: Iterable[np.bool_],
    picks: Iterable[np.float64],
) -> str:
    """Return a text with the chosen words replaced."""
    return split.join(
        [
            like(word, found[int(pick * len(found))]) if yes and found else word
            for word, found, yes, pick in zip(split.words, options, chosen, picks, strict=True)
        ]
    )


def _new_rows(
    train: Dataset,
    names: Sequence[str],
    variants: Sequence[Sequence[Sequence[str]]],
    source: str,
    held: Collection[tuple[str, str]],
) -> tuple[Dataset, int]:
    """Return the variants that are new, and how many were not.

    A copy of a pair joins the same copy of both texts: each was made of the pair's own text.
    """
    seen, doubles = set(held), 0
    found: dict[str, list[object]] = {name: [] for name in (*names, "origin", "source", "copy")}
    for row, line in enumerate(train["line"]):
        for copy, texts in enumerate(zip(*(column[row] for column in variants), strict=True), 1):
            key = (texts[0].strip(), texts[-1].strip() if len(texts) > 1 else "")
            if key in seen:
                doubles += 1
                continue
            seen.add(key)
            values = (*texts, line, source, copy)
            for name, value in zip(found, values, strict=True):
                found[name].append(value)
    return Dataset.from_dict(found), doubles
