"""Cases in the layout of BraTS 2023: bytes, layout, contrasts, regions, types, time points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.data.phantoms.anatomy import Tissue
from ckdmed.data.phantoms.volumes import BratsPatient, BratsPhantom, brats_affine

SHAPE = (64, 64, 48)
PARTS = {"t1n", "t1c", "t2w", "t2f", "seg"}


@pytest.fixture(scope="module")
def phantom() -> BratsPhantom:
    return BratsPatient(0, "SSA", seed=0, without_enhancement=0).render(0, (80, 80, 62))


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_bytes_and_resuming(tmp_path: Path) -> None:
    options: dict[str, Any] = {"shape": SHAPE, "seed": 5, "time_points": (2, 2), "progress": False}
    manifest = write_brats_phantoms(tmp_path / "a", 3, **options)
    names = [case["case"] for case in json.loads(manifest.read_text())["cases"]]
    assert names == ["BraTS-GLI-00000-000", "BraTS-GLI-00000-001", "BraTS-GLI-00001-000"]
    for name in names:
        files = sorted(path.name for path in (tmp_path / "a" / name).iterdir())
        assert files == sorted(f"{name}-{part}.nii.gz" for part in PARTS)
    first = _bytes(tmp_path / "a")
    write_brats_phantoms(tmp_path / "b", 2, **options)
    smaller = _bytes(tmp_path / "b")
    smaller.pop("phantoms.json")
    assert len(smaller) == 10 and all(first[name] == content for name, content in smaller.items())

    gone = tmp_path / "a" / names[1] / f"{names[1]}-t1c.nii.gz"
    gone.unlink()
    write_brats_phantoms(tmp_path / "a", 3, **options)
    assert _bytes(tmp_path / "a") == first
    with pytest.raises(ValueError, match=r"made with shape = \[64, 64, 48\]"):
        write_brats_phantoms(tmp_path / "a", 3, **{**options, "shape": (32, 32, 32)})

    image = nib.Nifti1Image.from_filename(gone)
    assert image.shape == SHAPE and image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.header.get_zooms(), (3.75, 3.75, 155 / 48), rtol=1e-5)
    assert nib.orientations.aff2axcodes(image.affine) == ("L", "P", "S")
    assert gone.read_bytes()[4:8] == bytes(4)  # gzip's time of making


def test_other_seeds_give_other_volumes() -> None:
    a, b = (BratsPatient(0, "GLI", seed).render(0, (32, 32, 24)) for seed in (0, 1))
    assert not np.array_equal(a.images["t1c"], b.images["t1c"])
    assert not np.array_equal(a.seg, b.seg)


def test_default_affine_is_that_of_brats(shared_data: Path) -> None:
    case = shared_data / "brats2023" / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t1c.nii.gz"
    np.testing.assert_array_equal(brats_affine((240, 240, 155)), nib.Nifti1Image.from_filename(case).affine)


def test_skull_stripped(phantom: BratsPhantom) -> None:
    brain = phantom.tissue != Tissue.AIR
    assert 0.1 < brain.mean() < 0.25
    for image in phantom.images.values():
        assert image.dtype == np.int16
        np.testing.assert_array_equal(image > 0, brain)
        assert image.min() == 0
    assert not phantom.seg[~brain].any()


# Darkest to brightest, from what the sequences weight; ET stands out in t1c only.
@pytest.mark.parametrize(
    ("modality", "order"),
    [
        ("t1n", [Tissue.CSF, Tissue.NECROSIS, Tissue.OEDEMA, Tissue.WHITE]),
        ("t1n", [Tissue.CSF, Tissue.GREY, Tissue.WHITE]),
        ("t1n", [Tissue.ENHANCING, Tissue.WHITE]),
        ("t1c", [Tissue.CSF, Tissue.GREY, Tissue.WHITE, Tissue.ENHANCING]),
        ("t1c", [Tissue.NECROSIS, Tissue.OEDEMA, Tissue.ENHANCING]),
        ("t2w", [Tissue.WHITE, Tissue.GREY, Tissue.OEDEMA, Tissue.NECROSIS, Tissue.CSF]),
        ("t2w", [Tissue.ENHANCING, Tissue.NECROSIS]),
        ("t2f", [Tissue.CSF, Tissue.WHITE, Tissue.GREY, Tissue.NECROSIS, Tissue.OEDEMA]),
        ("t2f", [Tissue.GREY, Tissue.ENHANCING, Tissue.OEDEMA]),
    ],
)
def test_contrasts(phantom: BratsPhantom, modality: str, order: list[Tissue]) -> None:
    image = phantom.images[modality]
    medians = [float(np.median(image[phantom.tissue == tissue])) for tissue in order]
    assert medians == sorted(medians) and len(set(medians)) == len(medians)


def test_regions_lie_in_each_other(phantom: BratsPhantom) -> None:
    assert set(np.unique(phantom.seg)) == {0, 1, 2, 3}
    for label, tissue in ((1, Tissue.NECROSIS), (2, Tissue.OEDEMA), (3, Tissue.ENHANCING)):
        np.testing.assert_array_equal(phantom.seg == label, phantom.tissue == tissue)
    centre = np.argwhere(phantom.seg == 1).mean(0)
    spread = [np.linalg.norm(np.argwhere(phantom.seg == k) - centre, axis=1).mean() for k in (1, 3, 2)]
    assert spread == sorted(spread)


def test_types() -> None:
    shape = (48, 48, 40)
    none = BratsPatient(1, "GLI", 0, without_enhancement=1).render(0, shape)
    assert set(np.unique(none.seg)) == {0, 1, 2}
    meningioma = BratsPatient(1, "MEN", 0).render(0, shape)
    assert (meningioma.seg == 3).sum() > 5 * (meningioma.seg == 1).sum()
    child = BratsPatient(1, "PED", 0).render(0, shape)
    assert (child.seg == 1).sum() > (child.seg == 3).sum()
    counts = {len(BratsPatient(i, "MET", 0).tumours) for i in range(8)}
    assert len(counts) > 2 and min(counts) >= 1 and max(counts) <= 5


def test_time_points_share_the_head_and_not_the_noise() -> None:
    person = BratsPatient(2, "GLI", 0, without_enhancement=0)
    first, second = (person.render(t, (48, 48, 40)) for t in (0, 2))
    assert ((first.tissue > 0) == (second.tissue > 0)).mean() > 0.999
    assert not np.array_equal(first.images["t1n"], second.images["t1n"])
    size = [np.isin(p.seg, (1, 3)).sum() for p in (first, second)]
    assert (size[1] > size[0]) == (person.growth > 0)


def test_float_images() -> None:
    case = BratsPatient(0, "GLI", 0).render(0, (24, 24, 20), "float32")
    assert all(image.dtype == np.float32 and np.isfinite(image).all() for image in case.images.values())
    assert case.seg.dtype == np.int16


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_cases": 0}, "n_cases has to be at least 1"),
        ({"shape": (240, 240)}, r"three numbers of 16 or more, got \(240, 240\)"),
        ({"tumour_types": ("GBM",)}, r"one or more of GLI, .*got \['GBM'\]"),
        ({"time_points": (0, 1)}, r"got \(0, 1\)"),
        ({"without_enhancement": 1.5}, "a probability, got 1.5"),
        ({"dtype": "int8"}, "got 'int8'"),
        ({"seed": -2}, "got -2"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_brats_phantoms(tmp_path, **{"progress": False, **wrong})
