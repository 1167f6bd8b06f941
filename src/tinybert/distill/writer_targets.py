"""What a student that writes learns from: the data's targets, its teacher's, next tokens."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel

from tinybert.artifact import write_atomic
from tinybert.bart import LAYOUTS
from tinybert.distill.augment import vary
from tinybert.distill.beams import beam_texts, read_texts, top_tokens
from tinybert.distill.generated import TorchWriter
from tinybert.distill.processes import first_alone
from tinybert.distill.proposals import check_source, open_source
from tinybert.distill.seq2seq_recipe import Seq2SeqRecipe
from tinybert.distill.trainer import use_bf16
from tinybert.distill.writing import Top, open_model, rows
from tinybert.errors import ConfigError
from tinybert.pairs import PairData
from tinybert.runtime.carried import carry
from tinybert.runtime.generation import Decoding
from tinybert.sources import Columns
from tinybert.text import Tokenizer
from tinybert.unlabelled import read_unlabelled

__all__ = ["Written", "check_new_sources", "monolingual", "new_sources", "next_tokens", "targets"]

Say = Callable[[str], None]
_BEAMS = "beams.jsonl"
_SOURCES = "sources.jsonl"


@dataclass(frozen=True)
class Written:
    """N sources and what shall be written for each.

    Args:
        sources: N texts.
        targets: One or several texts of each.
        weights: What each of them counts.
        made: How many of the sources, the last ones, were made of others.
    """

    sources: list[str]
    targets: list[list[str]]
    weights: list[list[float]]
    made: int = 0

    def rows(self, tokenizers: tuple[Tokenizer, Tokenizer], model: PreTrainedModel) -> Dataset:
        """Return rows in a model's pieces (see ``writing.rows``)."""
        return rows(self.sources, self.targets, self.weights, tokenizers, model)

    def texts(self) -> tuple[list[str], list[str]]:
        """Return sources and targets, but for those of texts that were made."""
        real = len(self.sources) - self.made
        return self.sources[:real], [text for row in self.targets[:real] for text in row]


def check_new_sources(recipe: Seq2SeqRecipe) -> None:
    """Refuse settings by which no new source can be made, before anything is trained.

    Raises:
        ConfigError: A file or folder is missing, or the teacher's answers do not count.
    """
    if recipe.augment.source == "none":
        return
    check_source(recipe.augment)
    if recipe.targets.references == 1.0:
        raise ConfigError(
            f"augment.source is `{recipe.augment.source}` and targets.references is 1; wanted "
            "less, so that the teacher's answers count"
        )


def new_sources(
    recipe: Seq2SeqRecipe,
    teacher: PreTrainedModel,
    data: PairData,
    more: Sequence[str],
    stages: Path,
    say: Say,
) -> list[str]:
    """Return the sources of train with other words in places, made once.

    Args:
        recipe: Every setting.
        teacher: Its word embeddings say which words are alike, unless the settings name others.
        data: The pairs. No new source is one of train, dev or test.
        more: Further sources, of which none is made again.
        stages: Folder of the teacher's ``tokenizer``; keeps the new sources.
        say: Told how many there are.

    Raises:
        ConfigError: No new source came out.

    Source: Jiao et al. 2020, Algorithm 1.
    Differs: of sources, whose targets the teacher writes.
    """
    settings = recipe.augment
    if settings.source == "none":
        return []
    with first_alone() as first:
        if first and not (stages / _SOURCES).is_file():
            texts = list(data.train["source"])
            near = open_source(settings, texts, teacher, stages / "tokenizer")
            rows = vary(texts, near, copies=settings.copies, p=settings.p, seed=recipe.seed)
            held = {text.strip() for split in data.splits().values() for text in split["source"]}
            held.update(text.strip() for text in more)
            made = dict.fromkeys(text for row in rows for text in row if text.strip() not in held)
            if not made:
                raise ConfigError(
                    f"augment.source `{settings.source}` made no new source; wanted another one, "
                    "or a larger augment.p"
                )
            say(f"{len(made):,} sources made of {len(texts):,} by {settings.source}")
            lines = (json.dumps(text, ensure_ascii=False) + "\n" for text in made)
            write_atomic(stages / _SOURCES, "".join(lines).encode("utf-8", "surrogatepass"))
    return read_texts(stages / _SOURCES)


