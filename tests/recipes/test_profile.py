"""The sizes of a profile out of a bundle's table."""

from __future__ import annotations

import pytest

from ckdmed.recipes import sizes_of

PROFILES = {"epochs": {"demo": 1, "full": 9}, "base": {"demo": 8, "full": 32, "demo_3d": 8, "full_3d": 16}}


@pytest.mark.parametrize(
    ("profile", "found"),
    [("demo", (1, 8)), ("full", (9, 32)), ("full_3d", (9, 16)), ("demo_3d", (1, 8))],
)
def test_a_size_without_a_column_for_volumes_is_that_of_slices(profile: str, found: tuple[int, int]) -> None:
    assert sizes_of(PROFILES, profile) == dict(zip(("epochs", "base"), found))


def test_a_profile_that_the_table_does_not_have() -> None:
    with pytest.raises(ValueError, match="no 'tiny_3d' for epochs: it has demo, full"):
        sizes_of(PROFILES, "tiny_3d")
