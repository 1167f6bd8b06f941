"""Factorized word embeddings: a model becomes an ELECTRA whose table is narrower than it."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import ElectraConfig, PreTrainedModel

from tinybert.errors import ConfigError
from tinybert.heads import auto_class, head_of
from tinybert.layout import Layout, layout_of
from tinybert.vocabulary import FROM_PADDING

__all__ = ["Tokens", "check_bits", "check_width", "factorize"]

_PARTS = (
    "query",
    "key",
    "value",
    "attention_out",
    "attention_norm",
    "inner",
    "outer",
    "output_norm",
)
_SAME = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "layer_norm_eps",
    "initializer_range",
    "problem_type",
    "id2label",
    "label2id",
)
_DRAWN = 20_000
_LIFT, _SLOPE = 3.0, 0.8


@dataclass(frozen=True)
class Tokens:
    """Tokens of real texts, which say where embeddings must be near the old ones.

    Args:
        ids, places, types: Int64 (N,): id, position in its text from 0, and segment of each.
    """

    ids: Tensor
    places: Tensor
    types: Tensor


def check_bits(bits: int, width: int) -> None:
    """Refuse word embeddings of a width R that cannot be stored in so many bits.

    Raises:
        ConfigError: 4 bits, two numbers to a byte, and an odd R.
    """
    if bits == 4 and width % 2:
        raise ConfigError(
            f"table_bits is 4 and word embeddings are {width} wide; wanted an even width"
        )


def check_width(width: int, hidden: int) -> None:
    """Refuse word embeddings of a width R that a model of hidden size D cannot have.

    Raises:
        ConfigError: R is not between 2 and D − 1.
    """
    if not 2 <= width < hidden:
        raise ConfigError(f"embedding is {width}; wanted 2 to {hidden - 1}, below the hidden size")


def factorize(
    model: PreTrainedModel, width: int, tokens: Tokens | None = None, *, random: bool = False
) -> PreTrainedModel:
    """Return an ELECTRA with a V×R table of word embeddings and an R×D matrix behind it.

    The layers are copied. ELECTRA normalizes before it widens, so words w, positions p and segments
    s meet in R dimensions: e ≈ A·LN(w + p + s) + b. The old outputs are γ⊙n(u) + β with
    n(u) = (u − ū)/σ(u) of the sum u of three rows. B (D, R−1) holds the leading principal
    directions (SVD) of those outputs over tokens of real texts, Q (R, R−1) an orthonormal basis of
    the vectors with mean 0. Each row x of the three tables becomes Q·Bᵀ(γ⊙(x − x̄)): the sum of
    three rows is the projection of the old sum, and its mean is 0 already, so that the norm changes
    its length alone. A and b are the least squares from what the norm gives to the old outputs.
    Over real texts that loses little more than the directions which were left out; directions of
    the whole vocabulary alike, most of it never read, lose over twice as much.

    BERT's head ends in a tanh, ELECTRA's in a GELU: their inputs are moved up by 3, where a GELU is
    a straight line, and what reads them is scaled by 0.8, the slope of the line nearest to a tanh
    over usual inputs. The prediction stage does the rest. Other heads are copied.

    Args:
        model: A classifier of any known layout, width D; it is not changed.
        width: R, 2 to D − 1.
        tokens: Tokens of real texts; None draws from the whole vocabulary.
        random: Take new weights for everything.

    Returns:
        A plain ELECTRA in eval mode, with the head and the labels of the model.

    Raises:
        ConfigError: R is not between 2 and D − 1.

    Source: Lan et al. 2020, "ALBERT", section 3.1; layout: Clark et al. 2020, "ELECTRA".
    """
    check_width(width, int(model.config.hidden_size))
    source = layout_of(model.config)
    tables = _tables(source, model)
    config = _config(model.config, source, width, len(tables.places), len(tables.types))
    made: PreTrainedModel = auto_class(head_of(model)).from_config(config)
    made.eval()
    if random:
        return made
    with torch.no_grad():
        _fill_embeddings(made, tables, width, tokens)
        _copy_layers(made, model, source)
        _fill_head(made, model, source)
    return made


@dataclass(frozen=True)
class _Tables:
    """The rows that are added, (V, W), (P, W) and (S, W), and what turns their sum into outputs."""

    words: Tensor
    places: Tensor
    types: Tensor
    gain: Tensor
    shift: Tensor
    epsilon: float
    widen: Tensor
    bias: Tensor

    def outputs(self, tokens: Tokens) -> Tensor:
        """Return what enters the first layer, (N, D)."""
        types = tokens.types.clamp(max=len(self.types) - 1)
        total = self.words[tokens.ids] + self.places[tokens.places] + self.types[types]
        normal = F.layer_norm(total, total.shape[-1:], self.gain, self.shift, self.epsilon)
        return normal @ self.widen + self.bias


def _tables(layout: Layout, model: PreTrainedModel) -> _Tables:
    """Read the embeddings of any layout; positions begin at 0 and there is a row for a segment."""
    encoder, config = layout.encoder(model), model.config
    found = {name: part.detach().float() for name, part in encoder.named_parameters()}
    words = found["embeddings.word_embeddings.weight"]
    places = found["embeddings.position_embeddings.weight"]
    if config.model_type in FROM_PADDING:
        places = places[int(config.pad_token_id or 0) + 1 :]
    types = found.get("embeddings.token_type_embeddings.weight", torch.zeros_like(words[:1]))
    tasks = found.get("embeddings.task_type_embeddings.weight")
    types = types if tasks is None else types + tasks[0]
    gain, shift = (found[f"embeddings.LayerNorm.{name}"] for name in ("weight", "bias"))
    widen = found.get("embeddings_project.weight", torch.eye(words.shape[1])).T
    bias = found.get("embeddings_project.bias", torch.zeros(widen.shape[1]))
    epsilon = float(getattr(config, "layer_norm_eps", 1e-12))
    return _Tables(words, places, types, gain, shift, epsilon, widen, bias)


def _config(old: Any, layout: Layout, width: int, places: int, types: int) -> ElectraConfig:
    """Return the config of the ELECTRA with the sizes and labels of another model."""
    known = {name: deepcopy(getattr(old, name)) for name in _SAME if hasattr(old, name)}
    if old.model_type == "distilbert":
        known["hidden_dropout_prob"] = old.dropout
        known["attention_probs_dropout_prob"] = old.attention_dropout
    return ElectraConfig(
        **known,
        embedding_size=width,
        intermediate_size=getattr(old, layout.intermediate),
        hidden_act=getattr(old, "hidden_act", None) or old.activation,
        max_position_embeddings=places,
        type_vocab_size=types,
        pad_token_id=old.pad_token_id,
        classifier_dropout=getattr(old, "classifier_dropout", None),
    )


def _fill_embeddings(
    made: PreTrainedModel, old: _Tables, width: int, tokens: Tokens | None
) -> None:
    """Write the three tables, the norm and the matrix behind it."""
    drawn = _draw(old, tokens)
    wanted = old.outputs(drawn).double()
    new = _projected(old, width, wanted)
    given = F.pad(new.outputs(drawn).double(), (0, 1), value=1.0)
    ridge = 1e-6 * len(given) * torch.eye(width + 1, dtype=torch.float64)
    found = torch.linalg.solve(given.T @ given + ridge, given.T @ wanted).float()
    encoder: Any = made.get_submodule("electra")
    part = encoder.embeddings
    part.word_embeddings.weight.copy_(new.words)
    part.position_embeddings.weight.copy_(new.places)
    part.token_type_embeddings.weight.copy_(new.types)
    part.LayerNorm.weight.fill_(1.0)
    part.LayerNorm.bias.zero_()
    encoder.embeddings_project.weight.copy_(found[:-1].T)
    encoder.embeddings_project.bias.copy_(found[-1])


def _projected(old: _Tables, width: int, outputs: Tensor) -> _Tables:
    """Return the tables Q·Bᵀ(γ⊙(x − x̄)), B from the outputs (N, D), with a norm and no matrix."""
    varied = outputs - outputs.mean(dim=0)
    leading = torch.linalg.eigh(varied.T @ varied).eigenvectors.flip(1)[:, : width - 1]
    start = torch.cat([torch.ones(width, 1), torch.eye(width)[:, 1:]], dim=1).double()
    zero_mean = torch.linalg.qr(start).Q[:, 1:]
    narrow = (old.gain[:, None].double() * old.widen.double()) @ leading @ zero_mean.T

    def rows(table: Tensor) -> Tensor:
        centered = table - table.mean(dim=1, keepdim=True)
        return torch.matmul(centered.double(), narrow).float()

    return _Tables(
        rows(old.words),
        rows(old.places),
        rows(old.types),
        torch.ones(width),
        torch.zeros(width),
        old.epsilon,
        torch.eye(width),
        torch.zeros(width),
    )


def _draw(old: _Tables, tokens: Tokens | None) -> Tokens:
    """Return tokens of the texts and, a tenth as many, words of the vocabulary in any place."""
    draw = torch.Generator().manual_seed(0)

    def upto(most: int, count: int) -> Tensor:
        return torch.randint(0, most, (count,), generator=draw)

    if tokens is None or not len(tokens.ids):
        place = upto(len(old.places), _DRAWN)
        return Tokens(upto(len(old.words), _DRAWN), place, torch.zeros_like(place))
    known = upto(len(tokens.ids), _DRAWN) if len(tokens.ids) > _DRAWN else slice(None)
    ids, places, types = tokens.ids[known], tokens.places[known], tokens.types[known]
    more = len(ids) // 10
    seen = upto(len(ids), more)
    return Tokens(
        torch.cat([ids, upto(len(old.words), more)]),
        torch.cat([places, places[seen]]),
        torch.cat([types, types[seen]]),
    )


def _copy_layers(made: PreTrainedModel, model: PreTrainedModel, source: Layout) -> None:
    """Copy every part of every layer, whatever it is called."""
    target = layout_of(made.config)
    pairs = zip(target.layer_list(made), source.layer_list(model), strict=True)
    for layer, old in pairs:
        for name in _PARTS:
            part = layer.get_submodule(getattr(target, name))
            part.load_state_dict(old.get_submodule(getattr(source, name)).state_dict())


def _fill_head(made: PreTrainedModel, model: PreTrainedModel, source: Layout) -> None:
    """Copy the head; where a GELU takes the place of a tanh, use the straight part of it."""
    names = layout_of(made.config).head(made)
    for new, old in zip(names, source.head(model), strict=True):
        made.get_submodule(new).load_state_dict(model.get_submodule(old).state_dict())
    if len(names) == 1 or model.config.model_type in ("electra", "distilbert"):
        return
    parts: list[Any] = [made.get_submodule(name) for name in names]
    inner, outer = parts
    inner.bias.add_(_LIFT)
    outer.weight.mul_(_SLOPE)
    outer.bias.sub_(_LIFT * outer.weight.sum(dim=1))
