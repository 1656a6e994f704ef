"""The sizes of a profile, out of the table of profiles at the top of a bundle's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["sizes_of"]

_VOLUMES = "_3d"


def sizes_of(profiles: Mapping[str, Mapping[str, Any]], profile: str) -> dict[str, Any]:
    """Setting -> its value in a profile; a setting without a column of its own for volumes has that of slices.

    Args:
        profiles: setting -> profile -> value.
        profile: such as "demo", or "demo_3d" for volumes.

    Raises:
        ValueError: a setting that has no value for the profile.
    """
    found = {}
    for name, column in profiles.items():
        chosen = profile if profile in column else profile.removesuffix(_VOLUMES)
        if chosen not in column:
            raise ValueError(f"the table of profiles has no '{profile}' for {name}: it has {', '.join(column)}.")
        found[name] = column[chosen]
    return found
