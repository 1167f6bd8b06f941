"""Passes of encoder-decoders in training: sources once, logits where there are tokens."""

from collections.abc import Mapping
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from tinybert.bart import LAYOUTS

__all__ = ["encode_once", "real_logits"]


def encode_once(
    model: PreTrainedModel, inputs: Mapping[str, Tensor], **settings: Any
) -> dict[str, Any]:
    """Run a model's encoder once for each source, whatever the number of its targets.

    Args:
        model: The encoder-decoder.
        inputs: ``input_ids``, ``attention_mask`` (B, S), ``source`` (R,), ``decoder_input_ids``
            (R, T).
        settings: Of the encoder's call.

    Returns:
        What the model takes for R targets: ``encoder_outputs``, whose last states are (R, S, D),
        ``attention_mask`` (R, S) and ``decoder_input_ids``.
    """
    encoder: Any = model.get_encoder()
    mask, source = inputs["attention_mask"], inputs["source"]
    found = encoder(
        input_ids=inputs["input_ids"], attention_mask=mask, return_dict=True, **settings
    )
    found.last_hidden_state = found.last_hidden_state.index_select(0, source)
    return {
        "encoder_outputs": found,
        "attention_mask": mask.index_select(0, source),
        "decoder_input_ids": inputs["decoder_input_ids"],
    }


def real_logits(model: PreTrainedModel, inputs: Mapping[str, Tensor], real: Tensor) -> Tensor:
    """Return a model's logits, float (N, V), at the N places of its decoder that are ``real``.

    Args:
        model: The encoder-decoder; one of BART's layout computes none for the other places.
        inputs: As for ``encode_once``.
        real: Bool (R, T).
    """
    parts: Any = model
    given = encode_once(model, inputs)
    if model.config.model_type not in LAYOUTS:
        return cast("Tensor", parts(**given, use_cache=False).logits[real])
    states = parts.model(**given, use_cache=False).last_hidden_state[real]
    bias = getattr(model, "final_logits_bias", None)
    return F.linear(states, parts.lm_head.weight, None if bias is None else bias[0])
