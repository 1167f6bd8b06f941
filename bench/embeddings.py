"""Vectors of sentences: STS-B's test pairs by their teacher, students of it, and model2vec.

Examples:
    python bench/embeddings.py --data DIR --seeds 0 1 2
    python bench/embeddings.py --data DIR --layers 3 2 --text FILE

DIR holds a folder ``stsb_en`` (see bench/README.md). Students of all-MiniLM-L6-v2 are made by
``tinybert embed`` on plain sentences, one a line: by default those of STS-B's train pairs that are
in no pair of dev or test, without their scores. Spearman's correlation of cosines with the scores;
dev chooses the epoch, test is measured once. ``student``: in PyTorch; ``int8``: the artifact, by
``tinybert.load``. model2vec (requirements/bench.txt) with its own settings, where it is installed.
Interrupted, the same command goes on where it stopped. Results: embeddings-stsb.json.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import _jobs
import quality
from _sets import prepare

TEACHER = "sentence-transformers/all-MiniLM-L6-v2"


def main() -> None:
    arguments = parse()
    if arguments.job:
        run_job(**json.loads(arguments.job))
        return
    quality.place_results(arguments)
    work = Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)
    source = Path(prepare("stsb", arguments.data, work))
    text = arguments.text or sentences(source, work / "stsb-sentences.txt")
    wanted = jobs(source, text, work, arguments)
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(start_job, wanted))
    write_results(wanted, source, text, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, help="plain text, one a line; STS-B's own if none")
    parser.add_argument("--layers", nargs="+", type=int, default=[3], help="of the students")
    quality.add_arguments(parser, "runs/embeddings-bench")
    return parser.parse_args()


def sentences(source: Path, path: Path) -> Path:
    """Write the sentences of train's pairs, each once, without those of dev and test."""
    from tinybert.distill.embed import read_pairs

    def both(split: str) -> list[str]:
        first, second, _ = read_pairs(source / f"{split}.tsv")
        return [*first, *second]

    held = {*both("dev"), *both("test")}
    kept = [text for text in dict.fromkeys(both("train")) if text not in held]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return path


def jobs(
    source: Path, text: Path, work: Path, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a job for the teacher, for model2vec, and for each student."""
    common = {"source": str(source), "text": str(text), "settings": quality.given(arguments)}
    names: list[tuple[str, int | None, int | None]] = [("teacher", None, None)]
    names += [("model2vec", None, None)] if find_spec("model2vec") else []
    names += [("student", seed, count) for count in arguments.layers for seed in arguments.seeds]
    return [
        {**common, "system": system, "seed": seed, "layers": layers,
         "run": str(work / (f"seed-{seed}-layers-{layers}" if layers else system))}
        for system, seed, layers in names
    ]  # fmt: skip


def row_path(job: dict[str, Any]) -> Path:
    return Path(f"{job['run']}.json")


def start_job(job: dict[str, Any]) -> None:
    _jobs.start(__file__, job, row_path(job), Path(f"{job['run']}.log"), Path(job["run"]).name)


def run_job(**job: Any) -> None:
    """Make one system and write its rows: two for a student, which ships as int8 as well."""
    from tinybert.distill.embed import read_pairs

    source, run = Path(job["source"]), Path(job["run"])
    pairs = {split: read_pairs(source / f"{split}.tsv") for split in ("dev", "test")}
    started = time.monotonic()
    made = {"teacher": teacher, "model2vec": static, "student": student}[job["system"]](job)
    seconds = time.monotonic() - started
    rows = []
    for system, (encode, size) in made.items():
        row = {"set": "stsb", "system": system, "seed": job["seed"], "layers": job["layers"]}
        row |= {"settings": job["settings"], "metric": "spearman"}
        row |= {split: spearman(encode, found) for split, found in pairs.items()}
        rows.append(row | {"mb": size, "seconds": seconds})
    row_path(job).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"{run.name}: {rows}")


def spearman(encode: Any, pairs: Any) -> float:
    """Return the correlation of the cosines of pairs with their scores."""
    import numpy as np

    from tinybert.metrics import compute

    first, second, scores = pairs
    sides = [np.asarray(encode(texts), dtype=np.float64) for texts in (first, second)]
    lengths = np.linalg.norm(sides[0], axis=1) * np.linalg.norm(sides[1], axis=1)
    cosines = (sides[0] * sides[1]).sum(axis=1) / np.maximum(lengths, 1e-12)
    return float(compute("regression", cosines, scores)["spearman"])


def teacher(job: dict[str, Any]) -> dict[str, tuple[Any, float]]:  # noqa: ARG001
    from tinybert.distill.infer import resolve

    return {"teacher": opened(resolve(TEACHER))}


def opened(folder: str | Path) -> tuple[Any, float]:
    """Return what encodes texts with a sentence encoder, and its weights' size."""
    from tinybert.distill.sentence import encode, load_encoder
    from tinybert.text import Tokenizer

    model, tokenizer = load_encoder(folder), Tokenizer(folder, max_length=128)
    size = (Path(folder) / "model.safetensors").stat().st_size / 1e6
    return (lambda texts: encode(model, tokenizer, texts)), size


def static(job: dict[str, Any]) -> dict[str, tuple[Any, float]]:
    from _static import size_mb, static_model
    from tinybert.distill.infer import resolve

    folder = Path(job["run"])
    model = static_model(resolve(TEACHER), folder)
    return {"model2vec": (model.encode, size_mb(folder))}


def student(job: dict[str, Any]) -> dict[str, tuple[Any, float]]:
    """Distil and ship a student."""
    from tinybert import runtime
    from tinybert.distill import sentence_recipe
    from tinybert.ship.embedder import embed

    chosen = {key: json.loads(value) for key, value in job["settings"].items()}
    about = {"out": job["run"], "seed": job["seed"], "student.layers": job["layers"]}
    about |= {"teacher": TEACHER, "data.texts": [job["text"]]}
    about |= {"data.dev": str(Path(job["source"]) / "dev.tsv")}
    run = embed(sentence_recipe.load(None, {**about, **chosen}))
    artifact = run / "artifact"
    size = (artifact / "onnx" / "model_quantized.onnx").stat().st_size / 1e6
    return {"student": opened(run / "student"), "int8": (runtime.load(artifact), size)}


def write_results(
    done: list[dict[str, Any]], source: Path, text: Path, arguments: argparse.Namespace
) -> None:
    """Gather the rows into ``bench/results/embeddings-stsb.json``."""
    from _results import write

    rows = [row for job in done for row in json.loads(row_path(job).read_text(encoding="utf-8"))]
    command = f"python bench/embeddings.py --data DIR --seeds {' '.join(map(str, arguments.seeds))}"
    command += f" --layers {' '.join(map(str, arguments.layers))}"
    command += f" --text {text.name}" if arguments.text else ""
    command += "".join(f" --set '{pair}'" for pair in arguments.set)
    digest = _jobs.digest([source], *([text] if arguments.text else []))
    print(f"wrote {write('embeddings-stsb', rows, command, digest, packages=('model2vec',))}")


if __name__ == "__main__":
    main()
