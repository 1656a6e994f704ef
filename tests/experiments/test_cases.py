from __future__ import annotations

from typing import Any

import pytest

from ckdmed.experiments.cases import case_scores, distance_table
from ckdmed.experiments.given_settings import profile_settings
from ckdmed.labels import REGIONS
from ckdmed.reports import RunRecord


def test_what_a_record_keeps_of_a_summary() -> None:
    def part(dice: float) -> dict[str, Any]:
        scores = {"dice": dice, "lesionwise_dice": dice / 2, "hd95": 3.0, "lesionwise_hd95_mm": 7.0}
        return {"overall": {name: {"patient_mean": value, "case_mean": -1.0} for name, value in scores.items()}}

    summary = {**part(0.5), "per_region": {region: part(0.1 * (i + 1)) for i, region in enumerate(REGIONS)}}
    assert case_scores(summary) == pytest.approx(
        {
            "Dice": 0.5,
            "Dice TC": 0.1,
            "Dice WT": 0.2,
            "Dice ET": 0.3,
            "lesion-wise Dice": 0.25,
            "lesion-wise Dice TC": 0.05,
            "lesion-wise Dice WT": 0.1,
            "lesion-wise Dice ET": 0.15,
            "HD95 [mm]": 3.0,
            "HD95 TC [mm]": 3.0,
            "HD95 WT [mm]": 3.0,
            "HD95 ET [mm]": 3.0,
            "lesion-wise HD95 [mm]": 7.0,
        }
    )


def test_the_smaller_distance_wins() -> None:
    def record(arm: str, seed: int, near: float, far: float) -> RunRecord:
        metrics = {"HD95 [mm]": near, "lesion-wise HD95 [mm]": far}
        return RunRecord(f"{arm}-{seed}", arm, ["c"], seed, {"section": "test"}, metrics)

    pairs = (("a", 0, 8.0, 20.0), ("a", 1, 9.0, 30.0), ("b", 0, 6.0, 21.0), ("b", 1, 6.0, 29.0))
    table = distance_table([record(*pair) for pair in pairs], "a", {"a": "alone", "b": "taught"})
    cells = [cell.strip() for cell in table.splitlines()[3].strip("|").split("|")]
    assert cells[:3] == ["taught", "2", "6.00 ± 0.00"] and cells[3].startswith("-2.50 [") and cells[4] == "2 of 2"
    assert cells[5] == "25.00 ± 5.66" and cells[6].startswith("+0.00 [") and cells[7] == "1 of 2"
    assert "baseline" not in distance_table([record(*pair) for pair in pairs], None, {"b": "taught"})


def test_sizes_are_those_of_the_bundles_table() -> None:
    tiny, compact = {"image_size": 3, "amp": False}, {"amp": "bf16"}
    assert profile_settings("full", "seg_kd", tiny, compact) == {"image_size": 256, "amp": True}
    assert profile_settings("compact", "seg_kd", tiny, compact) == {"image_size": 128, "amp": "bf16"}
    chosen = profile_settings("tiny", "seg_kd", tiny, compact)
    chosen["image_size"] = 4
    assert tiny["image_size"] == 3
    with pytest.raises(ValueError, match="full, compact or tiny, got 'small'"):
        profile_settings("small", "seg_kd", tiny, compact)
