"""Inference, `prepare` and the datalist find the same cases in one folder."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from ckdmed.data.brats import find_brats_cases
from ckdmed.data.case_reader import CaseReader
from ckdmed.data.input_walk import UnusedFiles
from ckdmed.inference.case_job import CaseInferenceJob, CaseItem
from ckdmed.inference.final_notes import skipped_for
from ckdmed.preparation import find_inputs


def test_all_doors_find_the_same(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(1, 99, (6, 5, 4)).astype(np.int16)
    folder = tmp_path / "data"
    for name in (
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n.nii.gz",
        "sub-01/anat/sub-01_T1w.NII.GZ",
        "P1_T1.nii.gz",
        "P1_seg.nii.gz",
        "P1_mask.nii.gz",
        "P2/t1w.nii.gz",
        "out/P1_t1.nii.gz",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / name)
    (tmp_path / "P3").mkdir()
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "P3" / "P3_t1.nii.gz")
    (folder / "P3").symlink_to(tmp_path / "P3")
    expected = ["BraTS-GLI-00001-000", "P1", "P2", "P3", "sub-01"]
    out = folder / "out"

    inputs, skipped = find_inputs([folder], ["t1n"], exclude=out)
    assert sorted(case.case for case in inputs) == expected and not skipped
    unused = UnusedFiles()
    cases, skipped = find_brats_cases(folder, ["t1n"], require_label=False, exclude=out, unused=unused)
    assert sorted(case.case for case in cases) == expected and not skipped and unused.total == 1
    # inference asks for the record of a run where files lie in its output folder
    (out / "settings.json").write_text('{"command": [], "settings": {}, "versions": {}}', encoding="utf-8")
    found = CaseInferenceJob(str(folder), str(out), CaseReader(), "none.pt", ["t1n"]).found
    assert sorted(item.name for item in found.items) == expected and not found.skipped
    assert sorted(path.name for path in found.unused.some) == ["P1_mask.nii.gz", "P1_seg.nii.gz"]


def test_a_case_whose_file_is_missing_is_skipped_by_its_name(tmp_path: Path) -> None:
    """The paths of a datalist that lies elsewhere than its cases lead nowhere."""
    item = CaseItem("case1", (tmp_path / "case1_t1.nii.gz",), "case1")
    for error in (FileNotFoundError(2, "No such file or directory", str(item.files[0])), OSError("no place")):
        assert skipped_for(item, error).reason.startswith("case1: ")


def test_a_case_has_its_whole_name(tmp_path: Path) -> None:
    """Of two patients who are segmented one after the other into one folder, none takes the place of the other."""
    volume = np.random.default_rng(0).integers(1, 99, (6, 5, 4)).astype(np.int16)
    for name in ("Lee.A", "Lee.B"):
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / name / "t1n.nii.gz")
        job = CaseInferenceJob(str(tmp_path / name), str(tmp_path / "out"), CaseReader(), "none.pt", ["t1n"])
        assert [item.name for item in job.found.items] == [name]


def test_a_case_of_one_file_keeps_what_its_channels_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 99, (6, 5, 4, 4)).astype(np.int16)
    (tmp_path / "imagesTr").mkdir()
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "imagesTr/BRATS_001.nii.gz")
    job = CaseInferenceJob(str(tmp_path), str(tmp_path / "out"), CaseReader(), "none.pt")
    (entry,) = job.data
    job.record(entry["name"], [])
    noted = json.loads((tmp_path / "out/results.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert noted["modalities"] == ["t2f", "t1n", "t1c", "t2w"] != list(job.modalities)
