"""Layer mapping g(m): which teacher layer each student layer learns from."""

from collections.abc import Sequence

from tinybert.errors import ConfigError

__all__ = ["even_layers", "layer_map"]


def layer_map(
    mapping: str | Sequence[int], student_layers: int, teacher_layers: int
) -> tuple[int, ...]:
    """Return the teacher layer that each student layer imitates.

    ``uniform``: g(m) = round(m·N/M). ``last``: the top M layers, g(m) = N - M + m. A list names the
    teacher layers themselves. Layer 0 is the embedding; layers count from 1.

    Args:
        mapping: ``uniform``, ``last`` or M increasing teacher layers, each 1..N.
        student_layers: M, at least 1.
        teacher_layers: N, at least M.

    Returns:
        M teacher layers: element m-1 is g(m).

    Raises:
        ConfigError: An unknown name, a list of the wrong length, out of range or not increasing.

    Source: Jiao et al. 2020, section 3.1.
    Differs: where N is not a multiple of M the paper has no rule; g(m) is rounded, halves up.

    >>> layer_map("uniform", 4, 12)
    (3, 6, 9, 12)
    >>> layer_map("last", 2, 6)
    (5, 6)
    """
    if student_layers < 1 or student_layers > teacher_layers:
        raise ConfigError(
            f"a student of {student_layers} layers cannot learn layer by layer from a teacher of "
            f"{teacher_layers}; wanted 1 to {teacher_layers}"
        )
    if mapping == "uniform":
        return tuple(
            (2 * m * teacher_layers + student_layers) // (2 * student_layers)
            for m in range(1, student_layers + 1)
        )
    if mapping == "last":
        return tuple(range(teacher_layers - student_layers + 1, teacher_layers + 1))
    if isinstance(mapping, str):
        raise ConfigError(f"mapping `{mapping}` is unknown; wanted `uniform`, `last` or a list")
    layers = tuple(mapping)
    if len(layers) != student_layers:
        raise ConfigError(
            f"mapping {list(layers)} names {len(layers)} teacher layers; "
            f"wanted {student_layers}, one for each student layer"
        )
    _check_layers("mapping", layers, first=1, last=teacher_layers)
    return layers


def even_layers(layers: int | Sequence[int], teacher_layers: int) -> tuple[int, ...]:
    """Return which teacher layers a student's layers are copied from, counted from 0.

    Args:
        layers: How many layers to take, evenly spread up to the last one (those that ``uniform``
            maps to); or the layers.
        teacher_layers: N.

    Returns:
        Increasing layer indices, each 0..N-1.

    Raises:
        ConfigError: More layers than the teacher has, or a list that does not increase.

    >>> even_layers(3, 6)
    (1, 3, 5)
    >>> even_layers([1, 5], 6)
    (1, 5)
    """
    if isinstance(layers, int):
        if not 1 <= layers <= teacher_layers:
            raise ConfigError(f"layers is {layers}; wanted 1 to {teacher_layers}")
        return tuple(n - 1 for n in layer_map("uniform", layers, teacher_layers))
    chosen = tuple(layers)
    if not chosen:
        raise ConfigError("layers is an empty list; wanted at least one layer")
    _check_layers("layers", chosen, first=0, last=teacher_layers - 1)
    return chosen


def _check_layers(name: str, layers: tuple[int, ...], *, first: int, last: int) -> None:
    """Refuse layers that are out of range or not strictly increasing."""
    if any(not first <= layer <= last for layer in layers):
        raise ConfigError(f"{name} {list(layers)} leaves the teacher; wanted {first} to {last}")
    if list(layers) != sorted(set(layers)):
        raise ConfigError(f"{name} {list(layers)} must increase, each layer once")
