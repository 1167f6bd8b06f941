"""Encoder-decoders: CTranslate2 against PyTorch, BERT against BART, thinned against whole."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from small_writers import TEXTS, save_random_writer
from tinybert.bart import choose_layers, from_bert, new_writer, set_epsilon, shrink
from tinybert.distill.generated import TorchWriter
from tinybert.distill.writers import load_writer
from tinybert.distill.writing import open_model
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.runtime import Decoding
from tinybert.text import Tokenizer


@pytest.fixture(scope="module", params=["bart", "m2m_100", "marian", "mbart"])
def writer(request, tmp_path_factory):
    folder = save_random_writer(tmp_path_factory.mktemp(request.param) / "w", request.param)
    network, tokenizer = load_writer(folder), Tokenizer(folder, max_length=32)
    return network, tokenizer, open_model(network, (tokenizer, tokenizer), folder / "ct2")


@pytest.mark.parametrize("beams", [1, 4])
def test_answers_are_those_of_generate(writer, beams):
    network, tokenizer, write = writer
    settings = Decoding(beams=beams, max_tokens=12)
    answers = [one[0].text for one in write(TEXTS, settings)]
    assert len(set(answers)) == len(answers)
    for text, answer in zip(TEXTS, answers, strict=True):
        ids = torch.tensor(tokenizer.encode([text])[0])
        wanted = network.generate(
            ids, num_beams=beams, max_new_tokens=12, do_sample=False,
            suppress_tokens=[tokenizer.pad_id], **({"early_stopping": True} if beams > 1 else {}),
        )  # fmt: skip
        assert answer == tokenizer.decode(wanted[0].tolist())


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(beams=1, max_tokens=12),
        Decoding(beams=6, max_tokens=30, length_penalty=0.3),
        Decoding(beams=1, max_tokens=20, no_repeat=2),
        Decoding(beams=1, max_tokens=12, repetition_penalty=1.5),
    ],
    ids=["greedy", "short", "no repeat", "penalty"],
)
def test_pytorch_writes_the_same_where_no_other_can(writer, decoding):
    network, tokenizer, write = writer
    network.generation_config.suppress_tokens = [tokenizer.pad_id]
    slow = TorchWriter(network, tokenizer, batch_size=2)
    texts = [TEXTS[0][:9], *(TEXTS if decoding.beams == 1 else ())]
    answers = [one[0].text for one in slow(texts, decoding)]
    assert answers == [one[0].text for one in write(texts, decoding)]
    if decoding.no_repeat:
        assert answers != [one[0].text for one in write(texts, decoding.over(no_repeat=0))]


def test_pytorch_reads_its_answers_by_the_tokenizer_of_targets(writer):
    network, tokenizer, _ = writer

    class Target:
        def decode(self, ids):
            return f"{len(ids)} pieces"

    slow = TorchWriter(network, tokenizer, target=Target())
    assert slow(TEXTS[:1], Decoding(beams=1, max_tokens=5))[0][0].text == "6 pieces"


def test_log_probabilities_are_those_of_the_network(writer):
    network, tokenizer, write = writer
    start, eos = network.config.decoder_start_token_id, network.config.eos_token_id
    for text in TEXTS:
        answer = tokenizer.encode([text[::-1]])[0][0][:-1]
        ids = torch.tensor(tokenizer.encode([text])[0])
        with torch.inference_mode():
            logits = network(
                input_ids=ids, decoder_input_ids=torch.tensor([[start, *answer]])
            ).logits
        wanted = logits[0].log_softmax(-1)[torch.arange(len(answer) + 1), [*answer, eos]]
        (found,) = write.log_probabilities([text], [answer])
        assert np.array(found) == pytest.approx(wanted.numpy(), abs=1e-4)


def test_a_thinned_model_has_the_layers_that_were_picked(writer):
    network = writer[0]
    student = shrink(network, [1], [0])
    assert (student.config.encoder_layers, student.config.decoder_layers) == (1, 1)
    for name, weight in student.model.encoder.layers[0].state_dict().items():
        assert torch.equal(weight, network.model.encoder.layers[1].state_dict()[name])
    assert len(network.model.encoder.layers) == 2
    assert student.lm_head.weight is student.model.shared.weight
    whole = shrink(network, [0, 1], [0])
    ids = torch.tensor([[5, 6, 7, 2]])
    for model in (whole.eval(), network):
        model.eval()
    found, wanted = (m(input_ids=ids, decoder_input_ids=ids).logits for m in (whole, network))
    assert torch.equal(found, wanted)
    with pytest.raises(
        ConfigError, match=r"encoder layers are \[2\]; the teacher has layers 0 to 1"
    ):
        shrink(network, [2], [0])


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=24, initializer_range=0.3,
    )  # fmt: skip
    return BertModel(config).eval()


@pytest.mark.parametrize(("epsilon", "limit"), [(1e-12, 2e-5), (1e-5, 5e-3)])
def test_a_bert_is_the_encoder_of_the_bart_made_of_it(bert, epsilon, limit, tmp_path):
    model = from_bert(bert, decoder_layers=[0, 2], start=2, eos=3)
    model.save_pretrained(tmp_path)
    model = load_writer(tmp_path)
    set_epsilon(model, epsilon)
    ids = torch.randint(4, 50, (3, 20))
    mask = (torch.arange(20) < torch.tensor([[20], [9], [1]])).long()
    with torch.inference_mode():
        found = model.model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        wanted = bert(input_ids=ids, attention_mask=mask).last_hidden_state
    off = (found - wanted)[mask.bool()].abs().max()
    assert off < limit
    assert (off > 1e-5) == (epsilon == 1e-5)
    decoder = model.model.decoder.layers[1]
    query = bert.encoder.layer[2].attention.self.query.weight
    assert torch.equal(decoder.self_attn.q_proj.weight, query)
    assert torch.equal(decoder.encoder_attn.q_proj.weight, query)


def test_what_cannot_be_made(bert):
    with pytest.raises(ConfigError, match="3 heads do not divide the width 32"):
        new_writer(20, layers=(1, 1), hidden=32, heads=3, start=0, pad=1, eos=2)
    with pytest.raises(ConfigError, match="the BERT has no layer 3; it has 0 to 2"):
        from_bert(bert, decoder_layers=[3], start=2, eos=3)
    with pytest.raises(
        UnsupportedModelError, match="a model of type bert; wanted one of bart, m2m_100"
    ):
        shrink(bert, [0], [0])
    with pytest.raises(ConfigError, match="7 layers were asked for; the teacher has 6"):
        choose_layers(7, 6)
    assert choose_layers(2, 6) == [0, 5]
