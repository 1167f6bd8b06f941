"""The flags that stand for settings of a recipe."""

import inspect
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tinybert.errors import ConfigError

__all__ = [
    "AUGMENT_FLAGS",
    "EMBED_FLAGS",
    "FLAGS",
    "GENERAL_FLAGS",
    "SEQ2SEQ_FLAGS",
    "embed_flags",
    "general_flags",
    "read_setting",
    "recipe_flags",
    "seq2seq_flags",
]

# Flag, recipe setting for `distill`, recipe setting for `teach` (None: no such flag), type, help.
FLAGS: tuple[tuple[str, str, str | None, Any, str], ...] = (
    ("--data", "data.source", "data.source", str, "File, folder, Hugging Face id, or helpdesk."),
    ("--text", "data.text", "data.text", str, "Column of the text."),
    ("--text2", "data.text2", "data.text2", str, "Column of the second text of a pair."),
    (
        "--label",
        "data.label",
        "data.label",
        str,
        "Column of the label or target, or 0/1 columns a,b,c.",
    ),
    (
        "--label-separator",
        "data.label_separator",
        "data.label_separator",
        str,
        "Between the labels of a text that carries several.",
    ),
    ("--language", "data.language", "data.language", str, "Language of helpdesk: en or zh."),
    (
        "--task",
        "data.task",
        "data.task",
        str,
        "classification, multilabel, regression, ranking, tagging, answering, glue/mrpc …",
    ),
    ("--dev", "data.dev", "data.dev", str, "File of the dev split."),
    ("--test", "data.test", "data.test", str, "File of the test split."),
    ("--dev-fraction", "data.dev_fraction", "data.dev_fraction", float, "Share of train cut off."),
    ("--drop-leaks", "data.drop_leaks", "data.drop_leaks", bool, "Drop texts of two splits."),
    ("--unlabelled", "data.unlabelled", None, list[str], "Texts to label; may be repeated."),
    ("--teacher", "teacher.model", "teacher.model", str, "Folder or Hugging Face id."),
    ("--layers", "student.layers", None, "layers", "Number, or teacher layers such as 0,2,5."),
    ("--hidden", "student.hidden", None, int, "Width of the student."),
    ("--heads", "student.heads", None, int, "Attention heads of the student."),
    ("--intermediate", "student.intermediate", None, int, "Feed-forward width of the student."),
    ("--embedding", "student.embedding", None, int, "Width of word embeddings, below --hidden."),
    ("--prune-heads", "pruning.heads", None, int, "Heads of a layer after pruning by the loss."),
    (
        "--prune-intermediate",
        "pruning.intermediate",
        None,
        int,
        "Feed-forward width after pruning by the loss.",
    ),
    ("--vocabulary", "student.vocabulary", None, str, "texts (their pieces alone) or a number."),
    ("--table-bits", "ship.table_bits", None, int, "Of a number of the word embeddings: 8 or 4."),
    (
        "--student-from",
        "student.base",
        None,
        str,
        "Encoder of `general` or `convert`.",
    ),
    ("--teach-epochs", "teacher.epochs", None, float, "Epochs of the teacher's fine-tuning."),
    ("--layer-epochs", "layer_stage.epochs", None, float, "Epochs of the layer stage."),
    (
        "--epochs",
        "prediction_stage.epochs",
        "teacher.epochs",
        float,
        "Of the answers; in `teach` the teacher's.",
    ),
    ("--layer-learning-rate", "layer_stage.learning_rate", None, float, "Of the layer stage."),
    (
        "--learning-rate",
        "prediction_stage.learning_rate",
        "teacher.learning_rate",
        float,
        "Of the answers; in `teach` the teacher's.",
    ),
    (
        "--batch-size",
        "layer_stage.batch_size prediction_stage.batch_size",
        "teacher.batch_size",
        int,
        "Texts a step.",
    ),
    ("--temperature", "prediction_stage.temperature", None, float, "Softens both distributions."),
    ("--hard-labels", "prediction_stage.hard_labels", None, float, "Weight of the labels, 0 to 1."),
    ("--max-length", "max_length", "max_length", int, "Longest input in tokens."),
    ("--seed", "seed", "seed", int, "Seeds everything that is drawn."),
    ("--out", "out", "out", str, "Folder of the run."),
)

# Flag, recipe setting, type, help: those of `augment`, beside those of data and teacher.
AUGMENT_FLAGS: tuple[tuple[str, str, Any, str], ...] = (
    (
        "--source",
        "augment.source",
        str,
        "embeddings (unless --pairs), mlm, vectors or wordnet.",
    ),
    ("--p", "augment.p", float, "Probability that a word is replaced; 0.4 if not given."),
    ("--copies", "augment.copies", int, "New texts made of each text; 20 if not given."),
    ("--candidates", "augment.candidates", int, "Words to choose from; 15 if not given."),
    ("--pairs", "augment.pairs", int, "Of each first text with others' second texts like it."),
    ("--min-confidence", "augment.min_confidence", float, "Drop texts the teacher doubts more."),
    ("--vectors", "augment.vectors", str, "File of word vectors, GloVe or word2vec text."),
    ("--wordnet", "augment.wordnet", str, "Folder of a WordNet."),
    ("--mlm", "augment.mlm", str, "Masked language model: folder or Hugging Face id."),
)

