"""Fewer items of a section, spread over its patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckdmed.data.splits import GROUP_KEY

__all__ = ["spread_items"]


def spread_items(items: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """At most ``count`` items, in their order: as many of each patient as of the others, evenly over those it has.

    The same items always. Fewer than there are patients are of the first ones.

    Raises:
        ValueError: a count below 1.
    """
    if count < 1:
        raise ValueError(f"at least 1 item must be left, got {count}.")
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(str(item[GROUP_KEY]), []).append(place)
    shares = dict.fromkeys(places, 0)
    left = min(count, len(items))
    while left:
        for group in places:
            if left and shares[group] < len(places[group]):
                shares[group] += 1
                left -= 1
    chosen = {own[k] for group, own in places.items() for k in _evenly(len(own), shares[group])}
    return [item for place, item in enumerate(items) if place in chosen]


def _evenly(of: int, count: int) -> list[int]:
    """The middle of each of ``count`` equal parts."""
    return [int(place) for place in np.floor((np.arange(count) + 0.5) * of / max(count, 1))]
