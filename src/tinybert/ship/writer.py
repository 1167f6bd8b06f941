"""Ships a student that writes texts, and proves that it writes what it wrote in PyTorch."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tinybert import runtime, text_metrics
from tinybert._version import __version__
from tinybert.artifact import (
    CTRANSLATE2,
    TARGET,
    Card,
    card_beside,
    check_target,
    hash_file,
    new_folder,
    read_card,
    write_card,
)
from tinybert.bart import LAYOUTS, has_two_tables
from tinybert.ctranslate import token_lists, write_ctranslate2
from tinybert.distill.generated import TorchWriter
from tinybert.distill.writer_vocabulary import with_prefix
from tinybert.distill.writers import copy_vocabulary, force_token, load_writer, open_vocabulary
from tinybert.distill.writing import open_model, prefix_of
from tinybert.errors import ArtifactError, ConfigError, DataError
from tinybert.pairs import PairData
from tinybert.runtime.generation import Decoding, Generator
from tinybert.ship.model_card import write_model_card

__all__ = ["answers_of", "choose_truncation", "evaluate_writer", "export_writer", "verify_writer"]

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_DIFFERENCE = 1e-3
_ROWS = 300
_LONG_ROWS = 1000
_SCORED = 16


def export_writer(
    model: str | Path,
    to: str | Path,
    *,
    task: str,
    max_length: int = 128,
    decoding: Decoding | None = None,
    split: str = "length",
    carried: bool = False,
    teacher: str = "",
    target_token: str | None = None,
) -> Path:
    """Write an artifact that translates or summarizes: int8 weights for CTranslate2.

    Args:
        model: Folder or hub id of a BART or Marian model with a ``tokenizer.json``.
        to: The artifact's folder; an older artifact there is replaced.
        task: ``translation`` or ``summarization``.
        max_length: Longest part of a source in tokens that is answered at once.
        decoding: How answers are searched for; none is longer than the model can write.
        split: ``sentence`` where the model shall translate sentence by sentence, else ``length``.
        carried: Whether it knows the marks that stand for numbers and addresses.
        teacher: Name of the teacher, for the card.
        target_token: What every answer begins with, such as a language's token; None leaves it to
            the model.

    Returns:
        The artifact's folder.

    Raises:
        ConfigError: ``max_length`` is below 4 or exceeds the model's positions, there is no such
            ``target_token``, or ``to`` holds something that is no artifact.
        UnsupportedModelError: The model cannot be loaded.
    """
    check_target(to)
    network = load_writer(model)
    longest = int(network.config.max_position_embeddings)
    if not 4 <= max_length <= longest:
        raise ConfigError(f"max_length is {max_length}; the model takes 4 to {longest}")
    with new_folder(to) as partial:
        copy_vocabulary(model, partial)
        if not has_two_tables(network):
            shutil.rmtree((partial / TARGET).parent, ignore_errors=True)
        network.config.save_pretrained(partial)
        source, other = open_vocabulary(partial, (max_length, max_length))
        force_token(network, target_token, other)
        tokens = token_lists(network, source.vocabulary, other.vocabulary)
        write_ctranslate2(network, tokens, (partial / CTRANSLATE2).parent, int8=True)
        prefix = prefix_of(network, tokens[1])
        search = decoding or Decoding()
        search = replace(search, max_tokens=min(search.max_tokens, longest - len(prefix)))
        about = {"prefix": prefix, "positions": longest, "split": split}
        about |= {"carried": True} if carried else {}
        card = Card(
            task=task,
            labels=(),
            pair=False,
            max_length=max_length,
            model=CTRANSLATE2,
            parameters=network.num_parameters(),
            teacher=teacher,
            generation={**vars(search), **about},
            tinybert=__version__,
        )
        names = sorted(path for path in partial.glob("ctranslate2/*"))
        own = [f"target/{name}" for name in _TOKENIZER] if has_two_tables(network) else []
        hashed = [*_TOKENIZER, *own, *(path.relative_to(partial).as_posix() for path in names)]
        write_card(partial, replace(card, files={n: hash_file(partial / n) for n in hashed}))
        write_model_card(partial)
    return Path(to)


def choose_truncation(artifact: str | Path, data: PairData) -> dict[bool, float]:
    """Let a summarizer read of long sources what is better on dev: what fits, or all windows.

    Args:
        artifact: Folder of ``export_writer``; the choice goes into its card.
        data: The pairs; of their dev split a thousand sources over the limit are answered.

    Returns:
        By ``Decoding.truncation`` the deciding metric on these, 0..100; empty where there are none.
    """
    written = runtime.load(artifact)
    assert isinstance(written, runtime.Summarizer)
    long = (row for row in data.dev if len(written.windows(row["source"].strip())) > 1)
    rows = list(islice(long, _LONG_ROWS))
    if not rows:
        return {}
    sources, references = ([row[name] for row in rows] for name in ("source", "references"))
    found = {}
    for truncation in (False, True):
        answers = written(sources, truncation=truncation)
        figures = text_metrics.measure(data.task, answers, references, sources)
        found[truncation] = figures[text_metrics.MAIN[data.task]]
    card = read_card(artifact)
    generation = {**card.generation, "truncation": found[True] > found[False]}
    write_card(artifact, replace(card, generation=generation))
    return found


def verify_writer(
    artifact: str | Path, model: str | Path, data: PairData, *, max_drop: float = 1.0
) -> dict[str, Any]:
    """Compare an artifact with its PyTorch model on dev texts; the outcome goes into the card.

    Three things are compared: the log probabilities that PyTorch and CTranslate2 in float32 give to
    right answers; the quality of the answers in float32 and in int8; the answers to a text alone
    and among others.

    Args:
        artifact: Folder of ``export_writer``.
        model: Folder of the PyTorch model.
        data: The pairs; their dev split is answered.
        max_drop: Most points, 0..100, that int8 may lose of the deciding metric.

    Returns:
        The figures, as the card has them.

    Raises:
        ArtifactError: A limit is exceeded; all that are, are named.
    """
    folder, card = Path(artifact), read_card(artifact)
    rows = data.dev.select(range(min(_ROWS, len(data.dev))))
    sources, references = list(rows["source"]), list(rows["references"])
    written = runtime.load(folder)
    assert isinstance(written, runtime.Translator | runtime.Summarizer)
    answers = written(sources)
    alone = [written([source])[0] for source in sources[:_SCORED]]
    tokenizers = open_vocabulary(folder, (card.max_length, card.max_length))
    network = load_writer(model)
    with tempfile.TemporaryDirectory() as place:
        exact = open_model(network, tokenizers, Path(place) / "model")
        plain = type(written)(exact, card)(sources)
        difference = _difference(network, exact, sources[:_SCORED], list(rows["target"]))
    metric = text_metrics.MAIN[card.task]
    before, after = (
        text_metrics.measure(card.task, found, references, sources)[metric]
        for found in (plain, answers)
    )
    parity: dict[str, Any] = {
        "texts": len(sources),
        "metric": metric,
        "torch": before,
        "artifact": after,
        "same_answers": sum(map(str.__eq__, plain, answers)) / len(sources),
        "max_difference": difference,
        "alone_differs": sum(map(str.__ne__, alone, answers)),
    }
    problems = _problems(parity, max_drop)
    parity["passed"] = not problems
    write_card(folder, replace(card, parity=parity))
    write_model_card(folder)
    if problems:
        raise ArtifactError(f"{folder} does not answer as {model}: {'; '.join(problems)}")
    return parity


def answers_of(
    path: str | Path,
    data: PairData,
    split: str,
    *,
    max_length: int = 128,
    target_token: str | None = None,
    prefix: str = "",
    like: Card | None = None,
) -> list[str]:
    """Return a model's answers for a split, from the class that users call.

    A folder's model has long sources cut into parts or windows as its artifact has; one of an
    architecture that CTranslate2 does not run here reads their beginning alone.

    Args:
        path: An artifact, or the folder of an encoder-decoder (then in float32).
        data: The pairs.
        split: ``train``, ``dev`` or ``test``.
        max_length: Longest source in tokens, for a folder; an artifact has its own.
        target_token: What every answer of a folder's model begins with.
        prefix: What a folder's model reads before every source.
        like: Card of an artifact as which a folder's model cuts and searches; None takes
            ``Decoding``'s own settings.

    Raises:
        DataError: The split is missing.
    """
    if split not in data.splits():
        raise DataError(f"{data.name} has no {split} split; it has {', '.join(data.splits())}")
    sources = list(data.splits()[split]["source"])
    if (Path(path) / "card.json").is_file():
        written = runtime.load(path)
        if not isinstance(written, runtime.Translator | runtime.Summarizer):
            raise DataError(f"{path} is for {written.card.task}; wanted a model that writes texts")
        return written(sources)
    network = load_writer(path, any_layout=True)
    known = getattr(network.config, "max_position_embeddings", None)
    longest = min(max_length, int(known or max_length))
    with tempfile.TemporaryDirectory() as place:
        copy_vocabulary(path, place)
        plain = open_vocabulary(Path(place), (longest, longest))
        tokenizers = with_prefix(prefix, Path(place), plain)
        force_token(network, target_token, tokenizers[1])
        card = replace(like or _plain_card(data.task, longest), max_length=longest)
        if network.config.model_type in LAYOUTS:
            write = open_model(network, tokenizers, Path(place) / "model")
            kind = runtime.Translator if data.task == "translation" else runtime.Summarizer
            return kind(write, card)(sources)
        slow = TorchWriter(network, tokenizers[0], target=tokenizers[1])
        found = slow(sources, Decoding().over(**card.decoding()))
    return [one[0].text for one in found]


def evaluate_writer(
    path: str | Path,
    data: PairData,
    split: str = "test",
    *,
    max_length: int | None = None,
    target_token: str | None = None,
    record: bool = True,
) -> dict[str, float]:
    """Measure a model on a split.

    Args:
        path, data, split, target_token: As for ``answers_of``.
        max_length: Longest source in tokens, for a folder; None takes that of its run, or 128. A
            model inside a run answers as the run's artifact does in everything else.
        record: Write an artifact's figures into its card.

    Returns:
        The metrics of ``text_metrics.measure``.

    Raises:
        DataError: The split is missing.
    """
    like = card_beside(path)
    length = max_length or (like.max_length if like else 128)
    answers = answers_of(path, data, split, max_length=length, target_token=target_token, like=like)
    rows = data.splits()[split]
    found = text_metrics.measure(data.task, answers, list(rows["references"]), list(rows["source"]))
    if record and (Path(path) / "card.json").is_file():
        card = read_card(path)
        named = {f"{split}_{name}": value for name, value in found.items()}
        write_card(path, replace(card, metrics={**card.metrics, **named}))
        write_model_card(path)
    return found


def _plain_card(task: str, longest: int) -> Card:
    """Return a card that says no more than how long sources and answers may be."""
    settings = {"max_tokens": longest, "split": "length"}
    return Card(task, labels=(), pair=False, max_length=longest, generation=settings)


def _difference(
    network: PreTrainedModel, exact: Generator, sources: Sequence[str], targets: Sequence[str]
) -> float:
    """Return the largest difference of log probabilities of right answers' tokens."""
    config = network.config
    start, eos = int(config.decoder_start_token_id), int(config.eos_token_id)
    found = 0.0
    for source, target in zip(sources, targets, strict=False):
        ids = exact.tokenizer.encode([source])[0][0]
        answer = exact.target.encode([target])[0][0]
        answer = [token for token in answer if token not in (start, eos)]
        given = torch.tensor([[start, *answer]])
        with torch.inference_mode():
            logits = network(input_ids=torch.tensor([ids]), decoder_input_ids=given).logits
        wanted = logits[0].log_softmax(dim=-1).gather(1, torch.tensor([[*answer, eos]]).T)[:, 0]
        (own,) = exact.log_probabilities([source], [answer])
        found = max(found, float((wanted - torch.tensor(own)).abs().max()))
    return found


def _problems(parity: dict[str, Any], max_drop: float) -> list[str]:
    """Name the limits that are exceeded."""
    problems = []
    if not parity["max_difference"] <= _DIFFERENCE:
        problems.append(
            f"log probabilities differ by {parity['max_difference']:.2g} (limit {_DIFFERENCE:g})"
        )
    if parity["torch"] - parity["artifact"] > max_drop:
        problems.append(
            f"{parity['metric']} falls from {parity['torch']:.2f} to {parity['artifact']:.2f} "
            f"(limit {max_drop:g} points)"
        )
    if parity["alone_differs"]:
        problems.append(f"{parity['alone_differs']} answers change with the texts beside them")
    return problems
