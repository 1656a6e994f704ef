from __future__ import annotations

import math

import numpy as np
import pytest

from ckdmed.metrics import aggregate_scores, bootstrap_interval, segmentation_scores


def row(i, patient, cls, dice, hd95=1.0, empty="none", **more):
    return {
        "id": str(i),
        "patient": patient,
        "class": cls,
        "dice": dice,
        "hd95": hd95,
        "empty": empty,
        "unit": "mm",
    } | more


ROWS = [
    row(1, "A", 1, 0.8, 2.0),
    row(2, "A", 1, 0.6, 4.0),
    row(3, "B", 2, 0.0, 100.0, "prediction"),
    row(4, "C", 2, 1.0, 0.0),
]


def test_means_by_hand():
    got = aggregate_scores(ROWS)
    dice = got["overall"]["dice"]
    assert (got["n_slices"], got["n_patients"], got["unit"], got["patient_key"]) == (4, 3, "mm", "patient")
    assert dice["slice_mean"] == pytest.approx(0.6) and dice["slice_median"] == pytest.approx(0.7)
    assert dice["patient_mean"] == pytest.approx((0.7 + 0 + 1) / 3)
    assert dice["patient_sd"] == pytest.approx(np.std([0.7, 0, 1], ddof=1))
    assert "n_penalised" not in dice
    interval = bootstrap_interval({"A": [0.8, 0.6], "B": [0], "C": [1]})
    assert dice["patient_interval"] == [interval.low, interval.high]


def test_penalised_distances_stay_in_the_mean_and_are_counted():
    got = aggregate_scores(ROWS)
    hd95 = got["overall"]["hd95"]
    assert hd95["slice_mean"] == pytest.approx(106 / 4)
    assert hd95["slice_mean_unpenalised"] == pytest.approx(2.0)
    assert hd95["n_penalised"] == 1
    assert got["empty"] == {"none": 3, "truth": 0, "prediction": 1, "both": 0}


def test_per_class_and_per_patient():
    got = aggregate_scores(ROWS)
    assert list(got["per_class"]) == ["1", "2"]
    assert got["per_class"]["1"]["n_slices"] == 2 and got["per_class"]["1"]["n_patients"] == 1
    assert got["per_class"]["1"]["scores"]["dice"]["patient_mean"] == pytest.approx(0.7)
    assert math.isnan(got["per_class"]["1"]["scores"]["dice"]["patient_interval"][0])
    assert got["per_class"]["2"]["scores"]["dice"]["slice_mean"] == pytest.approx(0.5)
    assert got["per_patient"][0] == {
        "patient": "A",
        "n_slices": 2,
        "dice": pytest.approx(0.7),
        "hd95": pytest.approx(3.0),
    }


def test_undefined_values_are_left_out_of_their_own_score_and_counted():
    rows = [r | {"sensitivity": s} for r, s in zip(ROWS, [1.0, math.nan, math.nan, 0.5])]
    got = aggregate_scores(rows)["overall"]
    assert got["sensitivity"]["slice_mean"] == pytest.approx(0.75)
    assert (got["sensitivity"]["n_slices"], got["sensitivity"]["n_undefined"]) == (2, 2)
    assert got["sensitivity"]["n_patients"] == 2 and got["dice"]["n_slices"] == 4


def test_a_score_that_is_nowhere_defined():
    got = aggregate_scores([r | {"sensitivity": math.nan} for r in ROWS])["overall"]["sensitivity"]
    assert math.isnan(got["slice_mean"]) and got["n_undefined"] == 4 and got["n_patients"] == 0


def test_suffixed_codes_of_a_person_count_once():
    rows = [r | {"patient_group": "AB" if r["patient"] in "AB" else r["patient"]} for r in ROWS]
    got = aggregate_scores(rows)
    assert got["patient_key"] == "patient_group" and got["n_patients"] == 2
    assert aggregate_scores(rows, patient_key="patient")["n_patients"] == 3


def test_other_breakdown_and_columns():
    rows = [r | {"region": "ET", "lesionwise_dice": r["dice"] / 2} for r in ROWS]
    got = aggregate_scores(rows, scores=["lesionwise_dice"], class_key="region")
    assert list(got["per_class"]) == ["ET"] and list(got["overall"]) == ["lesionwise_dice"]


def test_rows_of_the_scorer_fit():
    mask = np.pad(np.ones((3, 3), bool), 2)
    rows = [{"id": "1", "patient": "A", "class": 1} | segmentation_scores(mask, mask, 0.5)]
    assert aggregate_scores(rows)["overall"]["asd"]["slice_mean"] == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([{"id": "1", "patient": "A"}], "has none of dice"),
        ([ROWS[0], {"id": "9", "patient": "A", "dice": 1.0}], "row '9' lacks hd95"),
        ([ROWS[0] | {"patient": ""}], "row '1' lacks patient"),
        ([ROWS[0], ROWS[1] | {"unit": "px"}], r"mix the units \['mm', 'px'\]"),
    ],
)
def test_errors(rows, message):
    with pytest.raises(ValueError, match=message):
        aggregate_scores(rows)
