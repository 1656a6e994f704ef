"""Whether the probabilities of an evaluation's masks are true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .blocks import Line, LineChart, Table, Text
from .words import interval, large_number, number

__all__ = ["mask_calibration_blocks"]


def mask_calibration_blocks(summary: Mapping[str, Any]) -> list[Any]:
    """Calibration error of each region's pixels, and their reliability diagram.

    Args:
        summary: of an evaluation of masks.
    """
    part = summary.get("calibration")
    if not part:
        return [Text("This evaluation kept no probabilities, so their calibration is not known; run it again.", "note")]
    level = f"{summary.get('level', 0.95):.0%} interval"
    of: Mapping[str, Any] = part["of"]
    rows = [
        [name, number(own["ece"]), interval(own["interval"]), large_number(own["pixels"])] for name, own in of.items()
    ]
    lines = [
        Line(name, [(bin["probability"], bin["tumour"]) for bin in own["bins"]], dots=False) for name, own in of.items()
    ]
    blocks: list[Any] = [
        Table(
            ["", "calibration error", level, "pixels"],
            rows,
            "Calibration of the masks, near the tumour",
        )
    ]
    if any(line.points for line in lines):
        blocks.append(
            LineChart(
                "Reliability of the masks, near the tumour",
                "probability of tumour",
                "share that is tumour; bins as those of the calibration error",
                lines,
                y_range=(0.0, 1.0),
                diagonal=True,
            )
        )
    blocks.append(
        Text(
            f"Only pixels {part['counted']} are counted: all the others would hide any error. Pixels of all cases "
            "weigh the same, so large tumours count most. Below the diagonal the network's probabilities are too "
            "high, above it too low.",
            "note",
        )
    )
    return blocks
