"""Dice of each region as validation metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.utils import CommonKeys as Keys

from ckdmed.labels import REGIONS
from ckdmed.metrics import CaseDiceMetric

__all__ = ["RegionDice"]


class RegionDice(Metric):
    """Mean Dice over the regions, and of each region, of whole cases that an evaluator sees slice by slice or whole.

    The metric's own value is the mean over the regions of their means over the cases (see
    :class:`~ckdmed.metrics.CaseDiceMetric`); a region that no case has does not count. Beside it stand
    ``<prefix>_TC`` and so on in ``engine.state.metrics``.

    Args:
        regions: name of each output channel. Default TC, WT, ET.
        prefix: of the regions' metrics.
        case_key: key of the case's name in the batch, which the evaluator must have decollated (its default).

    Example, in a bundle's config::

        "key_val_metric": {"val_mean_dice": {"_target_": "ckdmed.handlers.RegionDice"}}
    """

    def __init__(
        self,
        regions: Sequence[str] = REGIONS,
        prefix: str = "val_dice",
        case_key: str = "case",
    ) -> None:
        self.metric = CaseDiceMetric()
        self.regions = tuple(regions)
        self.prefix = prefix
        self.case_key = case_key
        super().__init__()

    def reset(self) -> None:
        """Forget all cases."""
        self.metric.reset()

    def update(self, output: Sequence[Any]) -> None:
        """Add the predictions, labels and cases of one step."""
        self.metric(*output)

    def iteration_completed(self, engine: Engine) -> None:
        """Take these of the evaluator; the names of the cases are in its batch alone."""
        output: Any = engine.state.output
        batch: Any = engine.state.batch
        predictions, labels = ([entry[key] for entry in output] for key in (Keys.PRED, Keys.LABEL))
        self.update([predictions, labels, [entry[self.case_key] for entry in batch]])

    def compute(self) -> float:
        """Mean over the regions."""
        values = self._values()
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def attach(self, engine: Engine, name: str) -> None:  # type: ignore[override]
        """Put the mean under ``name``, and the regions beside it."""
        super().attach(engine, name)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._put)

    def _put(self, engine: Engine) -> None:
        for region, value in zip(self.regions, self._values(), strict=True):
            engine.state.metrics[f"{self.prefix}_{region}"] = float(value)

    def _values(self) -> np.ndarray:
        values = self.metric.aggregate()
        if values.size != len(self.regions):
            raise ValueError(
                f"the output has {values.size} channels, but {len(self.regions)} regions are named: "
                f"{', '.join(self.regions)}."
            )
        return values
