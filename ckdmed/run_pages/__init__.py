"""Pages about runs for people: self-contained HTML and Markdown."""

from __future__ import annotations

from .comparison_part import ComparedArms
from .niivue import NiiVue, read_niivue
from .report import INDEX, MARKDOWN, Sources, is_report, read_sources, write_report

__all__ = [
    "INDEX",
    "MARKDOWN",
    "ComparedArms",
    "NiiVue",
    "Sources",
    "is_report",
    "read_niivue",
    "read_sources",
    "write_report",
]
