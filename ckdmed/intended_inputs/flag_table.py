"""How many inputs of data sets are flagged, as a table."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ckdmed.data.image_files import find_inputs
from ckdmed.data.slice_files import read_slices
from ckdmed.intended_inputs.check import InputCheck, check_input
from ckdmed.intended_inputs.record import IntendedInputs
from ckdmed.intended_inputs.series_facts import facts_of_slices

__all__ = ["FlagCounts", "count_flags", "flag_table"]


@dataclass
class FlagCounts:
    """What came of the check of a data set.

    Args:
        name: of the data set.
        inputs: how many were checked.
        by_header: how many of them are flagged for what their header or name says.
        by_appearance: how many are flagged for how they look, whatever they are called.
        outside: how many are flagged for either.
        slices, flagged_slices: those that were looked at.
        flagged: a line for each flagged input.
        unread: why inputs could not be read.
    """

    name: str
    inputs: int = 0
    by_header: int = 0
    by_appearance: int = 0
    outside: int = 0
    slices: int = 0
    flagged_slices: int = 0
    flagged: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def add(self, name: str, check: InputCheck) -> None:
        """Count an input."""
        self.inputs += 1
        self.by_appearance += "appearance" in check.causes
        self.by_header += any(cause != "appearance" for cause in check.causes)
        self.outside += check.outside
        self.slices += check.slices
        self.flagged_slices += check.flagged
        if check.outside:
            self.flagged.append(f"{name}: {'; '.join(check.reasons)}")


def count_flags(
    name: str, path: str, intended: IntendedInputs, section: str = "test", progress: bool = False
) -> FlagCounts:
    """Check all inputs of a data set.

    Args:
        name: of the data set.
        path: a file, a folder, a datalist, or a pattern of files.
        intended: what the network was made for.
        section: of a datalist.
        progress: whether to show a bar.

    Raises:
        ValueError: there is nothing at the path.
    """
    places = (
        [Path(path).expanduser()] if Path(path).expanduser().exists() else [Path(p) for p in sorted(glob.glob(path))]
    )
    if not places:
        raise ValueError(f"{path}: not a file, a folder or a pattern of files.")
    counts = FlagCounts(name)
    items = []
    for place in places:
        found = find_inputs(place, section)
        items += found.items
        counts.unread += [entry.reason for entry in found.skipped]
    for item in tqdm(items, desc=name, unit="input", disable=not progress, leave=False):
        try:
            slices, geometry = read_slices(item.files)
            facts = facts_of_slices(item.files, geometry)
        except ValueError as error:
            counts.unread.append(str(error))
            continue
        counts.add(item.name, check_input(intended, slices, facts))
    return counts


def flag_table(counts: Sequence[FlagCounts]) -> str:
    """As a Markdown table."""
    lines = [
        "| data set | inputs | flagged by header or name | flagged by appearance | flagged | slices | slices flagged |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in counts:
        shares = [_share(part, row.inputs) for part in (row.by_header, row.by_appearance, row.outside)]
        slices = _share(row.flagged_slices, row.slices)
        lines.append(f"| {row.name} | {row.inputs} | {' | '.join(shares)} | {row.slices} | {slices} |")
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "–"
