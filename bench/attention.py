"""Milliseconds of a training step with and without PyTorch's fused attention, in bfloat16.

Examples:
    python bench/attention.py

A three-layer encoder of 384 (batches of 32 texts) and an encoder-decoder of 128 (batches of 128
pairs), random weights and tokens, forward and backward, on one thread. The two ways take turns; the
ratio is the median over rounds. Results: attention.json.
"""

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

from _results import write
from _turns import leads, turns

LENGTHS = (16, 64)
ROUNDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    rows = [measure(model, tokens, rounds) for model in MODELS for tokens in LENGTHS]
    for row in rows:
        print(row)
    print(f"wrote {write('attention', rows, f'python bench/attention.py --rounds {rounds}')}")


def measure(model: str, tokens: int, rounds: int) -> dict[str, Any]:
    """Return what a step on rows of so many tokens takes, and the lead of plain products."""
    import torch

    from tinybert.distill.attention import plain_attention

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, step = MODELS[model](tokens)

    def learn(longest: int | None) -> Callable[[Any], None]:
        def once(_: Any) -> None:
            with plain_attention(network, bf16=True, longest=longest):
                with torch.autocast("cpu", torch.bfloat16):
                    loss = step()
                loss.backward()
            network.zero_grad()

        return once

    times = turns({"plain": learn(tokens), "fused": learn(None)}, [None] * rounds)
    found = {f"{name}_ms": round(1e3 * median(took), 1) for name, took in times.items()}
    return {"model": model, "tokens": tokens} | found | leads(times, "plain")


def encoder(tokens: int) -> tuple[Any, Callable[[], Any]]:
    """Return a classifier and a function that gives the loss of a batch."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=384, num_hidden_layers=3, num_attention_heads=12, intermediate_size=1536
    )
    network = BertForSequenceClassification(config)
    ids = torch.randint(1000, 30_000, (32, tokens))
    given = {"input_ids": ids, "attention_mask": ids * 0 + 1, "labels": ids[:, 0] % 2}
    return network, lambda: network(**given).loss


def writer(tokens: int) -> tuple[Any, Callable[[], Any]]:
    """Return an encoder-decoder and a function that gives the loss of a batch."""
    import torch

    from tinybert.bart import new_writer

    network = new_writer(
        6000, layers=(4, 4), hidden=128, heads=4, positions=tokens, start=0, pad=1, eos=2
    )
    ids = torch.randint(3, 6000, (128, tokens))
    given = {"input_ids": ids, "attention_mask": ids * 0 + 1, "labels": ids}
    return network.train(), lambda: network(**given).loss


MODELS = {"encoder": encoder, "writer": writer}


if __name__ == "__main__":
    main()