# Flag (or argument), recipe setting for `general`, type, help.
GENERAL_FLAGS: tuple[tuple[str, str, Any, str], ...] = (
    ("--teacher", "teacher", str, "Encoder with or without a head: folder or Hugging Face id."),
    ("--text", "corpus.texts", list[str], "Text files, folders of them or Hugging Face ids."),
    ("FILES", "corpus.texts", list[str], "More of the texts."),
    ("--column", "corpus.column", str, "Column of the text where there are columns."),
    ("--layers", "student.layers", "layers", "Number, or teacher layers such as 0,2,5."),
    ("--hidden", "student.hidden", int, "Width of the student."),
    ("--heads", "student.heads", int, "Attention heads of the student."),
    ("--intermediate", "student.intermediate", int, "Feed-forward width of the student."),
    ("--start", "student.start", str, "teacher (its layers) or random."),
    ("--losses", "training.losses", str, "layers (as TinyBERT) or relations (as MiniLMv2)."),
    ("--relation-layer", "training.relation_layer", int, "Teacher layer, from 1; else the last."),
    ("--relation-heads", "training.relation_heads", int, "A divisor of both widths."),
    ("--steps", "training.steps", int, "Batches to train on; 10,000 if nothing is given."),
    ("--tokens", "training.tokens", int, "Tokens to train on, instead of --steps."),
    ("--epochs", "training.epochs", float, "Passes over the texts, instead of --steps."),
    ("--learning-rate", "training.learning_rate", float, "Peak rate of training."),
    ("--batch-size", "training.batch_size", int, "Rows a step."),
    ("--max-length", "max_length", int, "Tokens of a row."),
    ("--seed", "seed", int, "Seeds everything that is drawn."),
    ("--out", "out", str, "Folder of the encoder."),
)


EMBED_FLAGS: tuple[tuple[str, str, Any, str], ...] = (
    ("--text", "data.texts", list[str], "File of texts; may be repeated."),
    ("--column", "data.column", str, "Column of the text in tables."),
    ("--rows", "data.rows", int, "At most so many texts, drawn by seed."),
    ("--dev", "data.dev", str, "Table of pairs with a number: sentence1, sentence2, score."),
    ("--teacher", "teacher", str, "Folder or Hugging Face id."),
    ("--pooling", "pooling", str, "mean or cls; the teacher's."),
    ("--layers", "student.layers", "layers", "Number, or teacher layers such as 0,2,5."),
    ("--epochs", "training.epochs", float, "Passes over the texts."),
    ("--learning-rate", "training.learning_rate", float, "Of the training."),
    ("--batch-size", "training.batch_size", int, "Texts a step."),
    ("--max-length", "max_length", int, "Longest input in tokens."),
    ("--seed", "seed", int, "Seeds everything that is drawn."),
    ("--out", "out", str, "Folder of the run."),
)


SEQ2SEQ_FLAGS: tuple[tuple[str, str, Any, str], ...] = (
    ("--task", "task", str, "translation or summarization."),
    ("--data", "data.path", str, "File, folder, Hugging Face id, or helpdesk."),
    ("--source", "data.source", str, "Column of the source."),
    ("--target", "data.target", str, "Column of the target, or of several right ones."),
    ("--language", "data.language", str, "Source language of helpdesk: en or zh."),
    ("--dev", "data.dev", str, "File of the dev split."),
    ("--test", "data.test", str, "File of the test split."),
    ("--monolingual", "data.monolingual", list[str], "Sources alone; may be repeated."),
    (
        "--teacher",
        "teacher.model",
        str,
        "BART, Marian, mBART, M2M-100, NLLB, T5: folder or hub id.",
    ),
    ("--bert", "teacher.bert", str, "Encoder that a teacher trained here begins as."),
    ("--vocab-size", "teacher.vocab_size", int, "Pieces of a tokenizer learned here."),
    ("--encoder-layers", "student.encoder_layers", "layers", "Number, or teacher layers 0,2,5."),
    ("--decoder-layers", "student.decoder_layers", "layers", "Number, or teacher layers 0,2,5."),
    ("--hidden", "student.hidden", int, "Width of a narrower student."),
    ("--vocabulary", "student.vocabulary", str, "texts (their pieces alone) or a number."),
    ("--teach-epochs", "teaching.epochs", float, "Epochs of a teacher trained here."),
    ("--epochs", "training.epochs", float, "Epochs of the student."),
    ("--learning-rate", "training.learning_rate", float, "Peak rate of the student."),
    ("--batch-size", "teaching.batch_size training.batch_size", int, "Pairs a step."),
    ("--references", "targets.references", float, "Weight of the data's own targets, 0 to 1."),
    ("--beams", "targets.beams search.beams", int, "Of the teacher and of the artifact."),
    ("--max-length", "max_length", int, "Longest source in tokens."),
    ("--max-target", "max_target", int, "Longest target in tokens."),
    ("--seed", "seed", int, "Seeds everything that is drawn."),
    ("--out", "out", str, "Folder of the run."),
)


