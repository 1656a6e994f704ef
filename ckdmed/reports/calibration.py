"""The part of an evaluation's summary that tells whether the probabilities of its masks are true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckdmed.metrics import NEAR, mask_calibration

__all__ = ["calibration_part"]


def calibration_part(
    rows: Sequence[Mapping[str, Any]], patient_key: str, unit: str, n_bootstrap: int, level: float, seed: int
) -> dict[str, Any]:
    """``{"calibration": ...}`` of the summary: which pixels were counted and, by region, ``mask_calibration``.

    Args:
        rows: of each slice or case and region: the patient, the region and ``counts`` (``reliability_counts``); without
            any the part is empty.
        patient_key: of the rows.
        unit: "mm" or "px", in which nearness was measured.
        n_bootstrap, level, seed: of the intervals.
    """
    if not rows:
        return {}
    of = {}
    for region in dict.fromkeys(str(row["region"]) for row in rows):
        own = [row for row in rows if row["region"] == region]
        patients = [row[patient_key] for row in own]
        of[region] = mask_calibration([row["counts"] for row in own], patients, n_bootstrap, level, seed)
    counted = f"within {NEAR:g} {unit} of the tumour or of what was marked as tumour"
    return {"calibration": {"counted": counted, "of": of}}
