"""TensorBoard's writer, with errors that name the file it could not write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import distributed
from torch.utils.tensorboard import SummaryWriter

from ckdmed.files import naming_full_disk

__all__ = ["EventWriter", "event_writer"]


class EventWriter(SummaryWriter):
    """A ``SummaryWriter`` whose error names its folder where the disk is full.

    Args:
        log_dir: for the event files.

    Raises:
        DiskFullError: there is no room. TensorBoard writes in a thread of its own: it may be a later call that fails.
    """

    def __init__(self, log_dir: str) -> None:
        with naming_full_disk(log_dir):
            super().__init__(log_dir)

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """As in ``SummaryWriter``."""
        with naming_full_disk(self.log_dir):
            super().add_scalar(*args, **kwargs)

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        """As in ``SummaryWriter``."""
        with naming_full_disk(self.log_dir):
            super().add_image(*args, **kwargs)

    def flush(self) -> None:
        """As in ``SummaryWriter``."""
        with naming_full_disk(self.log_dir):
            super().flush()


def event_writer(output_dir: str) -> EventWriter | None:
    """The writer of a run's TensorBoard events, into ``<output_dir>/tensorboard``; of several processes the first's.

    Raises:
        DiskFullError: there is no room.
    """
    if distributed.is_initialized() and distributed.get_rank() > 0:
        return None
    return EventWriter(str(Path(output_dir) / "tensorboard"))
