"""What handlers share that write files for each item of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

__all__ = ["ItemWriter", "check_finite"]


def check_finite(name: str, probabilities: np.ndarray) -> None:
    """Raise ValueError where a probability of an item is not a number: no threshold finds it, and nothing would be
    found where nothing was computed."""
    if not np.isfinite(probabilities).all():
        raise ValueError(
            f"{name}: the network gave values that are not numbers, so nothing is written or scored for it; half "
            "precision may overflow, set amp to false."
        )


class ItemWriter(ABC):
    """Write the files of each item as :meth:`write_files` has it, and tell when all of them are in place.

    Attach to an evaluator with decollated batches.

    Args:
        output_dir: nothing is written outside of it.
        done: called with an item's name and its files, relative to ``output_dir``, when all of them are in place, and
            with what `measured` says of it where that is something.
    """

    def __init__(self, output_dir: str, done: Callable[..., None] | None = None) -> None:
        self.output_dir = Path(output_dir)
        self.done = done

    @abstractmethod
    def write_files(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Write one item's files, each whole or not at all; returns its name and the files' relative names."""

    def measured(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers for the report of an inference, by name; none by default."""
        return {}

    def attach(self, engine: Engine) -> None:
        """Register on ``ITERATION_COMPLETED``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        state: Any = engine.state
        for item, output in zip(state.batch, state.output, strict=True):
            self.write(item, output)

    def write(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> list[str]:
        """Write one item; returns the names of its files relative to the output folder."""
        name, files = self.write_files(item, output)
        if self.done is not None:
            measured = self.measured(item, output)
            self.done(name, files, **({"measured": measured} if measured else {}))
        return files
