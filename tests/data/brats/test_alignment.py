from __future__ import annotations

import numpy as np
import pytest

from ckdmed.data.brats import brats_labels, check_mask
from ckdmed.limits import MAX_BYTES_VARIABLE

from .conftest import AFFINE, brain, mask, save


@pytest.fixture
def image(tmp_path):
    return save(tmp_path / "image.nii.gz", brain())


def check(tmp_path, image, array, affine=AFFINE, release=2023, **kwargs):
    return check_mask("case", [image], save(tmp_path / "seg.nii.gz", array, affine), brats_labels(release), **kwargs)


def test_a_mask_that_fits(tmp_path, image):
    row = check(tmp_path, image, mask())
    assert row.grid and row.affine and not row.problems
    assert (row.labels, row.tumour_voxels, row.outside_voxels) == ("1 NCR 2 ED 3 ET", 16, 0)


def test_tumour_outside_the_brain_is_counted(tmp_path, image):
    seg = mask()
    seg[0, :4, 0] = 2
    row = check(tmp_path, image, seg)
    assert (row.outside_voxels, row.tumour_voxels) == (4, 20) and row.outside_share == pytest.approx(0.2)
    assert "4 of 20 tumour voxels (20.0%) lie outside the brain" in row.problems
    assert not check(tmp_path, image, seg, outside_limit=0.2).problems


def test_brain_is_where_any_image_is_not_zero(tmp_path, image):
    seg = mask()
    seg[0, 0, 0] = 2
    other = brain()
    other[0, 0, 0] = -5
    second = save(tmp_path / "second.nii.gz", other)
    row = check_mask("case", [image, second], save(tmp_path / "seg.nii.gz", seg), brats_labels(2023), 0.0)
    assert row.outside_voxels == 0 and not row.problems


def test_wrong_affine_grid_and_labels(tmp_path, image):
    row = check(tmp_path, image, mask(4), np.eye(4))
    assert row.grid and not row.affine
    assert "[1 0 0 0; 0 1 0 0; 0 0 1 0; 0 0 0 1]" in row.problems[0] and "-1 0 239" in row.problems[0]
    assert row.problems[1] == "not among the labels of BraTS 2023: 4"
    row = check(tmp_path, image, mask(shape=(8, 9, 7)))
    assert not row.grid and not row.affine and "(8, 9, 7)" in row.problems[0]


def test_an_empty_or_damaged_mask(tmp_path, image, monkeypatch):
    assert check(tmp_path, image, np.zeros_like(mask())).problems == ("the mask is empty",)
    path = save(tmp_path / "seg.nii.gz", np.random.default_rng(0).integers(0, 4, (64,) * 3).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    row = check_mask("case", [image], path, brats_labels(2023))
    assert any("seg.nii.gz: truncated or damaged" in problem for problem in row.problems)
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "400")
    row = check_mask("case", [image], path, brats_labels(2023))
    assert "400 are allowed" in row.problems[0]


@pytest.mark.slow
def test_real_masks(shared_data):
    from ckdmed.data.brats import find_brats_cases

    case = find_brats_cases(shared_data / "brats2018")[0][0]
    assert not check_mask(case.case, case.images, case.label, brats_labels(2018)).problems
