"""The mark that every result carries."""

from __future__ import annotations

__all__ = ["RESEARCH_USE_ONLY"]

#: Stands in every file of results that can hold a text, and below every picture of one.
RESEARCH_USE_ONLY = "Research use only. Not a medical device."
