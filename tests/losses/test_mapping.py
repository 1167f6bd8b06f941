"""Layer mappings of the paper and refusals."""

import pytest

from tinybert.errors import ConfigError
from tinybert.mapping import even_layers, layer_map


@pytest.mark.parametrize(
    ("mapping", "student", "teacher", "wanted"),
    [
        ("uniform", 4, 12, (3, 6, 9, 12)),
        ("uniform", 6, 12, (2, 4, 6, 8, 10, 12)),
        ("uniform", 4, 6, (2, 3, 5, 6)),
        ("last", 4, 12, (9, 10, 11, 12)),
        ([1, 5], 2, 6, (1, 5)),
    ],
)
def test_maps(mapping, student, teacher, wanted):
    assert layer_map(mapping, student, teacher) == wanted


@pytest.mark.parametrize("student", range(1, 7))
def test_uniform_always_increases_and_ends_on_top(student):
    found = layer_map("uniform", student, 6)
    assert list(found) == sorted(set(found))
    assert found[-1] == 6


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("middle", "`middle` is unknown"),
        ([1, 2, 3], "names 3 teacher layers; wanted 2"),
        ([0, 5], "wanted 1 to 6"),
        ([5, 2], "must increase"),
    ],
)
def test_bad_mappings(mapping, message):
    with pytest.raises(ConfigError, match=message):
        layer_map(mapping, 2, 6)


def test_layers_to_copy():
    assert even_layers(3, 12) == (3, 7, 11)
    assert even_layers([0, 5], 6) == (0, 5)
    with pytest.raises(ConfigError, match="layers is 7; wanted 1 to 6"):
        even_layers(7, 6)
    with pytest.raises(ConfigError, match="leaves the teacher"):
        even_layers([0, 6], 6)
    with pytest.raises(ConfigError, match="empty list"):
        even_layers([], 6)
