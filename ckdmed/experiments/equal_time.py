"""How many epochs a student alone needs to train for the time of a distilled one."""

from __future__ import annotations

from pathlib import Path

from ckdmed.experiments.step_cost import clock
from ckdmed.files import write_json
from ckdmed.json_files import read_json, read_json_lines

__all__ = ["epochs_of_equal_time"]

_KEPT = "longer.json"


def epochs_of_equal_time(folder: Path, alone: Path, distilled: Path, epochs: int) -> int:
    """As many epochs as take the time of the distilled run, but no fewer than ``epochs``.

    Without a GPU it is processor time: what else a machine had to do is not the price of a method. The number is fixed
    at the first look, for a resumed run's sake.

    Args:
        folder: of the run, where the number is kept.
        alone, distilled: folders of the finished runs whose times are compared.
        epochs: of both.
    """
    kept = folder / _KEPT
    if kept.is_file():
        return int(read_json(kept)["epochs"])
    own_clock = clock()
    seconds = {
        name: sum(row[own_clock] for row in read_json_lines(place / "metrics.jsonl"))
        for name, place in (("alone", alone), ("distilled", distilled))
    }
    ratio = max(seconds["distilled"] / max(seconds["alone"], 1e-9), 1.0)
    needed = max(round(epochs * ratio), epochs)
    write_json(kept, {"epochs": needed, "seconds": seconds})
    return needed
