"""What writers learn from: logits where tokens are, and batches of pairs that are alike."""

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from small_writers import TEXTS, save_random_writer
from tinybert.bart import LAYOUTS
from tinybert.distill.forward import encode_once, real_logits
from tinybert.distill.infer import batches_by_length
from tinybert.distill.trainer import Schedule, _ByLength, run_stage
from tinybert.distill.writers import load_writer
from tinybert.distill.writing import Batches, Top, WritingObjective, rows
from tinybert.text import Tokenizer


def small_t5():
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 40,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 16,
        "num_layers": 1,
        "num_heads": 2,
    }
    return T5ForConditionalGeneration(T5Config(**sizes)).eval()


@pytest.mark.parametrize("kind", [*LAYOUTS, "t5"])
def test_logits_are_those_of_the_whole_model(kind, tmp_path):
    model = small_t5() if kind == "t5" else load_writer(save_random_writer(tmp_path / "w", kind))
    bias = getattr(model, "final_logits_bias", None)
    assert (bias is None) == (kind in ("m2m_100", "t5"))
    if bias is not None:
        bias.copy_(torch.randn_like(bias))
    ids = torch.randint(3, 30, (3, 7))
    mask = (torch.arange(7) < torch.tensor([7, 4, 2])[:, None]).long()
    targets, source = torch.randint(3, 30, (3, 5)), torch.tensor([2, 0, 2])
    inputs = {"input_ids": ids, "attention_mask": mask, "source": source}
    inputs["decoder_input_ids"] = targets
    whole = {"input_ids": ids[source], "attention_mask": mask[source]}
    real = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    with torch.inference_mode():
        wanted = model(**whole, decoder_input_ids=targets, use_cache=False).logits[real]
        found = real_logits(model, inputs, real)
    assert found.shape == (10, model.config.vocab_size)
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["bart", "marian", "m2m_100", "t5"])
def test_a_source_with_two_targets_is_two_rows(kind, tmp_path):
    model = small_t5() if kind == "t5" else load_writer(save_random_writer(tmp_path / "w", kind))
    random = np.random.default_rng(0)
    top = Top(random.integers(3, 30, (14, 2)).astype(np.int32), np.full((14, 2), 0.5, np.float16))
    sources, targets = [[5, 6, 7, 2], [8, 2]], [[[9, 10, 2], [11, 2]], [[12, 13, 14, 15, 2]]]
    together = [
        {"input_ids": sources[0], "labels": targets[0], "weights": [0.7, 0.3], "places": [0, 3]},
        {"input_ids": sources[1], "labels": targets[1], "weights": [1.0], "places": [5]},
    ]
    apart = [
        {"input_ids": row["input_ids"], "labels": [one], "weights": [weight], "places": [place]}
        for row in together
        for one, weight, place in zip(row["labels"], row["weights"], row["places"], strict=True)
    ]
    found = []
    for batch in (together, apart):
        objective = WritingObjective(model.eval(), smoothing=0.1, word_level=0.5)
        loss = objective(**Batches(1, 0, top)(batch))["loss"]
        objective.zero_grad()
        loss.backward()
        found.append((loss, [p.grad.clone() for p in objective.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[0], found[1])


def test_the_encoder_runs_once_for_each_source(tmp_path):
    model = load_writer(save_random_writer(tmp_path / "w"))
    seen = []
    model.get_encoder().register_forward_hook(lambda *a: seen.append(a[2].last_hidden_state.shape))
    ids = torch.randint(3, 30, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs |= {"source": torch.tensor([0, 0, 1]), "decoder_input_ids": ids[:1]}
    given = encode_once(model, inputs)
    assert [shape[0] for shape in seen] == [2]
    states = given["encoder_outputs"].last_hidden_state
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert given["attention_mask"].shape == (3, 7)


def pairs_for(folder, count):
    """Return a model, and rows of pairs whose sources and targets are of any length."""
    model = load_writer(save_random_writer(folder))
    tokenizer = Tokenizer(folder, max_length=60)
    random = np.random.default_rng(0)
    words = " ".join(TEXTS).split()
    sides = random.integers(1, 12, (2, count))
    texts = [[" ".join(random.choice(words, size)) for size in side] for side in sides]
    targets = [[text] for text in texts[1]]
    return model, rows(texts[0], targets, [[1.0]] * count, (tokenizer, tokenizer), model)


def test_a_stage_reads_pairs_in_their_order(tmp_path):
    model, learned = pairs_for(tmp_path / "w", 32)
    seen = []

    def collate(batch):
        seen.extend(row["places"][0] for row in batch)
        return Batches(1, 0)(batch)

    schedule = Schedule(1e-3, 4, warmup=0.0, seed=3, bf16=False, epochs=1)
    run_stage(tmp_path / "stage", WritingObjective(model), learned, collate, schedule)
    places = np.array(learned["places"])[:, 0]
    assert seen[:32] == places[list(_ByLength(learned["order"], 4, seed=3))].tolist()
    assert seen[:32] != places[list(_ByLength(learned["length"], 4, seed=3))].tolist()


def test_pairs_that_are_alike_share_a_batch(tmp_path):
    random = np.random.default_rng(1)
    _, learned = pairs_for(tmp_path / "w", 320)
    lengths = np.array([(len(r["input_ids"]), len(r["labels"][0])) for r in learned])

    def padded(batches):
        return sum(int(lengths[b].max(axis=0).sum()) * len(b) for b in batches) / lengths.sum()

    order = list(_ByLength(learned["order"], 8, seed=0))
    assert sorted(order) == list(range(320))
    mixed = padded(np.split(random.permutation(320), 40))
    assert padded(np.split(np.array(order), 40)) < padded(
        np.split(np.array(list(_ByLength(learned["length"], 8, seed=0))), 40)
    )
    assert padded(batches_by_length(list(learned["order"]), 8)) < 0.85 * mixed
