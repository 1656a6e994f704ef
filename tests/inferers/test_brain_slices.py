"""Volumes slice by slice: equal to MONAI's inferer where nothing is left out, and to the 2.5-D items of the cache."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer, SlidingWindowInferer
from torch import nn

from ckdmed.inferers import BrainSliceInferer, case_inferer


def test_every_slice_as_monais_inferer():
    network = nn.Conv2d(4, 3, 3, padding=1).eval()
    volume = torch.randn(2, 4, 8, 6, 5)
    with torch.no_grad():
        expected = SliceInferer(roi_size=(8, 6), spatial_dim=2, sw_batch_size=3)(volume, network)
        for batch_size in (1, 4, 64):
            torch.testing.assert_close(BrainSliceInferer(batch_size=batch_size)(volume, network), expected)


def test_neighbours_are_ordered_by_slice_then_modality_and_repeat_at_the_ends():
    # the value of a voxel tells slice and modality: 10 * slice + modality + 1
    volume = torch.stack([10.0 * torch.arange(4) + c + 1 for c in range(2)])[None, :, None, None].expand(1, 2, 3, 3, 4)
    seen: list[list[float]] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.extend(x[:, :, 0, 0].tolist())
        return x.sum(dim=1, keepdim=True)

    out = BrainSliceInferer(neighbours=1, batch_size=3)(volume, network)
    assert seen[0] == [1, 2, 1, 2, 11, 12] and seen[2] == [11, 12, 21, 22, 31, 32]
    assert seen[3] == [21, 22, 31, 32, 31, 32]
    assert out.shape == (1, 1, 3, 3, 4) and out[0, 0, 0, 0].tolist() == [sum(row) for row in seen]


def test_blank_slices_are_not_shown():
    volume = torch.zeros(2, 1, 4, 4, 6)
    volume[0, 0, 1, 1, 2:4] = 1
    volume[1, 0, 2, 2, 5] = -1
    shown: list[int] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        shown.append(len(x))
        return x[:, :1] + 7

    out = BrainSliceInferer()(volume, network)
    assert sum(shown) == 3
    assert (out[0, ..., [0, 1, 4, 5]] == -20).all() and (out[0, 0, 1, 1, 2:4] == 8).all()
    assert out[1, 0, 2, 2, 5] == 6 and (out[1, ..., :5] == -20).all()
    assert (BrainSliceInferer(outside=None)(volume, network)[0, ..., 0] == 7).all()
    # nothing at all: one slice is run for the number of channels, and tells nothing
    assert (BrainSliceInferer()(torch.zeros(1, 1, 4, 4, 6), network) == -20).all()


def test_a_metatensor_stays_one():
    volume = MetaTensor(torch.randn(1, 4, 4, 4, 3), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    out = BrainSliceInferer()(volume, nn.Conv2d(4, 3, 1))
    assert isinstance(out, MetaTensor) and torch.equal(out.affine, volume.affine)


def test_by_case():
    volume, flat = torch.randn(1, 4, 8, 8, 8), nn.Conv2d(12, 3, 3, padding=1).eval()
    solid = nn.Conv3d(4, 3, 3, padding=1).eval()
    with torch.no_grad():
        plain = BrainSliceInferer(neighbours=1)(volume, flat)
        torch.testing.assert_close(case_inferer(2, neighbours=1)(volume, flat), plain)
        flipped = case_inferer(2, neighbours=1, flips=True)
        mirrored = flipped(volume.flip(2), flat).flip(2)
        torch.testing.assert_close(flipped(volume, flat), mirrored)
        low = case_inferer(2, neighbours=1, amp="bf16")(volume, flat)
        assert low.dtype == torch.float32 and 0 < (low - plain).abs().max() < 0.1
        expected = SlidingWindowInferer((6, 6, 6), 2, 0.25, mode="gaussian")(volume, solid)
        torch.testing.assert_close(
            case_inferer(3, roi_size=[6, 6, 6], overlap=0.25, batch_size=2)(volume, solid), expected
        )


def test_wrong_arguments():
    with pytest.raises(ValueError, match="neighbours must be 0 or more and batch_size at least 1, got -1 and 4"):
        BrainSliceInferer(neighbours=-1, batch_size=4)
    with pytest.raises(ValueError, match=r"volumes are \(B, C, H, W, S\), got shape \(1, 4, 8, 8\)"):
        BrainSliceInferer()(torch.zeros(1, 4, 8, 8), nn.Identity())
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 4"):
        case_inferer(4)
    with pytest.raises(ValueError, match="neighbours=1 is for networks of slices"):
        case_inferer(3, neighbours=1)
