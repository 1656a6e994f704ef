from __future__ import annotations

from ckdmed.sections.slices import _counts


def test_one_patient_is_no_patients() -> None:
    item = {"patient_group": "a"}
    assert _counts({"train": [item, item], "test": []}) == "train 2 slices of 1 patient, test 0 slices of 0 patients"
