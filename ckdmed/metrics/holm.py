"""Holm's correction for several comparisons: p-values and the levels of intervals that go with them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

__all__ = ["holm_levels", "holm_p_values"]

Key = TypeVar("Key", bound=Hashable)


def holm_p_values(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusted p-values: those at or below alpha are significant where alpha bounds the chance of any false one.

    Of m p-values the smallest counts m times, the next m - 1 times and so on, none less than one before it, at most 1.

    Args:
        p_values: of the comparisons by name, each in [0, 1].

    Raises:
        ValueError: a value outside [0, 1], or none at all.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6.

    Examples:
        >>> holm_p_values({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    if not p_values or not all(0 <= p <= 1 for p in p_values.values()):
        raise ValueError(f"Holm's correction needs at least one p-value, all in [0, 1]; got {dict(p_values)}.")
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(_ordered(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def holm_levels(p_values: Mapping[Key, float], level: float = 0.95) -> dict[Key, float]:
    """The confidence level at which Holm's procedure looks at each comparison.

    The comparison with the smallest p-value of m gets 1 - alpha / m, the next 1 - alpha / (m - 1), up to the first that
    is not significant; it and all behind it have the level at which it failed. Intervals of these levels leave zero
    out where the adjusted p-value is at most alpha. They show the tests' decisions; those behind the first one are
    narrower than intervals that would hold all differences at once.

    Args:
        p_values: of the comparisons by name.
        level: 1 - alpha, of all comparisons together.

    Raises:
        ValueError: as :func:`holm_p_values`, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}.")
    adjusted, alpha = holm_p_values(p_values), 1 - level
    levels, tested = {}, len(p_values)
    for name in _ordered(p_values):
        levels[name] = 1 - alpha / tested
        if adjusted[name] <= alpha:
            tested = max(tested - 1, 1)
    return {name: levels[name] for name in p_values}


def _ordered(p_values: Mapping[Key, float]) -> list[Key]:
    return sorted(p_values, key=lambda name: p_values[name])
