"""Validation at intervals that does not leave out the end of the training."""

from __future__ import annotations

from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler

__all__ = ["LastEpochValidation"]


class LastEpochValidation(ValidationHandler):
    """MONAI's ``ValidationHandler`` by epochs, which validates after the last epoch too, whatever the interval.

    With an interval that does not divide the number of epochs the stock handler never sees the end. A learning rate
    that falls to zero makes the last weights the best ones, and who keeps "the best that was validated" would keep much
    earlier ones instead.

    Args:
        interval: in epochs; ``epoch_level`` stays True.
        validator, exec_at_start: of ``ValidationHandler``.

    Raises:
        ValueError: an interval in iterations (``epoch_level`` False), which ends with the training or does not.
    """

    def attach(self, engine: Engine) -> None:
        """Register on the trainer, once for each epoch at most."""
        if not self.epoch_level:
            raise ValueError("LastEpochValidation counts epochs, got epoch_level=False; use monai's ValidationHandler.")
        super().attach(engine)
        last = Events.EPOCH_COMPLETED(
            event_filter=lambda at, epoch: epoch == at.state.max_epochs and not self._due(epoch)
        )
        engine.add_event_handler(last, self)

    def _due(self, epoch: int) -> bool:
        return epoch % self.interval == 0
