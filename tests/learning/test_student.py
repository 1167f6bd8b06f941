"""Students made from teachers: copies are copies, projections are sane, every layout works."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from small_layouts import CONFIGS, batch, small_classifier
from tinybert.errors import ConfigError, ShapeError, UnsupportedModelError
from tinybert.first_token import first_token_only
from tinybert.layout import layout_of
from tinybert.observe import Observer
from tinybert.projection import leading_basis
from tinybert.student import _rewrite, _table, make_student


@pytest.fixture(params=CONFIGS)
def teacher(request):
    return small_classifier(request.param)


def test_all_layers_copied_is_the_teacher(teacher):
    student = make_student(teacher, 4)
    assert torch.equal(student(**batch()).logits, teacher(**batch()).logits)


def test_chosen_layers_are_the_teachers(teacher):
    student = make_student(teacher, [0, 3])
    layout = layout_of(teacher.config)
    own, theirs = layout.layer_list(student), layout.layer_list(teacher)
    assert len(own) == 2
    for layer, index in zip(own, (0, 3), strict=True):
        wanted = theirs[index].state_dict()
        assert all(torch.equal(v, wanted[k]) for k, v in layer.state_dict().items())
    assert teacher.config.num_hidden_layers == 4


def test_narrow_student_runs_saves_and_loads(teacher, tmp_path):
    student = make_student(teacher, 2, hidden=12, heads=4, intermediate=20)
    logits = student(**batch()).logits
    assert logits.isfinite().all()
    student.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**batch()).logits, logits)


@pytest.mark.parametrize(("heads", "hidden"), [(2, 12), (4, 12), (6, 12)])
def test_head_counts_may_differ(heads, hidden):
    torch.manual_seed(0)
    teacher = AutoModelForSequenceClassification.from_config(CONFIGS["bert"]).eval()
    student = make_student(teacher, 2, hidden=hidden, heads=heads)
    assert student(**batch()).logits.isfinite().all()


def test_projection_at_full_width_is_the_teacher():
    """With D = E the basis is a rotation that commutes with layer norms of equal gains."""
    torch.manual_seed(0)
    teacher = AutoModelForSequenceClassification.from_config(CONFIGS["bert"]).eval()
    student = AutoModelForSequenceClassification.from_config(CONFIGS["bert"]).eval()
    layout = layout_of(teacher.config)
    with torch.no_grad():
        basis = leading_basis([_table(layout.encoder(teacher), 24)], 24)
        _rewrite(student, teacher, layout, (0, 1, 2, 3), basis)
    torch.testing.assert_close(basis.T @ basis, torch.eye(24))
    with Observer(teacher, scores=[1, 4]) as a, torch.no_grad():
        teacher(**batch())
    with Observer(student, scores=[1, 4]) as b, torch.no_grad():
        student(**batch())
    for m in (1, 4):
        torch.testing.assert_close(a.scores(m), b.scores(m), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(
        student(**batch()).logits, teacher(**batch()).logits, atol=1e-4, rtol=1e-3
    )


def test_narrower_feed_forward_keeps_the_rest():
    torch.manual_seed(0)
    teacher = AutoModelForSequenceClassification.from_config(CONFIGS["bert"]).eval()
    student = make_student(teacher, 4, intermediate=47)
    with Observer(teacher, scores=[1]) as a, torch.no_grad():
        teacher(**batch())
    with Observer(student, scores=[1]) as b, torch.no_grad():
        student(**batch())
    torch.testing.assert_close(a.scores(1), b.scores(1), atol=1e-5, rtol=1e-3)


def test_projected_start_is_nearer_to_the_teacher_than_a_random_one(learned_teacher):
    teacher = learned_teacher
    wanted = teacher(**batch()).logits.softmax(-1)

    def distance(random):
        found = []
        for seed in range(3):
            torch.manual_seed(seed)
            student = make_student(teacher, 4, hidden=20, heads=4, random=random)
            found.append((student(**batch()).logits.softmax(-1) - wanted).abs().mean().item())
        return sum(found) / 3

    assert distance(False) < 0.7 * distance(True)


@pytest.fixture
def learned_teacher():
    """A teacher whose answers depend on the words: trained to tell three id ranges apart."""
    torch.manual_seed(0)
    teacher = AutoModelForSequenceClassification.from_config(CONFIGS["bert"])
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=3e-3)
    for _ in range(60):
        ids = torch.randint(5, 50, (32, 9))
        labels = (ids[:, 0] - 5) // 15
        teacher(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return teacher.eval()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden": 13, "heads": 4}, "hidden 13 is not a multiple of heads 4"),
        ({"hidden": 48}, "hidden is 48; wanted 1 to 24"),
        ({"intermediate": 500}, "intermediate is 500; wanted 1 to 48"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_bad_sizes_are_named(sizes, message):
    teacher = AutoModelForSequenceClassification.from_config(CONFIGS["bert"])
    with pytest.raises(ConfigError, match=message):
        make_student(teacher, 2, **sizes)


def test_unknown_architecture_is_named():
    with pytest.raises(UnsupportedModelError, match="model type `gpt2`"):
        layout_of(type("Config", (), {"model_type": "gpt2"})())


def test_observer_equals_eager_attention(teacher):
    """softmax of the observed scores, masked, is what eager attention returns."""
    inputs = batch()
    with Observer(teacher, hidden=range(5), scores=range(1, 5)) as seen:
        plain = teacher(**inputs, output_hidden_states=True)
    teacher.set_attn_implementation("eager")
    eager = teacher(**inputs, output_attentions=True)
    mask = inputs["attention_mask"][:, None, None, :] == 0
    for m in range(1, 5):
        found = seen.scores(m).masked_fill(mask, float("-inf")).softmax(-1)
        torch.testing.assert_close(found, eager.attentions[m - 1], atol=1e-6, rtol=1e-5)
    for m in range(5):
        torch.testing.assert_close(seen.hidden(m), plain.hidden_states[m])


def test_observer_gives_queries_keys_and_values(teacher):
    """From them eager attention's own output follows, and the scores."""
    teacher.set_attn_implementation("eager")
    with Observer(teacher, scores=[2], projections=[2, 4]) as seen:
        eager = teacher(input_ids=batch()["input_ids"], output_attentions=True)
    for m in (2, 4):
        query, key, value = seen.projections(m)
        assert query.shape == key.shape == value.shape == (3, 9, 24)
        q, k = (x.unflatten(-1, (4, 6)).transpose(1, 2) for x in (query, key))
        scores = q @ k.transpose(-1, -2) / 6**0.5
        torch.testing.assert_close(scores.softmax(-1), eager.attentions[m - 1])
    own = layout_of(teacher.config).layer_list(teacher)[3]
    part = own.get_submodule(layout_of(teacher.config).value)
    with Observer(teacher, hidden=[3], projections=[4]) as seen:
        teacher(**batch())
    torch.testing.assert_close(part(seen.hidden(3)), seen.projections(4)[2])
    with pytest.raises(ShapeError, match="layer 1 gave no queries, keys and values"):
        seen.projections(1)
    with pytest.raises(ConfigError, match="projections layer 5 does not exist; wanted 1 to 4"):
        Observer(teacher, projections=[5])


