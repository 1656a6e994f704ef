"""What a network was made for, from the data that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ckdmed.intended_inputs.appearance import Appearance
from ckdmed.intended_inputs.record import IntendedInputs
from ckdmed.intended_inputs.slice_features import FEATURE_NAMES, network_view, slice_features

__all__ = ["fit_intended_inputs"]


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
    appearances = []
    for parts in images:
        features, groups = [], []
        for slices, group in parts:
            found = [one for view in network_view(slices) if (one := slice_features(view)) is not None]
            features += found
            groups += [group] * len(found)
            if each is not None:
                each(len(slices))
        count = len(FEATURE_NAMES)
        appearances.append(Appearance.fit(np.array(features).reshape(-1, count), groups, FEATURE_NAMES))
    return IntendedInputs(
        Path("model.inputs.json"), modality, tuple(sequences), tuple(appearances), field_of_view_mm, description, data
    )
