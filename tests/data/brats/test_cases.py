from __future__ import annotations

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from ckdmed.data.brats import find_brats_cases
from ckdmed.limits import MAX_BYTES_VARIABLE

from .conftest import AFFINE, SHAPE, brain, mask, save


def test_all_namings_in_one_form(make_case, tmp_path):
    for kind in ("GLI", "MEN", "MET", "PED", "SSA"):
        make_case(f"BraTS-{kind}-00001-000", "new")
    make_case("Brats18_TCIA05_396_1", "old/HGG", et=4)
    make_case("BraTS2021_00495", "old", et=4)
    save(tmp_path / "Task01/imagesTr/BRATS_001.nii.gz", np.stack([brain(seed=i) for i in range(4)], axis=-1))
    save(tmp_path / "Task01/labelsTr/BRATS_001.nii.gz", mask())
    cases, skipped = find_brats_cases(tmp_path)
    assert not skipped
    assert len(cases) == 8
    by_name = {case.case: case for case in cases}
    assert [c.name.tumour_type for c in cases if c.name.release == "2023"] == ["GLI", "MEN", "MET", "PED", "SSA"]
    assert by_name["Brats18_TCIA05_396_1"].grade == "HGG"
    for case in cases:
        assert case.shape == SHAPE and np.array_equal(case.affine, AFFINE) and case.label is not None
    assert by_name["BRATS_001"].modalities == ("t2f", "t1n", "t1c", "t2w") and len(by_name["BRATS_001"].images) == 1
    assert by_name["BraTS2021_00495"].modalities == ("t1n", "t1c", "t2w", "t2f")
    assert [p.name for p in by_name["BraTS2021_00495"].images] == [
        f"BraTS2021_00495_{suffix}.nii.gz" for suffix in ("t1", "t1ce", "t2", "flair")
    ]


def test_a_case_without_a_modality_is_named_and_the_rest_goes_on(make_case, tmp_path):
    make_case("BraTS-GLI-00001-000")
    make_case("BraTS-GLI-00002-000", leave_out=("t1c", "t2f"))
    make_case("BraTS-GLI-00003-000", leave_out=("seg",))
    cases, skipped = find_brats_cases(tmp_path)
    assert [case.case for case in cases] == ["BraTS-GLI-00001-000"]
    assert [entry.case for entry in skipped] == ["BraTS-GLI-00002-000", "BraTS-GLI-00003-000"]
    assert "missing: t1c, t2f (found: seg, t1n, t2w)" in skipped[0].reason
    assert "missing: seg" in skipped[1].reason
    assert all(entry.incomplete for entry in skipped[:2])
    assert len(find_brats_cases(tmp_path, ["t1n"], require_label=False)[0]) == 3


def test_files_that_disagree_are_told_with_both_values(make_case, tmp_path):
    moved = AFFINE.copy()
    moved[2, 3] = 5.0
    make_case("BraTS-GLI-00001-000", t1c=brain((8, 9, 7)), seg=(mask(), np.eye(4)))
    make_case("BraTS-GLI-00002-000", t2w=(brain(), moved))
    cases, (first, second) = find_brats_cases(tmp_path)
    assert not cases and not first.incomplete
    assert "the grid of BraTS-GLI-00001-000-t1c.nii.gz is (8, 9, 7), but that of" in first.reason
    assert "(8, 9, 6)" in first.reason
    assert "[1 0 0 0; 0 1 0 0; 0 0 1 0; 0 0 0 1]" in first.reason and "[-1 0 0 0; 0 -1 0 239;" in first.reason
    assert "up to 5.0 mm apart" in second.reason
    assert len(find_brats_cases(tmp_path, tolerance_mm=6)[0]) == 1


def test_signs_of_zero_and_rounding_do_not_disagree(make_case, tmp_path):
    near = AFFINE.copy()
    near[0, 1] = -0.0
    near[0, 3] = 0.01
    make_case("BraTS-GLI-00001-000", seg=(mask(), near))
    assert len(find_brats_cases(tmp_path)[0]) == 1


