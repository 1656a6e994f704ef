"""Trainings that are broken off, as Ctrl-C does it."""

from __future__ import annotations

from typing import Any

import pytest
from ignite.engine import EventEnum
from monai.bundle import ConfigWorkflow


def break_off(made: ConfigWorkflow, event: EventEnum) -> None:
    """Run a training that is killed at an event of its trainer."""

    def kill(_: Any) -> None:
        raise KeyboardInterrupt

    made.trainer.add_event_handler(event, kill)
    with pytest.raises(KeyboardInterrupt):
        made.run()
