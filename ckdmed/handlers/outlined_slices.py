"""Slices with their outlines and what stands above them, collected for one sheet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_dice

from ckdmed.reports.predictions import plot_predictions

__all__ = ["OutlinedSlices"]


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
        name: Any = "",
        modality: str = "",
        number: int | None = None,
        region: str = "",
    ) -> None:
        """Take in one slice.

        Args:
            image: (H, W).
            truth, prediction, teacher: (H, W), bool.
            name: of the sample or the case.
            modality: what the image is.
            number: of the slice in its volume; None where it is one by itself.
            region: what is outlined.
        """
        self.images.append(image)
        self.truths.append(truth)
        self.predictions.append(prediction)
        dice = f"Dice {_dice(prediction, truth)}"
        if teacher is not None:
            self.teachers.append(teacher)
            dice += f", teacher {_dice(teacher, truth)}"
        what = ", ".join(text for text in (modality, "" if number is None else f"slice {number}", region) if text)
        self.titles.append("\n".join(line for line in (str(name or ""), what, dice) if line))

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
