from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ConvertToMultiChannelBasedOnBratsClasses

from ckdmed.labels import brats_labels
from ckdmed.transforms import (
    BratsLabelsToOneHot,
    BratsLabelsToOneHotd,
    BratsLabelsToRegions,
    BratsLabelsToRegionsd,
    RegionsToBratsLabels,
    RegionsToBratsLabelsd,
)


def volume(release: int | str, shape: tuple[int, ...] = (6, 5, 4)) -> np.ndarray:
    table = brats_labels(release)
    return np.random.default_rng(0).choice([0, table.ncr, table.ed, table.et], (1, *shape)).astype(np.uint8)


@pytest.mark.parametrize("release", [2018, 2023])
def test_it_is_monais_conversion_with_the_releases_label(release):
    mask = volume(release)
    expected = ConvertToMultiChannelBasedOnBratsClasses(et_label=brats_labels(release).et)(mask)
    assert np.array_equal(BratsLabelsToRegions(release)(mask), expected.astype(np.float32))


@pytest.mark.parametrize("release", [2018, 2023, "decathlon"])
@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5), (4, 4)])
@pytest.mark.parametrize("regions", [("TC", "WT", "ET"), ("ET", "TC", "WT")])
def test_there_and_back(release, shape, regions):
    mask = volume(release, shape)
    channels = BratsLabelsToRegions(release, regions=regions)(mask)
    assert channels.shape == (3, *shape) and channels.dtype == np.float32
    back = RegionsToBratsLabels(release, regions=regions)(channels)
    assert back.dtype == np.uint8 and np.array_equal(back, mask)


def test_tensors_keep_their_place_in_space():
    affine = torch.diag(torch.tensor([2.0, 1, 1, 1], dtype=torch.float64))
    mask = MetaTensor(torch.from_numpy(volume(2023)), affine=affine)
    channels = BratsLabelsToRegionsd("label")({"label": mask})["label"]
    assert isinstance(channels, MetaTensor) and torch.equal(channels.affine, affine)
    assert channels.dtype == torch.float32
    back = RegionsToBratsLabelsd("label")({"label": channels})["label"]
    assert torch.equal(back, mask) and torch.equal(back.affine, affine)


def test_the_channels_can_be_chosen():
    mask = volume(2023)
    assert np.array_equal(BratsLabelsToRegions(regions=["ET"])(mask), (mask == 3).astype(np.float32))


def test_logits_are_cut_at_their_threshold():
    logits = torch.tensor([[-1.0, 2.0, -1.0], [1.0, 1.0, -0.1], [-2.0, 0.1, -3.0]])[:, None]
    assert RegionsToBratsLabels(2018, threshold=0.0)(logits).tolist() == [[[2, 4, 0]]]


def test_one_hot_is_exclusive_and_in_one_order_for_all_releases():
    for release in (2018, 2023, "decathlon"):
        table = brats_labels(release)
        mask = np.array([[[0, table.ncr], [table.ed, table.et]]], dtype=np.uint8)
        channels = BratsLabelsToOneHotd("m", release)({"m": mask})["m"]
        assert np.array_equal(channels.reshape(4, 4), np.eye(4))
    cavity = BratsLabelsToOneHot(2024)(np.full((1, 2, 2), 4, np.uint8))
    assert cavity[0].all() and not cavity[1:].any()


def test_foreign_labels_are_refused_with_the_table():
    with pytest.raises(ValueError, match="holds 4, not among the labels of BraTS 2023 .*3 ET.*; give the release"):
        BratsLabelsToRegions(2023)(volume(2018))
    with pytest.raises(ValueError, match="holds 3, not among the labels of BraTS 2018"):
        BratsLabelsToOneHot(2018)(volume(2023))


def test_shapes_and_regions_are_checked():
    with pytest.raises(ValueError, match=r"got \(2, 6, 5\)"):
        BratsLabelsToRegions()(np.zeros((2, 6, 5)))
    with pytest.raises(ValueError, match="one or more of TC, WT, ET"):
        BratsLabelsToRegions(regions=["RC"])
    with pytest.raises(ValueError, match="is made of one channel per region, got 2."):
        RegionsToBratsLabels()(np.zeros((2, 6, 5)))
