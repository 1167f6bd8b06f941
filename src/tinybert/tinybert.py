"""The whole Transformer as one class: an encoder alone, or encoder and decoder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn

from tinybert.checkpoint import (
    TransformerConfig,
    layer_counts,
    load_checkpoint,
    save_checkpoint,
    whole,
)
from tinybert.decoding import (
    NextLogits,
    beam_search,
    check_search,
    evaluating,
    greedy_search,
)
from tinybert.embedding import TiedEmbedding
from tinybert.errors import ArtifactError, ConfigError, ShapeError
from tinybert.transformer import DecoderLayer, EncoderLayer

__all__ = ["TinyBERT"]


class TinyBERT(nn.Module):
    """A small Transformer: token ids in, logits over all tokens out.

    Embedding → + positional encoding, dropout → projection (where emb_dim ≠ d_model) → encoder
    [→ decoder] → output. The output is tied to the embedding E: logits = P'(h)·Eᵀ + b, where P'
    leads back to emb_dim, and is nothing where emb_dim = d_model. Source and target share E. There
    is no longest input.

    Args:
        d_model: Width D of the states.
        nhead: Attention heads H, a divisor of ``d_model``.
        num_layers: Layers of the encoder, and of the decoder if there is one; None or 0 leaves the
            two counts below as they are.
        num_encoder_layers: Layers of the encoder; None takes ``num_layers``.
        num_decoder_layers: Layers of the decoder; None or 0 is a model without one.
        dim_feedforward: Width of the feed-forward; None is 4 · ``d_model``.
        num_tokens: Size V of the vocabulary.
        dropout: Share of values dropped in training, 0 ≤ p < 1.
        emb_dim: Width of the embedding, even; None is ``d_model``.

    Raises:
        ConfigError: A size is out of range, does not divide or contradicts another one.

    Source: Vaswani et al. 2017, section 3; emb_dim: Lan et al. 2020 (ALBERT), section 3.1.
    Differs: embeddings have no layer norm and no segments, as in Vaswani and not in BERT.

    >>> import torch, tinybert
    >>> model = tinybert.TinyBERT(d_model=16, nhead=2, num_layers=1, num_tokens=50).eval()
    >>> model(torch.tensor([[4, 7, 9]])).shape
    torch.Size([1, 3, 50])
    >>> pair = tinybert.TinyBERT(16, 2, 1, num_decoder_layers=1, num_tokens=50).eval()
    >>> pair(torch.tensor([[4, 7, 9]]), torch.tensor([[1, 5]])).shape
    torch.Size([1, 2, 50])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        num_layers: int | None = None,
        num_encoder_layers: int | None = None,
        num_decoder_layers: int | None = None,
        dim_feedforward: int | None = None,
        num_tokens: int = 30522,
        dropout: float = 0.1,
        emb_dim: int | None = None,
    ) -> None:
        super().__init__()
        encoder, decoder = layer_counts(num_layers, num_encoder_layers, num_decoder_layers)
        self.config = TransformerConfig(
            d_model=whole("d_model", d_model),
            nhead=nhead,
            num_encoder_layers=encoder,
            num_decoder_layers=decoder,
            dim_feedforward=4 * d_model if dim_feedforward is None else dim_feedforward,
            num_tokens=num_tokens,
            dropout=dropout,
            emb_dim=d_model if emb_dim is None else emb_dim,
        )
        sizes = (d_model, nhead, self.config.dim_feedforward, dropout)
        self.embedding = TiedEmbedding(num_tokens, self.config.emb_dim, d_model, dropout)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(encoder))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(decoder))

    def forward(
        self,
        src: Tensor,
        tgt: Tensor | None = None,
        *,
        src_pad_mask: Tensor | None = None,
        tgt_pad_mask: Tensor | None = None,
    ) -> Tensor:
        """Return logits at every position of the target, or of the source where there is no target.

        Args:
            src: Source ids, int64 (B, T).
            tgt: Target ids that the decoder reads, int64 (B, U): position u sees those up to u
                alone, and its logits are the guess of token u + 1. None: the encoder's output.
            src_pad_mask: Bool (B, T), True on padding; None is no padding. Ids there may be any.
            tgt_pad_mask: Bool (B, U), the same for the target.

        Returns:
            Float (B, U, V) with a target, (B, T, V) without; meaningless on padding.

        Raises:
            ConfigError: A target without a decoder, or an id that is no token.
            ShapeError: A tensor of another shape or dtype.
        """
        memory = self.encode(src, src_pad_mask=src_pad_mask)[-1]
        if tgt is not None:
            return self.decode(tgt, memory, src_pad_mask=src_pad_mask, tgt_pad_mask=tgt_pad_mask)
        if tgt_pad_mask is not None:
            raise ConfigError("tgt_pad_mask is given without tgt; wanted both or neither")
        return self.logits(memory)

    def encode(self, src: Tensor, *, src_pad_mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return all hidden states of the encoder, what the layer losses compare.

        Args:
            src: Source ids, int64 (B, T).
            src_pad_mask: Bool (B, T), True on padding; None is no padding.

        Returns:
            M + 1 tensors, float (B, T, D): what enters the first layer, then each layer's output.

        Raises:
            ConfigError: An id that is no token.
            ShapeError: A tensor of another shape or dtype.
        """
        hidden = [self.embedding(src, src_pad_mask, "src")]
        mask = None if src_pad_mask is None else src_pad_mask[:, None, None]
        for layer in self.encoder:
            hidden.append(layer(hidden[-1], mask))
        return tuple(hidden)

    def attention_scores(self, hidden: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the encoder's attention scores A = Q·Kᵀ/√d_k, before masking and softmax.

        Args:
            hidden: What ``encode`` returned.

        Returns:
            M tensors, float (B, H, T, T), one for each layer, queries in rows.

        Raises:
            ShapeError: Not M + 1 states.

        Source: Jiao et al. 2020, section 3.1 (the unnormalized attention matrix).
        """
        if len(hidden) != len(self.encoder) + 1:
            raise ShapeError(
                f"hidden holds {len(hidden)} states; wanted the {len(self.encoder) + 1} of encode"
            )
        layers = cast("Sequence[EncoderLayer]", self.encoder)
        pairs = zip(layers, hidden[:-1], strict=True)
        return tuple(layer.attention.scores(states) for layer, states in pairs)

    def decode(
        self,
        tgt: Tensor,
        memory: Tensor,
        *,
        src_pad_mask: Tensor | None = None,
        tgt_pad_mask: Tensor | None = None,
    ) -> Tensor:
        """Return logits of each next target token.

        Args:
            tgt: Target ids, int64 (B, U).
            memory: The encoder's last states, float (B, T, D).
            src_pad_mask: Bool (B, T), True where ``memory`` is padding.
            tgt_pad_mask: Bool (B, U), True where ``tgt`` is padding.

        Returns:
            Float (B, U, V).

        Raises:
            ConfigError: No decoder, or an id that is no token.
            ShapeError: A tensor of another shape or dtype.
        """
        return self.logits(self._decode(tgt, memory, src_pad_mask, tgt_pad_mask))

    def logits(self, states: Tensor) -> Tensor:
        """Return logits (..., V) of states (..., D), through the embedding's own table."""
        return self.embedding.logits(states)

    def generate(
        self,
        src: Tensor,
        *,
        start: int,
        end: int,
        pad: int = 0,
        max_length: int = 64,
        src_pad_mask: Tensor | None = None,
        beams: int = 1,
        length_penalty: float = 0.6,
    ) -> Tensor:
        """Write a target for each source: greedily, or the best of ``beams`` sequences.

        Args:
            src: Source ids, int64 (B, T).
            start: Id that the decoder reads first.
            end: Id that ends a target.
            pad: Id that fills a row after its end.
            max_length: Most tokens of a target.
            src_pad_mask: Bool (B, T), True on padding; None is no padding.
            beams: Sequences followed at once; 1 takes the likeliest token every time.
            length_penalty: α of ``decoding.beam_search``; with one beam it changes nothing.

        Returns:
            Int64 (B, L), L ≤ ``max_length``: without ``start``, with ``end``, then ``pad``.
            Dropout is off meanwhile; afterwards each part is in the mode it was in.

        Raises:
            ConfigError: No decoder, an id that is no token, or a setting out of range.
            ShapeError: A tensor of another shape or dtype.
        """
        search = {"end": end, "pad": pad, "max_length": max_length}
        if beams == 1:
            with self._searching(src, src_pad_mask, 1, start, search) as (next_logits, starts):
                return greedy_search(next_logits, starts, **search)
        found, _ = self.beam_search(
            src,
            start=start,
            end=end,
            pad=pad,
            max_length=max_length,
            src_pad_mask=src_pad_mask,
            beams=beams,
            length_penalty=length_penalty,
        )
        return found[:, 0]

    def beam_search(
        self,
        src: Tensor,
        *,
        start: int,
        end: int,
        pad: int = 0,
        max_length: int = 64,
        src_pad_mask: Tensor | None = None,
        beams: int = 4,
        length_penalty: float = 0.6,
    ) -> tuple[Tensor, Tensor]:
        """Write the ``beams`` best targets that a search finds; arguments as in ``generate``.

        Returns:
            Targets, int64 (B, beams, L), best first, and their scores, float (B, beams), falling.

        Raises:
            ConfigError: As in ``generate``.
            ShapeError: As in ``generate``.

        Source: Vaswani et al. 2017, section 6.1 (4 beams, α = 0.6).
        """
        search = {"end": end, "pad": pad, "max_length": max_length}
        with self._searching(src, src_pad_mask, beams, start, search) as (next_logits, starts):
            return beam_search(
                next_logits, starts, **search, beams=beams, length_penalty=length_penalty
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``, each whole or not at all.

        Raises:
            ConfigError: ``folder`` is a file.
        """
        save_checkpoint(folder, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Load what ``save_pretrained`` wrote.

        Returns:
            The model in eval mode, on the CPU, its weights of the type they were saved in.

        Raises:
            ArtifactError: A file is missing or damaged, or the weights do not fit the config.
            ConfigError: The config holds an unknown setting or a value out of range.
        """
        config, weights = load_checkpoint(folder)
        with torch.device("meta"):
            model = cls(**asdict(config))
        try:
            model.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            raise ArtifactError(f"{folder}: the weights do not fit the config: {error}") from error
        return model.eval()

    def _decode(
        self,
        tgt: Tensor,
        memory: Tensor,
        src_pad_mask: Tensor | None,
        tgt_pad_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the decoder's states (B, U, D)."""
        self._need_decoder("tgt is given")
        if not torch.compiler.is_compiling() and tgt.shape[:1] != memory.shape[:1]:
            raise ShapeError(
                f"tgt is {tuple(tgt.shape)}, the source has {memory.shape[0]} rows; "
                "wanted the same number of rows"
            )
        states = self.embedding(tgt, tgt_pad_mask, "tgt")
        position = torch.arange(tgt.shape[1], device=tgt.device)
        mask = position[None, :] > position[:, None]
        if tgt_pad_mask is not None:
            mask = mask | tgt_pad_mask[:, None, None]
        memory_mask = None if src_pad_mask is None else src_pad_mask[:, None, None]
        for layer in self.decoder:
            states = layer(states, memory, mask, memory_mask)
        return cast(Tensor, states)

    def _need_decoder(self, asked: str) -> None:
        """Refuse what wants a decoder where there is none."""
        if not self.decoder:
            raise ConfigError(
                f"{asked}, but the model has no decoder (num_decoder_layers is 0); "
                "make it with num_decoder_layers"
            )

    @contextmanager
    def _searching(
        self, src: Tensor, pad_mask: Tensor | None, beams: int, start: int, search: dict[str, int]
    ) -> Iterator[tuple[NextLogits, Tensor]]:
        """Yield the next-token logits of prefixes, and the first tokens (B,) of the prefixes."""
        self._need_decoder("texts are to be written")
        check_search(self.config.num_tokens, beams, start=start, **search)
        with evaluating(self):
            memory = self.encode(src, src_pad_mask=pad_mask)[-1].repeat_interleave(beams, 0)
            mask = None if pad_mask is None else pad_mask.repeat_interleave(beams, 0)
            starts = torch.full(src.shape[:1], start, device=src.device)
            yield lambda prefix: self.logits(self._decode(prefix, memory, mask)[:, -1]), starts