def monolingual(recipe: Seq2SeqRecipe, data: PairData, say: Say) -> list[str]:
    """Return further sources that stand in no split.

    Raises:
        ConfigError: There are some, and the teacher's answers do not count.
        DataError: A file cannot be read.
    """
    if not recipe.data.monolingual:
        return []
    if recipe.targets.references == 1.0:
        raise ConfigError(
            "data.monolingual is given and targets.references is 1; wanted less, so that the "
            "teacher's answers count"
        )
    held = {(text.strip(), "") for split in data.splits().values() for text in split["source"]}
    found, notes = read_unlabelled(
        list(recipe.data.monolingual),
        Columns("source", None, ""),
        held=held,
        known=(),
        rows=None,
        seed=recipe.seed,
    )
    for note in notes:
        say(f"  {note}")
    texts = list(found["text"])
    return [carry(text)[0] for text in texts] if recipe.data.carried else texts


def targets(
    recipe: Seq2SeqRecipe,
    teacher: PreTrainedModel,
    data: PairData,
    more: Sequence[str],
    tokenizers: tuple[Tokenizer, Tokenizer],
    stages: Path,
    say: Say,
    *,
    made: Sequence[str] = (),
) -> Written:
    """Return the texts to learn from; the teacher writes its own once.

    Args:
        recipe: Every setting.
        teacher: In eval mode.
        data: The pairs.
        more: Further sources.
        tokenizers: The teacher's, of sources and of targets.
        stages: Folder that keeps the teacher's answers.
        say: Told of the work.
        made: Those of ``new_sources``.

    Raises:
        ConfigError: Nothing would be learned from.
    """
    share = recipe.targets.references
    sources = [*data.train["source"], *((*more, *made) if share < 1 else ())]
    found: list[list[tuple[str, float]]] = [[] for _ in sources]
    if share < 1:
        with first_alone() as first:
            if first and not (stages / _BEAMS).is_file():
                _ask(recipe, teacher, sources, tokenizers, stages, say)
        for i, text in enumerate(read_texts(stages / _BEAMS)):
            found[i].append((text, 1 - share if i < len(data.train) else 1.0))
    if share > 0:
        for i, text in enumerate(data.train["target"]):
            found[i].append((text, share))
    kept = [[(text, weight) for text, weight in row if text.strip()] for row in found]
    if not any(kept):
        raise ConfigError(
            f"the teacher wrote nothing for any of {len(sources):,} sources, and "
            "targets.references is 0; let it learn longer, or give a share of references"
        )
    return Written(
        [source for source, row in zip(sources, kept, strict=True) if row],
        [[text for text, _ in row] for row in kept if row],
        [[weight for _, weight in row] for row in kept if row],
        made=sum(map(bool, kept[len(sources) - len(made) :])) if made and share < 1 else 0,
    )


def next_tokens(
    recipe: Seq2SeqRecipe, teacher: PreTrainedModel, learned: Dataset, pad: int, stages: Path
) -> Top | None:
    """Return the teacher's next tokens for rows in its own pieces; None where none are asked for.

    Args:
        recipe: Every setting.
        teacher: In eval mode.
        learned: Rows of ``Written.rows``.
        pad: Token id of padding.
        stages: Folder that keeps them.
    """
    if not recipe.targets.word_level:
        return None
    ask = partial(
        top_tokens,
        teacher,
        learned,
        stages / "top",
        count=recipe.targets.top,
        pad=pad,
        start=int(teacher.config.decoder_start_token_id),
        bf16=use_bf16(recipe.precision),
    )
    with first_alone() as first:
        if first:
            ask()
    return ask()


def _ask(
    recipe: Seq2SeqRecipe,
    teacher: PreTrainedModel,
    sources: list[str],
    tokenizers: tuple[Tokenizer, Tokenizer],
    stages: Path,
    say: Say,
) -> None:
    """Let the teacher write its answers into the run."""
    decoding = Decoding(
        beams=recipe.targets.beams,
        length_penalty=recipe.targets.length_penalty,
        max_tokens=recipe.max_target,
    )
    write = (
        open_model(teacher, tokenizers, stages / "teacher")
        if teacher.config.model_type in LAYOUTS
        else TorchWriter(teacher, tokenizers[0], target=tokenizers[1])
    )
    beam_texts(write, sources, stages / _BEAMS, decoding, say)
