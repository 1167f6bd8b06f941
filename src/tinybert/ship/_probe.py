"""One fresh process that loads one model, answers, and prints what that took.

Run as a file by ``ship.measure``, never imported: nothing but the standard library is read before
the clock that the caller started is looked at.
"""

import json
import os
import sys
import time
from typing import Any


def _artifact(job: dict[str, Any]) -> Any:
    """Load a shipped folder as a user does."""
    import tinybert

    model: Any = tinybert.load(job["folder"], threads=job["threads"])
    return lambda rows: model([tuple(r) for r in rows] if job["pair"] else rows)


def _torch(job: dict[str, Any]) -> Any:
    """Load a Hugging Face folder as a user does."""
    import inspect

    import torch
    from transformers import (
        AutoConfig,
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )

    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    config = AutoConfig.from_pretrained(job["folder"])
    heads = {
        "TokenClassification": AutoModelForTokenClassification,
        "QuestionAnswering": AutoModelForQuestionAnswering,
    }
    claimed = " ".join(config.architectures or [])
    kind = next((h for k, h in heads.items() if k in claimed), AutoModelForSequenceClassification)
    model = kind.from_pretrained(job["folder"]).eval()
    known = inspect.signature(model.forward).parameters

    def answer(rows: list[Any]) -> list[Any]:
        columns = list(zip(*rows, strict=True)) if job["pair"] else [rows]
        batch = tokenizer(
            *(list(column) for column in columns),
            padding=True,
            truncation=True,
            max_length=job["max_length"],
            return_tensors="pt",
        )
        with torch.inference_mode():
            outputs = model(**{k: v for k, v in batch.items() if k in known})
        logits = outputs["start_logits" if "start_logits" in outputs else "logits"]
        found: list[Any] = logits.softmax(-1).argmax(-1).tolist()
        return found

    return answer


def _peak_mb() -> float | None:
    """Return the most memory this process ever held, in MB.

    Linux hands the peak that ``getrusage`` reads down to children, so its own counter is read.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            line = next(text for text in status if text.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Read a job from stdin, do it, print the figures as the last line of stdout."""
    job = json.load(sys.stdin)
    answer = {"artifact": _artifact, "torch": _torch}[job["kind"]](job)
    singles, batch, size = job["singles"], job["batch"], job["batch_size"]
    answer([job["first"]])
    figures: dict[str, Any] = {
        "load_s": time.monotonic() - job["started"],
        "first_mb": _peak_mb(),
        "latencies_ms": [],
        "cpu_ms": [],
        "texts_per_s": None,
    }
    for row in singles[: min(3, len(singles))]:
        answer([row])
    for row in singles:
        before, worked = time.perf_counter(), time.process_time()
        answer([row])
        figures["cpu_ms"].append((time.process_time() - worked) * 1e3)
        figures["latencies_ms"].append((time.perf_counter() - before) * 1e3)
    if batch:
        before = time.perf_counter()
        for start in range(0, len(batch), size):
            answer(batch[start : start + size])
        figures["texts_per_s"] = len(batch) / (time.perf_counter() - before)
    figures["peak_mb"] = _peak_mb()
    print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
