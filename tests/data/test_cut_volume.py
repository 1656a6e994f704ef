from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from ckdmed.data.cut_volume import NOTED_KEY, CutVolumed, JoinSlicesd
from ckdmed.data.slice_reader import GEOMETRY_KEY, SliceReader
from ckdmed.data.volume_reader import VolumeReader

# turned, mirrored and scaled: the slices of a scanner whose axes are not those of the body
AFFINE = np.array([[0, 0, 3, 5], [-2, 0, 0, 7], [0, 1, 0, -4], [0, 0, 0, 1]], dtype=float)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    values[..., 2] = 3
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
    return path


def cut(path: Path, reader: object, slice_axis: int | str) -> MetaTensor:
    steps = [LoadImaged("image", reader), EnsureChannelFirstd("image"), CutVolumed("image", slice_axis)]
    return Compose(steps)({"image": str(path)})["image"]


@pytest.mark.parametrize("axis", [-1, 0, 1, "axial", "coronal", "sagittal"])
def test_a_volume_is_cut_into_the_slices_that_a_reader_gives(scan, axis):
    read, own = cut(scan, SliceReader(axis), axis), cut(scan, VolumeReader(), axis)
    assert torch.equal(read.as_tensor(), own.as_tensor()) and own.dtype == torch.float32
    assert read.meta[NOTED_KEY] == own.meta[NOTED_KEY]


def test_what_is_blank_is_noted(scan):
    assert json.loads(cut(scan, VolumeReader(), -1).meta[NOTED_KEY]) == {"size": [5, 4], "blank": [2]}


@pytest.mark.parametrize("axis", [-1, 1, "coronal"])
def test_slices_are_put_together_again(scan, axis):
    volume = nibabel.load(scan).get_fdata(dtype=np.float32)
    image = cut(scan, VolumeReader(), axis)
    joined = JoinSlicesd(("one", "two"))({"image": image, "one": image, "two": torch.stack([image, -image])})
    np.testing.assert_array_equal(joined["one"], volume[None])
    np.testing.assert_array_equal(joined["two"], np.stack([volume, -volume]))


def test_slices_of_a_reader_stay_slices(scan):
    image = cut(scan, SliceReader(), -1)
    assert JoinSlicesd("image")({"image": image})["image"] is image


def test_the_slices_of_several_channels_stand_one_after_another():
    volume = MetaTensor(torch.rand(2, 4, 5, 3), affine=torch.eye(4))
    both = CutVolumed("image")({"image": volume})["image"]
    each = [CutVolumed("image")({"image": volume[i : i + 1]})["image"] for i in range(2)]
    assert torch.equal(both.as_tensor(), torch.cat(each).as_tensor())


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.zeros(1, 4, 4, 4), "must be a MetaTensor"),
        (MetaTensor(torch.zeros(1, 4, 4, 4, 4)), r"a volume is \(C, X, Y, Z\)"),
    ],
)
def test_what_cannot_be_cut(image, said):
    with pytest.raises(ValueError, match=said):
        CutVolumed("image")({"image": image})
    with pytest.raises(ValueError, match="slice_axis must be one of"):
        CutVolumed("image", "oblique")


def test_the_geometry_is_text_that_collation_leaves_alone():
    image = CutVolumed("image")({"image": MetaTensor(torch.rand(1, 4, 5, 3))})["image"]
    assert isinstance(image.meta[GEOMETRY_KEY], str) and isinstance(image.meta[NOTED_KEY], str)
