"""The loss of a segmentation's validation."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils import CommonKeys
from torch import distributed

__all__ = ["ValidationLoss"]


class ValidationLoss:
    """Add ``val_loss`` to an evaluator's metrics: BCE and Dice of the raw logits, the supervised loss of a training.

    It is the mean over samples, of all processes, in float32, of logits on the label's grid: what a training validates.
    An evaluation whose labels keep a grid of their own has none. A classifier's evaluator has a loss of its own and is
    left alone.
    """

    name = "val_loss"

    def __init__(self) -> None:
        # an exported inference imports this package and has no use for losses
        from ckdmed.losses import supervised_segmentation_loss

        self.loss = supervised_segmentation_loss("sigmoid")
        self._sum, self._count = 0.0, 0

    def attach(self, engine: Engine) -> None:
        """Register before the evaluator makes masks of its logits."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end)

    def _begin(self, _engine: Engine) -> None:
        self._sum, self._count = 0.0, 0

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        logits, label = output[CommonKeys.PRED], output[CommonKeys.LABEL]
        if logits.dim() < 4 or logits.shape[2:] != label.shape[2:]:
            return
        with torch.no_grad():
            value = self.loss(_plain(logits).float(), _plain(label).float())
        self._sum += float(value) * len(logits)
        self._count += len(logits)

    def _end(self, engine: Any) -> None:
        total, count = self._sum, float(self._count)
        if distributed.is_initialized():
            # float64 holds a sum of any length; a process may have no sample of its own
            both = torch.tensor([total, count], dtype=torch.float64, device=engine.state.device)
            distributed.all_reduce(both)
            total, count = both.tolist()
        if count:
            engine.state.metrics[self.name] = total / count


def _plain(value: torch.Tensor) -> torch.Tensor:
    return value.as_subclass(torch.Tensor)  # type: ignore[arg-type]
