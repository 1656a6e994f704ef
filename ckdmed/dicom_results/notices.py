"""What every output says of its own limits: for research only, and what the network was not made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckdmed.research_use import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from ckdmed.intended_inputs import InputCheck

__all__ = ["NOT_CHECKED", "full_notice", "short_notice", "unintended_reasons"]

NOT_CHECKED = "Whether the network was made for such an input is not known."


def unintended_reasons(check: InputCheck) -> list[str] | None:
    """The result of a check as results of a series take it: reasons, none, or None where nothing could be compared."""
    return None if check.status == "unknown" else list(check.reasons)


def full_notice(unintended: Sequence[str] | None) -> str:
    """The mark, and why the result is not to be relied on.

    Args:
        unintended: reasons why the input is not one that the network was made for; empty where none was found, None
            where nobody looked.
    """
    if unintended is None:
        return f"{RESEARCH_USE_ONLY} {NOT_CHECKED}"
    if not unintended:
        return RESEARCH_USE_ONLY
    reasons = "; ".join(" ".join(reason.split()).rstrip(".") for reason in unintended)
    return f"{RESEARCH_USE_ONLY} OUTSIDE WHAT THE NETWORK WAS MADE FOR: {reasons}. Do not rely on the result."


def short_notice(unintended: Sequence[str] | None) -> str:
    """The mark for a place of few letters: at most 40."""
    return "UNINTENDED INPUT, RESEARCH USE ONLY" if unintended else "RESEARCH USE ONLY"
