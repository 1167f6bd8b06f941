"""The teacher's answers, computed once a run: its beams' texts, and its next tokens."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

from tinybert.bart import vocabulary_sizes
from tinybert.distill.forward import real_logits
from tinybert.distill.generated import TorchWriter
from tinybert.distill.infer import batches_by_length
from tinybert.distill.progress import progress
from tinybert.distill.writing import Batches, Top
from tinybert.runtime.generation import Decoding, Generator

__all__ = ["beam_texts", "read_texts", "top_tokens"]

_CHUNK = 512


def beam_texts(
    write: Generator | TorchWriter,
    sources: Sequence[str],
    path: str | Path,
    decoding: Decoding,
    say: Callable[[str], None],
) -> list[str]:
    """Return the teacher's answer for every source; an interrupted call goes on where it stopped.

    Args:
        write: The teacher.
        sources: N texts.
        path: JSON Lines file that keeps the answers, one text a line in order.
        decoding: How answers are searched for.
        say: Told of the work.

    Source: Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.2.
    """
    place = Path(path)
    if place.is_file():
        return read_texts(place)
    partial = place.with_name(f".{place.name}.partial")
    done = read_texts(partial) if partial.is_file() else []
    say(
        f"teacher answers for {len(sources):,} sources, once"
        + f", {len(done):,} there" * bool(done)
    )
    told = progress("answers", len(sources), len(done))
    with told as add, open(partial, "w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(text, ensure_ascii=False)}\n" for text in done)
        for start in range(len(done), len(sources), _CHUNK):
            found = write(sources[start : start + _CHUNK], decoding)
            texts = [one[0].text for one in found]
            file.writelines(f"{json.dumps(text, ensure_ascii=False)}\n" for text in texts)
            file.flush()
            done += texts
            add(len(texts))
    partial.replace(place)
    return done


def top_tokens(
    teacher: PreTrainedModel,
    rows: Dataset,
    path: str | Path,
    *,
    count: int,
    pad: int,
    start: int,
    bf16: bool = False,
    batch_size: int = 32,
) -> Top:
    """Return the teacher's likeliest next tokens for the targets of all rows, computed once.

    Args:
        teacher: In eval mode.
        rows: Of ``writing.rows``.
        path: Stem of the two files that keep them.
        count: K.
        pad, start: Token ids of padding and of the decoder's start.
        bf16: Compute in bfloat16.
        batch_size: Sources that run together.
    """
    files = [Path(f"{path}-{name}.npy") for name in ("ids", "probabilities")]
    if not all(file.is_file() for file in files):
        places = sum(len(one) for row in rows["labels"] for one in row)
        shape = (places, min(count, vocabulary_sizes(teacher)[1]))
        ids, probabilities = np.zeros(shape, np.int32), np.zeros(shape, np.float16)
        collate = Batches(pad, start)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network: nn.Module = teacher
        network.to(device)
        with progress("next tokens", len(rows)) as add:
            for picked in batches_by_length(list(rows["order"]), batch_size):
                given = [rows[i] for i in picked]
                batch = collate(given)
                names = ("input_ids", "attention_mask", "source", "decoder_input_ids")
                inputs = {name: batch[name].to(device) for name in names}
                with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bf16):
                    logits = real_logits(teacher, inputs, ~batch["pad_mask"].to(device))
                    top = logits.float().softmax(dim=-1).topk(shape[1], dim=-1)
                spans = [
                    np.arange(len(one)) + place
                    for row in given
                    for one, place in zip(row["labels"], row["places"], strict=True)
                ]
                ids[np.concatenate(spans)] = top.indices.cpu().numpy()
                probabilities[np.concatenate(spans)] = top.values.cpu().numpy()
                add(len(given))
        network.to("cpu")
        found: tuple[npt.NDArray[Any], ...] = ids, probabilities
        for file, values in zip(files, found, strict=True):
            partial = file.with_name(f".{file.name}.partial.npy")
            np.save(partial, values)
            partial.replace(file)
    return Top(*(np.load(file, mmap_mode="r", allow_pickle=False) for file in files))


def read_texts(path: Path) -> list[str]:
    """Return the texts that ``beam_texts`` kept: those of whole lines."""
    lines = path.read_text(encoding="utf-8").split("\n")
    found = []
    for line in lines[:-1]:
        try:
            found.append(str(json.loads(line)))
        except ValueError:
            break
    return found