def test_observer_never_gives_silent_nothing(teacher):
    with pytest.raises(ConfigError, match="hidden layer 9 does not exist; wanted 0 to 4"):
        Observer(teacher, hidden=[9])
    with Observer(teacher, scores=[1]) as seen, pytest.raises(ShapeError, match="layer 1 gave no"):
        seen.scores(1)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padded", [True, False])
def test_first_token_alone_gives_the_same_logits_and_gradients(teacher, attention, padded):
    student = make_student(teacher, 2).train()
    student.set_attn_implementation(attention)
    names = set(student.state_dict())
    inputs = batch() if padded else {"input_ids": batch()["input_ids"]}
    wanted = student(**inputs).logits
    wanted.square().sum().backward()
    gradients = {n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None}
    student.zero_grad()
    with first_token_only(student), Observer(student, hidden=[1, 2]) as seen:
        logits = student(**inputs).logits
        assert seen.hidden(1).shape[1] == 9
        assert seen.hidden(2).shape[1] == 1
    torch.testing.assert_close(logits, wanted, atol=1e-6, rtol=1e-5)
    logits.square().sum().backward()
    for name, parameter in student.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-6, rtol=1e-4)
    assert set(student.state_dict()) == names
    torch.testing.assert_close(student(**inputs).logits, wanted, atol=0, rtol=0)


def test_first_token_alone_leaves_dropout_in_training_as_it_is(teacher):
    teacher.train()
    with first_token_only(teacher), Observer(teacher, hidden=[4]) as seen:
        teacher(**batch())
        assert seen.hidden(4).shape[1] == 9
