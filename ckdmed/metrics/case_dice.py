"""Dice of whole cases whose slices, or patches, come one by one and in any order."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import Cumulative

from ckdmed.metrics.binary_mask import binary_mask

__all__ = ["CaseDiceMetric"]


class CaseDiceMetric(Cumulative):
    """Dice of each case and channel over all its voxels: 2 |P and T| / (|P| + |T|), summed over the case's parts.

    A mean of the slices' own Dice would not see what is found on slices that are empty in truth, and would let a slice
    with ten voxels of tumour count as much as one with a thousand. A channel that is empty in a case's truth does not
    count, as in MONAI's ``DiceMetric``.

    Cases are identified by the CRC-32 of their names, so that the sums of several processes can be put together.

    Example::

        metric = CaseDiceMetric()
        metric(predictions, labels, ["case 1", "case 1"])
        metric.aggregate()  # means over the cases, one for each channel
    """

    def __call__(self, predictions: Sequence[Any], labels: Sequence[Any], cases: Sequence[Any]) -> None:
        """Add parts of cases.

        Args:
            predictions, labels: binary masks [C, *S], of one shape for each part.
            cases: the name of each part's case.

        Raises:
            ValueError: different numbers of entries, or a prediction and a label of different shapes; values other
                than 0 and 1.
        """
        if not len(predictions) == len(labels) == len(cases):
            raise ValueError(
                f"there are {len(predictions)} predictions, {len(labels)} labels and {len(cases)} cases; one case is "
                "needed for each pair."
            )
        for prediction, label, case in zip(predictions, labels, cases, strict=True):
            own = binary_mask(prediction, f"prediction of {case}")
            true = binary_mask(label, f"label of {case}")
            if own.shape != true.shape:
                raise ValueError(f"{case}: prediction {tuple(own.shape)} and label {tuple(true.shape)} differ.")
            counts = [part.flatten(1).sum(dim=1) for part in (own & true.to(own.device), own, true.to(own.device))]
            # float64 holds every integer up to 2^53
            name = torch.full((1, len(own)), zlib.crc32(str(case).encode()), dtype=torch.float64, device=own.device)
            self.append(torch.cat([name, torch.stack(counts).double()]))

    def cases(self) -> np.ndarray:
        """(cases, C): Dice; NaN where the truth is empty."""
        buffer = self.get_buffer()
        if buffer is None:
            return np.zeros((0, 0))
        rows = buffer.cpu().numpy()
        _, case = np.unique(rows[:, 0, 0], return_inverse=True)
        sums = np.zeros((case.max() + 1, *rows.shape[1:]))
        np.add.at(sums, case, rows)
        both, own, true = sums[:, 1], sums[:, 2], sums[:, 3]
        return np.where(true > 0, 2 * both / np.maximum(own + true, 1), np.nan)

    def aggregate(self) -> np.ndarray:
        """(C,): means over the cases; NaN for a channel that is empty in all of them."""
        dice = self.cases()
        counted = (~np.isnan(dice)).sum(axis=0)
        return np.where(counted > 0, np.nansum(dice, axis=0) / np.maximum(counted, 1), np.nan)
