from __future__ import annotations

import pytest

from ckdmed.sections.spread import spread_items

ITEMS = [
    {"id": f"{group}{number}", "patient_group": group}
    for group, n in (("a", 5), ("b", 1), ("c", 3))
    for number in range(n)
]


def chosen(count: int) -> list[str]:
    return [str(item["id"]) for item in spread_items(ITEMS, count)]


def test_as_many_of_each_patient_and_evenly_over_what_it_has():
    assert chosen(3) == ["a2", "b0", "c1"]
    assert chosen(5) == ["a1", "a3", "b0", "c0", "c2"]
    # b has no more
    assert chosen(7) == ["a0", "a2", "a4", "b0", "c0", "c1", "c2"]
    assert chosen(9) == chosen(100) == [item["id"] for item in ITEMS]
    assert chosen(2) == ["a2", "b0"]


def test_none_is_too_few():
    with pytest.raises(ValueError, match="at least 1 item must be left, got 0"):
        spread_items(ITEMS, 0)
