"""The check of a word that chooses one of several networks."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["check_kind"]


def check_kind(kind: str, known: Collection[str], what: str) -> None:
    """Raise ValueError unless `kind` is among those that are known, which the message lists.

    Args:
        kind: the word given.
        known: the words that mean something.
        what: what they are kinds of, such as "teacher".
    """
    if kind not in known:
        raise ValueError(f"the kind of {what} must be one of {', '.join(known)}, got {kind!r}.")