def recipe_flags(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the recipe's flags; its function receives the finished recipe.

    Args:
        command: ``distill``, ``teach``, ``augment`` or ``plan``.
    """
    distill = command in ("distill", "plan")
    flags = [(flag, d if distill else t, kind, text) for flag, d, t, kind, text in FLAGS]
    kept = [(flag, name, kind, text) for flag, name, kind, text in flags if name]
    if command == "augment":
        starts = ("data.", "teacher.model", "max_length", "seed")
        kept = [entry for entry in kept if entry[1].startswith(starts)] + list(AUGMENT_FLAGS)

    if command == "plan":
        kept = [entry for entry in kept if not entry[1].startswith("student.")]

    def load(path: Path | None, overrides: dict[str, Any]) -> Any:
        from tinybert.distill.recipe import load

        return load(path, overrides)

    return _with_flags(kept, load)


def general_flags() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of a general distillation; its function receives the recipe."""

    def load(path: Path | None, overrides: dict[str, Any]) -> Any:
        from tinybert.distill.general_recipe import load

        return load(path, overrides)

    return _with_flags(GENERAL_FLAGS, load)


def embed_flags() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of a sentence encoder; its function receives the recipe."""

    def load(path: Path | None, overrides: dict[str, Any]) -> Any:
        from tinybert.distill.sentence_recipe import load

        return load(path, overrides)

    return _with_flags(EMBED_FLAGS, load)


def seq2seq_flags() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of a student that writes; its function receives the recipe."""

    def load(path: Path | None, overrides: dict[str, Any]) -> Any:
        from tinybert.distill.seq2seq_recipe import load

        return load(path, overrides)

    return _with_flags(SEQ2SEQ_FLAGS, load)


def _with_flags(
    flags: Sequence[tuple[str, str, Any, str]],
    load: Callable[[Path | None, dict[str, Any]], Any],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command flags that stand for settings, --recipe and --set.

    Parameters of its function after the recipe are flags of that command alone.
    """

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        _, *rest = inspect.signature(function).parameters.values()
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in rest]

        def run(recipe: Path | None, settings: list[str], **given: Any) -> None:
            overrides: dict[str, Any] = {}
            for flag, names, kind, _ in flags:
                value = given[_variable(flag)]
                if value is None or value == []:
                    continue
                value = _layers(value, flag) if kind == "layers" else value
                for name in names.split():
                    several = isinstance(value, list) and kind != "layers"
                    overrides[name] = overrides.get(name, []) + value if several else value
            found = load(recipe, overrides | dict(map(read_setting, settings)))
            function(found, **{p.name: given[p.name] for p in own})

        parameters = [_parameter(flag, kind, text) for flag, _, kind, text in flags]
        signature = inspect.Signature([*own, *parameters, *_RECIPE_PARAMETERS])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__doc__, run.__name__ = function.__doc__, function.__name__
        return run

    return wrap


def _variable(flag: str) -> str:
    """Return the parameter name of a flag."""
    return flag.removeprefix("--").replace("-", "_").lower()


def _parameter(flag: str, kind: Any, text: str) -> inspect.Parameter:
    """Return an optional parameter for a flag, or for an argument in capitals."""
    names = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    kind = str if kind == "layers" else kind
    option: Any = typer.Option(names, help=text, show_default=False)
    if not flag.startswith("--"):
        option = typer.Argument(help=text, show_default=False)
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(
        _variable(flag), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


_RECIPE_PARAMETERS = (
    inspect.Parameter(
        "recipe",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Path | None, typer.Option("--recipe", help="TOML file; flags go before it.")
        ],
    ),
    inspect.Parameter(
        "settings",
        inspect.Parameter.KEYWORD_ONLY,
        default=[],
        annotation=Annotated[
            list[str], typer.Option("--set", help="Any recipe setting: section.key=value.")
        ],
    ),
)


def _layers(text: str, flag: str) -> int | list[int]:
    """Read ``3`` or ``0,2,5``."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"{flag} is `{text}`; wanted a number, or teacher layers such as 0,2,5"
        ) from error
    return numbers if "," in text else numbers[0]


def read_setting(text: str, flag: str = "--set") -> tuple[str, Any]:
    """Read ``section.key=value``; the value is TOML, or else a text.

    Raises:
        ConfigError: No name, or no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{flag} is `{text}`; wanted section.key=value")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()
