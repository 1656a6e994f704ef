"""What an evaluation scores: cases or slices of the section, and never phantoms in place of a user's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.trained import recorded_settings
from ckdmed.sections import scored
from ckdmed.sections.record import SectionOverlapError, find_record

__all__ = ["check_scored_data", "scored_items"]


def check_scored_data(dataset_dir: str | None, checkpoint: str) -> None:
    """Refuse to score phantoms with the weights of a training that had data, before any phantom is drawn.

    Weights that ship are scored on phantoms by whoever has no data, to see that everything works.

    Args:
        dataset_dir: of the evaluation; None for phantoms.
        checkpoint: what is scored.

    Raises:
        RefusedStart: names the data of the training.
    """
    if dataset_dir or find_record(checkpoint) is None:
        return
    if data := (recorded_settings(Path(checkpoint)) or {}).get("dataset_dir"):
        raise RefusedStart(
            f"no dataset_dir is given, and phantoms say nothing about '{checkpoint}', which was trained with "
            f"--dataset_dir {data}: give --dataset_dir."
        )


def scored_items(
    sections: Mapping[str, Sequence[Mapping[str, Any]]], section: str, beside: str | None = None
) -> list[Mapping[str, Any]]:
    """As :func:`ckdmed.sections.scored.scored_items`, whose message says it all.

    Raises:
        RefusedStart: there is nothing to score.
        SectionOverlapError: a network knows patients that would be scored.
    """
    try:
        return scored.scored_items(sections, section, beside)
    except SectionOverlapError:
        raise
    except ValueError as error:
        raise RefusedStart(str(error)) from error
