"""What every plan of many runs must hold: different choices of each kind, and shares of labels that are shares."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

__all__ = ["check_different", "check_regimes"]


def check_different(**choices: Sequence[Hashable]) -> None:
    """Raise ValueError, with the kind's name, unless there is at least one choice of each kind and none stands twice.

    Args:
        choices: kind ("seeds", "arms" ...) -> the choices.
    """
    for kind, given in choices.items():
        if len(set(given)) != len(given) or not given:
            raise ValueError(f"{kind} must be different ones, at least one, got {list(given)}.")


def check_regimes(regimes: Sequence[float]) -> None:
    """Raise ValueError unless all shares of labelled patients lie in (0, 1] and differ."""
    check_different(regimes=regimes)
    wrong = [regime for regime in regimes if not 0 < regime <= 1]
    if wrong:
        raise ValueError(f"a regime is a share of labelled patients above 0 and at most 1, got {wrong}.")
