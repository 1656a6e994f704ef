from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from ckdmed.data.brats import CaseSlicesd, LoadCachedSliced, build_brats_datalist, build_slice_cache
from ckdmed.data.brats.datalist import select_brats_items
from ckdmed.data.brats.slice_cache import normalised
from ckdmed.data.case_reader import CaseReader
from ckdmed.transforms import BrainUnitRange

MODALITIES = ["t1c", "t2f"]


@pytest.fixture
def item(make_case: Callable[..., Path], tmp_path: Path) -> dict:
    make_case("BraTS-GLI-00001-000", "cases")
    datalist, _ = build_brats_datalist(tmp_path / "cases", fractions=(1, 0, 0), modalities=MODALITIES, progress=False)
    (found,) = select_brats_items(datalist, tmp_path / "cases")
    return found


def test_unit_is_the_range_of_the_brain_of_the_whole_volume() -> None:
    volume = np.random.default_rng(0).integers(-50, 900, (6, 7, 8)).astype(np.float32)
    volume[:2] = 0
    got = normalised(volume, "unit")
    torch.testing.assert_close(torch.from_numpy(got), torch.from_numpy(BrainUnitRange()(volume[None])[0]))
    assert got.min() == 0 and got.max() == 1 and (got[:2] == 0).all()
    constant = np.where(volume > 100, 7.0, 0.0)
    assert not normalised(constant, "unit").any() and not normalised(np.zeros((2, 2, 2)), "unit").any()
    assert normalised(volume, "none") is volume
    with pytest.raises(ValueError, match="normalise must be one of zscore, unit, none, got 'minmax'"):
        normalised(volume, "minmax")


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_a_case_in_memory_gives_the_slices_of_the_cache(item: dict, tmp_path: Path, plane: str) -> None:
    (folder,), _ = build_slice_cache(
        [item], tmp_path / "cache", plane=plane, normalise="unit", dtype="float32", progress=False
    )
    chain = Compose(
        [LoadImaged("image", reader=CaseReader()), EnsureChannelFirstd("image"), CaseSlicesd("image", plane=plane)]
    )
    made = chain({"image": item["image"]})
    slices, numbers = made["image"].unflatten(0, (-1, 2)), made["slices"].tolist()
    stored = np.load(folder / "image.npy")
    # the brain of the made cases begins one voxel inside of the volume
    assert numbers == list(range(1, len(stored) - 1))
    for which, number in enumerate(numbers):
        entry = {"image": str(folder / "image.npy"), "slice": number}
        assert torch.equal(LoadCachedSliced("image", MODALITIES)(entry)["image"], slices[which])
        reverse = LoadCachedSliced("image", MODALITIES[::-1])(entry)["image"]
        assert torch.equal(reverse, slices[which].flip(0)) and np.array_equal(slices[which].numpy(), stored[number])


def test_a_cache_that_is_built_anew_is_read_anew(item: dict, tmp_path: Path) -> None:
    (folder,), _ = build_slice_cache([item], tmp_path / "cache", progress=False)
    entry = {"image": str(folder / "image.npy"), "slice": 3}
    before = LoadCachedSliced("image", ["t2f"])(entry)["image"]
    swapped = {**item, "image": item["image"][::-1], "modalities": MODALITIES[::-1]}
    build_slice_cache([swapped], tmp_path / "cache", progress=False)
    assert torch.equal(LoadCachedSliced("image", ["t2f"])(entry)["image"], before)


def test_refusals(item: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="modalities must be a list of names, got 't1c'"):
        LoadCachedSliced("image", "t1c")
    with pytest.raises(ValueError, match="not in the cache; build the cache"):
        LoadCachedSliced("image", ["t1c"])({"image": str(tmp_path / "nothing" / "image.npy"), "slice": 0})
    with pytest.raises(ValueError, match=r"must be a volume \(C, X, Y, Z\) with its affine, got \(1, 2, 3\)"):
        CaseSlicesd("image")({"image": torch.zeros(1, 2, 3)})
    with pytest.raises(ValueError, match="is 0 everywhere"):
        CaseSlicesd("image")({"image": MetaTensor(torch.zeros(1, 4, 4, 4))})
