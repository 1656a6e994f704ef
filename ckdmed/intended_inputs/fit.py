"""What a network was made for, from the data that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ckdmed.intended_inputs.appearance import Appearance
from ckdmed.intended_inputs.check import features_of
from ckdmed.intended_inputs.record import IntendedInputs
from ckdmed.intended_inputs.slice_features import FEATURE_NAMES

__all__ = ["fit_intended_inputs", "intended_inputs_of"]


def fit_intended_inputs(
    images: Sequence[Iterable[tuple[np.ndarray, str]]],
    sequences: Sequence[str],
    description: str,
    data: str,
    modality: str = "MR",
    field_of_view_mm: tuple[float, float] | None = None,
    each: Callable[[int], object] | None = None,
) -> IntendedInputs:
    """Describe the inputs of a training.

    Args:
        images: for each image of an input, slices (S, H, W) as read, and whose they are; slices that show nothing are
            left out.
        sequences: of each image, "" where that is not known.
        description, data, modality, field_of_view_mm: see `IntendedInputs`.
        each: called with the number of slices after each input.

    Raises:
        AppearanceError: too few slices or patients.
    """
    found = []
    for parts in images:
        features, groups = [], []
        for slices, group in parts:
            features.append(features_of(slices, len(slices)))
            groups += [group] * len(features[-1])
            if each is not None:
                each(len(slices))
        found.append((features, groups))
    return intended_inputs_of(found, sequences, description, data, modality, field_of_view_mm)


def intended_inputs_of(
    images: Sequence[tuple[Sequence[np.ndarray], Sequence[str]]],
    sequences: Sequence[str],
    description: str,
    data: str,
    modality: str = "MR",
    field_of_view_mm: tuple[float, float] | None = None,
) -> IntendedInputs:
    """`fit_intended_inputs` from features that are known.

    Args:
        images: for each image of an input, features as `ckdmed.intended_inputs.check.features_of` gives them, array by
            array, and whose each row is.
        sequences, description, data, modality, field_of_view_mm: see `IntendedInputs`.

    Raises:
        AppearanceError: too few slices or patients.
    """
    count = len(FEATURE_NAMES)
    appearances = [
        Appearance.fit(
            np.concatenate([np.empty((0, count)), *(part for part in features if len(part))]), groups, FEATURE_NAMES
        )
        for features, groups in images
    ]
    return IntendedInputs(
        Path("model.inputs.json"), modality, tuple(sequences), tuple(appearances), field_of_view_mm, description, data
    )
