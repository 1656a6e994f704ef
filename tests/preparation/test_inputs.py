from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.data.input_walk import UnusedFiles
from ckdmed.preparation.inputs import find_inputs


def found(folder: Path, *names: str) -> dict[str, list[str]]:
    """Cases of files of these names, each with its images and, at the end, its mask."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # names are all that is looked at; a DICOM file is told by its mark
        path.write_bytes(b"\0" * 128 + b"DICM" if path.suffix == ".dcm" else b"")
    cases, skipped = find_inputs([folder])
    assert not skipped
    return {case.case: [*case.images, *(["seg"] if case.label else [])] for case in cases}


def test_equal_names_in_two_folders_are_two_patients(tmp_path: Path):
    names = ("A/scan_t1.nii.gz", "A/scan_t1c.nii.gz", "B/scan_t2.nii.gz", "B/scan_flair.nii.gz")
    assert found(tmp_path, *names) == {"A-scan": ["t1n", "t1c"], "B-scan": ["t2w", "t2f"]}


def test_equal_folders_below_two_others_are_two_patients(tmp_path: Path):
    names = ("X/P1/t1/1.dcm", "Y/P1/flair/1.dcm")
    assert found(tmp_path, *names) == {"X-P1": ["t1n"], "Y-P1": ["t2f"]}
    names = ("X/P1/t1.nii.gz", "Y/P1/flair.nii.gz")
    assert found(tmp_path / "nifti", *names) == {"X-P1": ["t1n"], "Y-P1": ["t2f"]}


@pytest.mark.parametrize(
    "names",
    [
        ("P1_t1.nii.gz", "P1_flair.nii.gz", "P1_seg.nii.gz"),
        ("P1/t1.nii.gz", "P1/flair.nii.gz", "P1/seg.nii.gz"),
        ("t1/P1_t1.nii.gz", "flair/P1_flair.nii.gz", "seg/P1_seg.nii.gz"),
        ("P1_t1/P1_t1.nii.gz", "P1_flair/P1_flair.nii.gz", "P1_seg/P1_seg.nii.gz"),
        ("images/P1_t1.nii.gz", "images/P1_flair.nii.gz", "labels/P1_seg.nii.gz"),
    ],
)
def test_one_patient_stays_one_case(tmp_path: Path, names: tuple[str, ...]):
    assert found(tmp_path, *names) == {"P1": ["t1n", "t2f", "seg"]}


def test_a_folder_of_another_case_and_a_modality_tells_whose_a_file_is(tmp_path: Path):
    names = ("A_t1/P1_t1.nii.gz", "B_flair/P1_flair.nii.gz")
    assert found(tmp_path, *names) == {"A_t1-P1": ["t1n"], "B_flair-P1": ["t2f"]}


def test_a_folder_of_several_modalities_is_none_of_one(tmp_path: Path):
    """Of two times called T1 and T2 one case was made."""
    names = ("P1/T1/t1.nii.gz", "P1/T1/flair.nii.gz", "P1/T2/t2.nii.gz", "P1/T2/t1c.nii.gz")
    assert found(tmp_path, *names) == {"P1-T1": ["t1n", "t2f"], "P1-T2": ["t1c", "t2w"]}
    names = ("P2/T1/P2_t1.nii.gz", "P2/T1/P2_t1c.nii.gz", "P2/T2/P2_flair.nii.gz")
    assert found(tmp_path / "of one", *names) == {"P2": ["t1n", "t1c", "t2f"]}


def test_a_name_that_two_folders_come_to_is_not_taken(tmp_path: Path):
    for name in ("x-A/scan_t1.nii.gz", "x/A/scan_flair.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    cases, skipped = find_inputs([tmp_path])
    assert not cases and [entry.case for entry in skipped] == ["x-A-scan"]
    assert "both have a case of this name" in skipped[0].reason


def test_files_that_are_not_used_are_counted(tmp_path: Path):
    for name in ("P1_t1.nii.gz", "P1_flair.nii.gz", "P1_mask.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    unused = UnusedFiles()
    (case,), _ = find_inputs([tmp_path], ["t1n"], unused=unused)
    assert list(case.images) == ["t1n"] and case.brain is None
    assert sorted(unused.counts.values()) == [1, 1, 1] and "a modality that was not requested" in unused.counts
    assert find_inputs([tmp_path], ["t1n"], mask_is="brain")[0][0].brain == tmp_path / "P1_mask.nii.gz"
