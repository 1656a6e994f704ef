"""Cases by the names of their files; nothing is opened but what may be DICOM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckdmed.data.brats.case_files import find_case_files

DICOM = b"\0" * 128 + b"DICM"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(DICOM if name.endswith(".dcm") else b"x")


def cases(folder: Path, **options) -> dict[str, list[str]]:
    found = find_case_files(folder, **options)
    assert not found.skipped
    return {case.case: list(case.parts) for case in found.cases}


def test_cases_of_all_kinds_lie_side_by_side(tmp_path):
    touch(
        tmp_path, "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n.nii.gz", "P1/P1_t1.NII.GZ", "P2/t1w/1.dcm", "P3/T2.nii"
    )
    touch(tmp_path, "P2/P2_flair.nii.gz", "imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz")
    assert cases(tmp_path) == {
        "BRATS_001": ["volume", "seg"],
        "BraTS-GLI-00001-000": ["t1n"],
        "P1": ["t1n"],
        "P2": ["t2f", "t1n"],
        "P3": ["t2w"],
    }


@pytest.mark.parametrize(
    "names",
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_ce-gd_T1w.nii.gz", "sub-01/anat/sub-01_FLAIR.nii.gz"),
        ("P1/P1_T1.nii.gz", "P1/P1_T1_Gd.nii.gz", "P1/P1_T2_FLAIR.nii.gz"),
        ("P1/t1n.nii.gz", "P1/t1gd.nii.gz", "P1/fla.nii.gz"),
        ("BraTS-GLI-00001-000-t1n.nii", "brats_gli_00001_000_t1ce.nii", "BRATS-GLI-00001-000-T2F.NII"),
    ],
)
def test_one_case_under_every_spelling(tmp_path, names):
    touch(tmp_path, *names)
    assert [sorted(parts) for parts in cases(tmp_path).values()] == [["t1c", "t1n", "t2f"]]


def test_a_mask_is_used_only_as_an_option_says(tmp_path):
    touch(tmp_path, "P1/t1.nii.gz", "P1/mask.nii.gz")
    found = find_case_files(tmp_path)
    assert list(found.cases[0].parts) == ["t1n"]
    (line,) = found.unused.lines()
    assert "--mask-is" in line and str(tmp_path / "P1" / "mask.nii.gz") in line
    assert cases(tmp_path, mask_is="label") == {"P1": ["seg", "t1n"]}
    assert cases(tmp_path, mask_is="brain") == {"P1": ["brain", "t1n"]}
    with pytest.raises(ValueError, match="mask_is must be one of label, brain, got 'tumour'"):
        find_case_files(tmp_path, mask_is="tumour")


def test_links_to_cases_are_followed_once_and_never_upwards(tmp_path):
    touch(tmp_path, "far/P2/P2_t1.nii.gz", "data/P1/P1_t1.nii.gz")
    (tmp_path / "data" / "P2").symlink_to(tmp_path / "far" / "P2")
    (tmp_path / "data" / "A").symlink_to(tmp_path / "data" / "P1")
    (tmp_path / "data" / "up").symlink_to(tmp_path)
    (tmp_path / "data" / "P3_t1.nii.gz").symlink_to(tmp_path / "nowhere")
    found = find_case_files(tmp_path / "data")
    assert [case.case for case in found.cases] == ["P1", "P2"]
    assert found.cases[0].parts["t1n"] == tmp_path / "data" / "P1" / "P1_t1.nii.gz"
    assert found.unused.counts == {"a broken link": 1, "behind a link to a parent folder": 1}


def test_every_file_that_is_not_used_is_counted_by_cause(tmp_path):
    touch(tmp_path, "P1/P1_t1.nii.gz", "P1/W39_Segm.nii", "P1/notes.txt", "P1/._P1_t1.nii.gz", "P2/t1/1.dcm")
    (tmp_path / "P2" / "t1" / "DICOMDIR").write_bytes(DICOM)
    found = find_case_files(tmp_path)
    assert [case.case for case in found.cases] == ["P1", "P2"] and not found.skipped
    assert found.unused.counts == {
        "the name does not end in a modality": 1,
        "not an image of a known type": 2,
        "hidden": 1,
    }
    assert found.unused.total == 4
    assert any("W39_Segm.nii" in line for line in found.unused.lines())
    touch(tmp_path, *(f"P1/{number}.txt" for number in range(9)))
    (line,) = [line for line in find_case_files(tmp_path).unused.lines() if "known type" in line]
    assert (
        line.startswith("11 files not used") and line.endswith(", ...") and line.count(".txt") + line.count("DIR") == 5
    )


def test_a_t1_flair_is_not_taken_for_the_flair(tmp_path):
    touch(tmp_path, "P1/P1_t1c.nii.gz", "P1/P1_T1_FLAIR.nii.gz", "P2/T1_FLAIR/1.dcm", "P2/T2_FLAIR/1.dcm")
    found = find_case_files(tmp_path)
    assert {case.case: sorted(case.parts) for case in found.cases} == {"P1": ["t1c"], "P2": ["t2f"]}
    (line,) = found.unused.lines()
    assert "the name does not identify the modality" in line and "P1_T1_FLAIR.nii.gz" in line
    (left,) = found.skipped
    assert "folder's name does not identify the modality; rename it, or give it with --image" in left.reason


def test_what_an_earlier_run_wrote_is_no_input(tmp_path):
    touch(tmp_path, "P1/P1_t1.nii.gz", "x/output/P1_t1.nii.gz", "x/prepared/P1/P1-t1n.nii.gz", "out/P1_t1.nii.gz")
    run = {"command": [], "settings": {}, "versions": {}}
    (tmp_path / "x" / "output" / "settings.json").write_text(json.dumps(run))
    record = {"case": "P1", "settings": {}, "sources": ""}
    (tmp_path / "x" / "prepared" / "P1" / "prepared.json").write_text(json.dumps(record))
    found = find_case_files(tmp_path, exclude=tmp_path / "out")
    assert [case.parts["t1n"] for case in found.cases] == [tmp_path / "P1" / "P1_t1.nii.gz"] and not found.skipped
    assert found.unused.counts == {"results of an earlier run": 2, "written by an earlier prepare": 2}
    # whoever gives a folder of prepared cases means these
    assert cases(tmp_path / "x" / "prepared") == {"P1": ["t1n"]}


def test_series_that_nobody_can_assign_are_all_named(tmp_path):
    touch(tmp_path, "P1/0004/1.dcm", "P2/0004/1.dcm")
    assert [entry.case for entry in find_case_files(tmp_path).skipped] == ["P1/0004", "P2/0004"]


def test_a_year_is_not_believed_of_files_that_were_renamed(tmp_path):
    touch(tmp_path, "BraTS2021_00410-t1n.nii.gz", "BraTS2021_00411_t1.nii.gz", "BraTS2021_00411_seg.nii.gz")
    names = {case.case: case.name for case in find_case_files(tmp_path).cases}
    assert [name.release for name in names.values()] == ["", "2021"]
    assert {name.tumour_type for name in names.values()} == {"GLI"}
