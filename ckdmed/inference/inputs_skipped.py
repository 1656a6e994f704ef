"""The end of an inference that could not read all of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from ckdmed.data.input_walk import SkippedFile

__all__ = ["SKIPPED_STATUS", "InputsSkipped"]

#: of the process
SKIPPED_STATUS = 3


class InputsSkipped(SystemExit):
    """Everything that could be read is done, but inputs were skipped; ends the process with status 3."""

    def __init__(self, skipped: Sequence[SkippedFile]) -> None:
        super().__init__(SKIPPED_STATUS)
        self.skipped = list(skipped)
