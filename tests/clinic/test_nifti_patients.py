"""Whose NIfTI files are, by their names and folders."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ckdmed.clinic import find_patients
from ckdmed.clinic.nifti_patients import nifti_patients


@pytest.mark.parametrize(
    ("files", "patients"),
    [
        # a folder of each sequence, for each patient or for all
        ("A/T1c/scan A/FLAIR/scan B/T1c/scan B/FLAIR/scan", "A-scan A-scan B-scan B-scan"),
        ("A/T1c/10_x A/FLAIR/11_y B/T1c/7_x B/FLAIR/8_y", "A A B B"),
        ("T1c/A FLAIR/A T1c/B FLAIR/B", "A A B B"),
        ("T1c/A_t1c FLAIR/A_flair", "A A"),
        ("A/T1c/T1c A/FLAIR/FLAIR", "A A"),
        ("A_t1c/A_t1c A_flair/A_flair", "A A"),
        ("A_t1c/img A_flair/img B_t1c/img B_flair/img", "A A B B"),
        ("x_t1c/A x_flair/A x_t1c/B", "A A B"),
        # those of one folder, as ever
        ("A/t1c A/flair B_t1c B_flair", "A A B B"),
        ("a/p_t1c b/p_t1c", "a-p b-p"),
        # two times, though one may not be called T1
        ("x_t1c/A_t1c y_t1c/A_t1c", "x-A y-A"),
        ("A/T1/t1 A/T1/flair A/T2/t2 A/T2/t1c", "A-T1 A-T1 A-T2 A-T2"),
        # what lies in a folder of another sequence is not put together with it
        ("A/FLAIR/A_t1c A/T1/A_t1", "A-FLAIR-A A"),
        ("A/T1c/a A/T1c/b A/FLAIR/a", "a b a"),
    ],
)
@pytest.mark.parametrize("root", ["", "scans"])
def test_patients_of_files(tmp_path: Path, files: str, patients: str, root: str) -> None:
    paths = [tmp_path / root / f"{name}.nii.gz" for name in files.split()]
    found = nifti_patients([*paths, tmp_path / root / "A_seg.nii.gz"], tmp_path / root)
    assert [found[path][0] for path in paths] == patients.split()
    assert len({found[path] for path in paths}) == len(set(patients.split())) and len(found) == len(paths)


def test_of_a_patient_whose_series_have_folders_one_is_taken(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 200, (8, 8, 4)).astype(np.int16)
    for name in ("P1/T1c/scan", "P1/FLAIR/scan", "P2/FLAIR/scan", "P2_brain"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    (first, second), skipped, unused = find_patients(tmp_path, ["t1c"])
    assert first.chosen[0].because == "it is contrast-enhanced T1: its folder is called 'T1c'"
    (line,) = first.passed_over
    assert line == f"{tmp_path / 'P1/FLAIR/scan.nii.gz'} is FLAIR (its folder is called 'FLAIR')"
    # the only one is taken and then told to be none that the network was made for, by its folder's name
    assert second.chosen[0].facts.sequence == "t2f" and not skipped
    assert unused.counts == {"of other types, or masks": 1}
