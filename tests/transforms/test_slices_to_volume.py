from __future__ import annotations

import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, Transposed

from ckdmed.transforms.slices_to_volume import SlicesToVolume, SlicesToVolumed


def test_one_channel_is_transposed_and_gets_an_axis():
    image = torch.rand(3, 4, 5)
    stock = Compose([Transposed("x", (1, 2, 0)), EnsureChannelFirstd("x", channel_dim="no_channel")])({"x": image})["x"]
    assert torch.equal(SlicesToVolumed("x")({"x": image})["x"], stock.as_tensor())


def test_channels_stand_one_after_another():
    volume = SlicesToVolume(2)(torch.arange(4.0)[:, None, None].expand(4, 2, 3))
    assert volume.shape == (2, 2, 3, 2)
    assert volume[:, 0, 0].tolist() == [[0, 1], [2, 3]]


def test_slices_that_do_not_fit():
    with pytest.raises(ValueError, match=r"slices \(2 \* S, H, W\), got \(3, 4, 4\)"):
        SlicesToVolume(2)(torch.zeros(3, 4, 4))