@pytest.mark.parametrize(
    "content, cause",
    [(b"", "empty"), (b"no nifti", "cannot be read"), (gzip.compress(b"short", mtime=0), "cannot be read")],
    ids=["empty", "text", "truncated"],
)
def test_damaged_headers_are_named(make_case, tmp_path, content, cause):
    folder = make_case("BraTS-GLI-00001-000")
    (folder / "BraTS-GLI-00001-000-t2w.nii.gz").write_bytes(content)
    cases, skipped = find_brats_cases(tmp_path)
    assert not cases
    assert "BraTS-GLI-00001-000-t2w.nii.gz" in skipped[0].reason and cause in skipped[0].reason


def test_a_file_that_is_too_large_costs_no_other_case(make_case, tmp_path, monkeypatch):
    folder = make_case("BraTS-GLI-00001-000")
    make_case("BraTS-GLI-00002-000")
    save(folder / "BraTS-GLI-00001-000-t2w.nii.gz", brain((40, 40, 40)))
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "100000")
    cases, skipped = find_brats_cases(tmp_path)
    assert [case.case for case in cases] == ["BraTS-GLI-00002-000"]
    assert "00001-000-t2w.nii.gz" in skipped[0].reason and MAX_BYTES_VARIABLE in skipped[0].reason


def test_no_voxel_is_read(make_case, tmp_path):
    folder = make_case("BraTS-GLI-00001-000", t1n=brain((64, 64, 64)))
    for part in ("t1c", "t2w", "t2f", "seg"):
        shutil.copy(folder / "BraTS-GLI-00001-000-t1n.nii.gz", folder / f"BraTS-GLI-00001-000-{part}.nii.gz")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(Exception):
        nib.load(path).get_fdata()
    assert len(find_brats_cases(tmp_path)[0]) == 1


def test_a_case_that_is_there_twice_is_left_out(make_case, tmp_path):
    make_case("BraTS-GLI-00001-000", "a")
    make_case("BraTS-GLI-00001-000", "b")
    cases, skipped = find_brats_cases(tmp_path)
    assert not cases and "twice:" in skipped[0].reason


def test_hidden_copies_and_folders_named_like_files_do_not_count(make_case, tmp_path):
    folder = make_case("BraTS20_Training_001", et=4)
    (folder / "._BraTS20_Training_001_t1.nii.gz").write_bytes(b"junk")
    (folder / "BraTS20_Training_001_t2.nii").mkdir()
    assert len(find_brats_cases(tmp_path)[0]) == 1


def test_decathlon_channels_follow_its_description(tmp_path):
    images = np.stack([brain(seed=i) for i in range(4)], axis=-1)
    save(tmp_path / "imagesTr/BRATS_002.nii.gz", images)
    save(tmp_path / "labelsTr/BRATS_002.nii.gz", mask())
    save(tmp_path / "imagesTr/BRATS_003.nii.gz", images[..., :3])
    order = {"0": "T1w", "1": "t1gd", "2": "T2w", "3": "FLAIR"}
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": order}))
    cases, skipped = find_brats_cases(tmp_path)
    assert cases[0].modalities == ("t1n", "t1c", "t2w", "t2f")
    assert "expected a fourth axis of 4 modalities" in skipped[0].reason
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "T1w", "1": "CT", "2": "T2w", "3": "FLAIR"}}))
    assert "must name T1w, t1gd, T2w and FLAIR" in find_brats_cases(tmp_path)[1][0].reason


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="not a folder"):
        find_brats_cases(tmp_path / "none")
    with pytest.raises(ValueError, match="no case found in this folder or below"):
        find_brats_cases(tmp_path)
    with pytest.raises(ValueError, match="each once, got"):
        find_brats_cases(tmp_path, ["t1n", "t1n"])


def test_real_cases_are_found_by_their_headers(shared_data):
    cases = {}
    for name in ("brats2023", "brats2018"):
        if not (shared_data / name).is_dir():
            pytest.skip(f"real data absent: {shared_data / name}")
        found, skipped = find_brats_cases(shared_data / name)
        assert not skipped
        cases[name] = found[0]
    assert cases["brats2023"].shape == cases["brats2018"].shape == (240, 240, 155)
    assert cases["brats2018"].name.release == "2018" and cases["brats2018"].name.time_point == 1
