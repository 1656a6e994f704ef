"""A number with what it counts, for people to read."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str) -> str:
    """ "1 file", "2 files": the noun gets an s for every number but 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
