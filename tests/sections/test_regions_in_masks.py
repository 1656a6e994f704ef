from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ckdmed.bundle import brats_sections
from ckdmed.data.brats import build_brats_datalist, write_brats_datalist
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.sections.regions_in_masks import warn_of_untold_regions

BUNDLES = Path(__file__).parents[2] / "bundles"
ALL = ("TC", "WT", "ET")


def told(
    caplog: pytest.LogCaptureFixture, masks: Mapping[str, dict[str, int] | None], regions=ALL, labelled=True
) -> str:
    caplog.clear()
    listed = [{"case": case, "label_voxels": voxels} for case, voxels in masks.items()]
    warn_of_untold_regions(Path("data"), listed, [{"case": case, "labelled": labelled} for case in masks], regions)
    return caplog.text


def test_masks_of_the_whole_tumour_alone_are_told(caplog: pytest.LogCaptureFixture):
    text = told(caplog, {"a": {"NCR": 9}, "b": {"NCR": 4}, "empty": {}})
    assert "hold only NCR: TC and WT are the same voxels, and ET is absent" in text
    assert "--regions \"['WT']\"" in text
    assert not told(caplog, {"a": {"NCR": 9}}, ["WT"])


def test_a_region_that_no_mask_has_is_told(caplog: pytest.LogCaptureFixture):
    text = told(caplog, {"a": {"NCR": 9, "ED": 3}, "b": {"ED": 4, "cavity": 2}})
    assert "hold only NCR and ED: ET is absent" in text and "same voxels" not in text
    assert "TC and ET are the same voxels" in told(caplog, {"a": {"ET": 9, "ED": 3}})


def test_masks_that_tell_the_regions_apart_are_not_mentioned(caplog: pytest.LogCaptureFixture):
    assert not told(caplog, {"a": {"NCR": 9, "ED": 3}, "b": {"ET": 4}})
    # not counted, or not used
    assert not told(caplog, {"a": {"NCR": 9}, "b": None})
    assert not told(caplog, {"a": {"NCR": 9}}, labelled=False)


def test_a_training_tells_it_with_and_without_a_datalist(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_brats_phantoms(tmp_path, 5, (16, 16, 16), seed=3, progress=False)
    for path in tmp_path.rglob("*-seg.nii.gz"):
        mask = nib.load(path)
        nib.save(nib.Nifti1Image((np.asanyarray(mask.dataobj) > 0).astype(np.uint8), mask.affine), path)
    brats_sections(str(tmp_path), regions=ALL)
    assert "TC and WT are the same voxels" in caplog.text
    caplog.clear()
    write_brats_datalist(build_brats_datalist(tmp_path, progress=False)[0], tmp_path / "datalist.json")
    brats_sections(str(tmp_path), regions=ALL)
    assert "TC and WT are the same voxels" in caplog.text


@pytest.mark.parametrize("bundle", ["brats_seg_teacher", "brats_seg_kd", "brats_unimodal_kd"])
def test_bundles_say_which_regions_they_learn(bundle: str):
    config = json.loads((BUNDLES / bundle / "train.json").read_text(encoding="utf-8"))
    assert config["sections"]["regions"] == "@regions"
