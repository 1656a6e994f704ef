"""The part of a page about an evaluation."""

from __future__ import annotations

import pytest

from ckdmed.run_pages.blocks import LineChart, Table, Text
from ckdmed.run_pages.evaluation_part import evaluation_sections
from ckdmed.run_pages.training_run import Evaluation


@pytest.mark.parametrize(("patients", "undefined"), [(30, 0), (1000, 0), (30, 2)])
def test_the_chart_of_patients_shows_all_or_says_what_it_leaves_out(tmp_path, patients, undefined):
    scores = [None] * undefined + [number / patients for number in range(patients - undefined)]
    summary = {
        "overall": {"dice": {"patient_mean": 0.5, "patient_interval": [0.4, 0.6], "slice_mean": 0.5}},
        "n_patients": patients,
        "n_slices": patients,
        "patient_key": "group",
        "per_patient": [{"group": str(number), "dice": score} for number, score in enumerate(scores)],
    }
    (section,) = evaluation_sections(Evaluation(tmp_path, "evaluation", summary), "stem")
    (chart,) = [block for block in section.blocks if isinstance(block, LineChart)]
    (table,) = [block for block in section.blocks if isinstance(block, Table) and block.caption.startswith("Per pat")]
    assert len(table.rows) == patients
    points = chart.lines[0].points
    defined = patients - undefined
    # worst and best, at their own ranks
    assert points[0] == (1.0, 0.0) and points[-1] == (float(defined), (defined - 1) / patients)
    assert all(value == pytest.approx((rank - 1) / patients) for rank, value in points)
    told = " ".join(block.text for block in section.blocks if isinstance(block, Text))
    assert ("evenly chosen by rank" in told) == (len(points) < defined)
    assert (f"of {defined} patients" in told) == (patients == 1000)
    assert ("2 patients without a defined Dice" in told) == bool(undefined)
