"""What an inference says of its inputs: skipped ones, patients that the network knows, what it was not made for."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.errors import root_cause
from ckdmed.counted import counted
from ckdmed.data.image_files import InputItem
from ckdmed.data.input_walk import SkippedFile
from ckdmed.files import write_atomic
from ckdmed.inference.inputs_skipped import SKIPPED_STATUS
from ckdmed.inference.known_patients import known_sections
from ckdmed.intended_inputs import IntendedInputs
from ckdmed.research_use import RESEARCH_USE_ONLY
from ckdmed.sections.record import SectionRecord, listed, taught_the_network

__all__ = ["count_intended", "mark_known", "on_one_line", "skipped_for", "tell_skipped", "write_skipped"]

logger = logging.getLogger("ckdmed.inference.job")


def mark_known(record: SectionRecord | None, results: Sequence[dict[str, Any]]) -> int | None:
    """Give results of patients that the network knows the sections they were in; how many there are, if known."""
    if record is None:
        return None
    taught: list[str] = []
    tested: list[str] = []
    for result in results:
        if sections := known_sections(record, result["name"], result["input"]):
            result["known_from"] = sections
            (taught if taught_the_network(sections) else tested).append(result["name"])
    if taught:
        logger.warning(
            f"{counted(len(taught), 'input')} of patients that the network was trained or chosen on (known_from in "
            f"report.json): {listed(taught)}"
        )
    if tested:
        # their results do tell how well the network does on others
        logger.info(f"{counted(len(tested), 'input')} of patients of the training's test set: {listed(tested)}")
    return len(taught) + len(tested)


def count_intended(
    intended: IntendedInputs | None, checkpoint: str, told: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """How many results are of inputs that the network was made for, and of others; None where it is not known.

    Args:
        intended: what the network was made for.
        checkpoint: its weights, for the message.
        told: what the check said of each result's input, by name.
    """
    logger.info(RESEARCH_USE_ONLY)
    if intended is None:
        logger.info(f"nothing recorded beside {checkpoint} says what inputs the network was made for")
        return None
    states = [str(one.get("status", "unknown")) for one in told.values()]
    outside = [name for name, one in told.items() if one.get("status") == "outside"]
    if outside:
        shown = "; ".join(f"{name}: {', '.join(told[name]['reasons'])}" for name in outside[:3])
        more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
        logger.warning(
            f"{len(outside)} of {counted(len(told), 'input')} {'is' if len(told) == 1 else 'are'} not like those the "
            f"network was made for ({intended.description}); do not rely on their results (intended_inputs in "
            f"report.json): {on_one_line(shown)}{more}"
        )
    return {
        "made_for": intended.description,
        "record": str(intended.path),
        **{status: states.count(status) for status in ("intended", "outside", "unknown")},
    }


def on_one_line(text: str) -> str:
    """On one line: a file's name may hold line breaks and terminal codes."""
    return text if text.isprintable() else ascii(text)[1:-1]


def skipped_for(item: InputItem, error: Exception) -> SkippedFile:
    """An input at which an error came up, with its cause."""
    cause = root_cause(error)
    text = " ".join(str(cause).split())[:500] or type(cause).__name__
    named = text if str(item.files[0]) in text else f"{item.files[0]}: {text}"
    if isinstance(cause, OSError) and (case := getattr(item, "case", "")):
        # the system's words name a file at most
        named = f"{case}: {named}"
    expected = isinstance(cause, (ValueError, OSError))
    return SkippedFile(item.files[0], named if expected else f"{named} ({type(cause).__name__})")


def tell_skipped(skipped: Sequence[SkippedFile], file: str) -> None:
    """Log each input that was skipped, and how many these are; they are listed in the file, too."""
    for entry in skipped:
        logger.error(f"skipped {on_one_line(entry.reason)}")
    were = "was" if len(skipped) == 1 else "were"
    logger.error(f"{counted(len(skipped), 'input')} {were} skipped (listed in {file}); exit status {SKIPPED_STATUS}")


def write_skipped(path: Path, skipped: Sequence[Mapping[str, str]]) -> None:
    """The table of skipped inputs."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ["file", "cause"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(skipped)
    text = table.getvalue().encode("utf-8", "backslashreplace")
    write_atomic(path, lambda part: part.write_bytes(text) and None)
