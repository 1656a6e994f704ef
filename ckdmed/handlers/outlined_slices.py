"""Slices with their outlines and what stands above them, collected for one sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_dice

from ckdmed.reports.predictions import plot_predictions

__all__ = ["OutlinedSlices", "slice_title"]


def slice_title(item: Mapping[str, Any], modality: str = "", number: int | None = None, region: str = "") -> str:
    """Case or patient of a sample, and in a line of its own modality, slice and region, as far as they are known.

    Args:
        item: a dataset's; one that names its patient but no slice is a slice of the patient by its ``id``, and one of
            a user's own datalist, which has both ``id`` and ``slice``, is named by its file.
        modality: what the image is.
        number: of the slice in the item's volume; by default the item's own.
        region: what is outlined.
    """
    own = "case" not in item and "id" in item and "slice" in item
    name = item["id"] if own else item.get("case", item.get("patient"))
    if number is None and not own:
        number = item.get("slice", item.get("id") if name is not None else None)
    parts = (modality, "" if number is None else f"slice {number}", region)
    lines = (item.get("id", "") if name is None else name, ", ".join(part for part in parts if part))
    return "\n".join(str(line) for line in lines if str(line))


@dataclass
class OutlinedSlices:
    """What :func:`~ckdmed.reports.plot_predictions` draws; each slice is titled with its name and Dice.

    Args:
        with_teacher: whether a teacher is drawn as well.
        columns: slices in a row.
    """

    with_teacher: bool = False
    columns: int = 4
    images: list[np.ndarray] = field(default_factory=list)
    truths: list[np.ndarray] = field(default_factory=list)
    predictions: list[np.ndarray] = field(default_factory=list)
    teachers: list[np.ndarray] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)

    def add(
        self,
        image: np.ndarray,
        truth: np.ndarray,
        prediction: np.ndarray,
        teacher: np.ndarray | None = None,
        *,
        title: str = "",
    ) -> None:
        """Take in one slice.

        Args:
            image: (H, W).
            truth, prediction, teacher: (H, W), bool.
            title: see :func:`slice_title`; the Dice stand below it.
        """
        self.images.append(image)
        self.truths.append(truth)
        self.predictions.append(prediction)
        dice = f"Dice {_dice(prediction, truth)}"
        if teacher is not None:
            self.teachers.append(teacher)
            dice += f", teacher {_dice(teacher, truth)}"
        self.titles.append(f"{title}\n{dice}" if title else dice)

    def draw(self, path: Path) -> None:
        """Write the sheet."""
        plot_predictions(
            self.images,
            self.truths,
            self.predictions,
            path,
            titles=self.titles,
            columns=self.columns,
            teachers=self.teachers if self.with_teacher else None,
        )


def _dice(mask: np.ndarray, truth: np.ndarray) -> str:
    prediction, label = (torch.from_numpy(np.asarray(part, np.float32))[None, None] for part in (mask, truth))
    return f"{compute_dice(prediction, label, ignore_empty=False).item():.3f}"
