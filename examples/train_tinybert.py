"""Train a Transformer from nothing to fill gaps, then to translate, on embedded data.

Example: python examples/train_tinybert.py --steps 600
"""

import argparse

import torch
from tokenizers import BertWordPieceTokenizer

import tinybert
from tinybert.language_model import mask_tokens, shift_tokens, token_scores

PAD, _, START, END, MASK = range(5)  # as the tokenizer numbers them


def train(model, data, sample, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)  # 1. initialize
    for step in range(1, steps + 1):
        rows = torch.randint(len(data["train"][0]), (32,))
        src, *tgt, wanted = sample(*(side[rows] for side in data["train"]))  # 2. sample batches
        logits = model.train()(src, *tgt, src_pad_mask=src == PAD)  # 3. forward
        loss = torch.nn.functional.cross_entropy(logits.mT, wanted)  # 4. loss
        loss.backward()  # 5. optimize
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"  step {step}: loss {loss:.2f}", flush=True)
    src, *tgt, wanted = sample(*data["dev"])
    logits = model.eval()(src, *tgt, src_pad_mask=src == PAD)
    scores = token_scores(logits.detach(), wanted, sample(*data["train"])[-1])
    print("  unseen texts:", ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))


parser = argparse.ArgumentParser(description="Train a Transformer from nothing.")
parser.add_argument("--steps", type=int, default=600, help="of each training")
steps = parser.parse_args().steps
torch.manual_seed(0)
english, chinese = (tinybert.datasets.load(language=name) for name in ("en", "zh"))
zh = {row["id"]: row["subject"] for split in chinese.values() for row in split}
tokenizer = BertWordPieceTokenizer()
texts = [*english["train"]["text"], *chinese["train"]["text"]]
tokenizer.train_from_iterator(texts, 3000, limit_alphabet=2000, show_progress=False)
tokenizer.enable_padding()
data = {}
for name, rows in english.items():
    pairs = [f"[CLS] {x} [SEP]" for row in rows for x in (row["subject"], zh[row["id"]])]
    ids = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(pairs)])
    data[name] = ids[::2, :16], ids[1::2, :16]
model = tinybert.TinyBERT(128, 4, 2, 2, 2, 512, tokenizer.get_vocab_size(), 0.0)
train(model, data, lambda *x: mask_tokens(torch.cat(x), mask=MASK, specials=5, share=0.3), steps)
src, _ = mask_tokens(torch.cat(data["dev"])[::60], mask=MASK, specials=5, share=0.3)
filled = torch.where(src == MASK, model(src, src_pad_mask=src == PAD).argmax(-1), src)
for row in torch.stack([src, filled], dim=1)[:, :, 1:9].tolist():
    print("  ", " -> ".join(tokenizer.decode_batch(row, skip_special_tokens=False)))
train(model, data, lambda src, tgt: (src, *shift_tokens(tgt, pad=PAD)), steps)
src, tgt = (side[:5] for side in data["train"])
found = model.generate(src, start=START, end=END, beams=4, src_pad_mask=src == PAD)
rows = zip(src.tolist(), found.tolist(), tgt.tolist(), strict=True)
print(*map(tokenizer.decode_batch, rows), sep="\n")
