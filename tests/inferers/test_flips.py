from __future__ import annotations

import pytest
import torch
from monai.inferers import SliceInferer

from ckdmed.inferers.flips import FlipAverageInferer


def ramp(batch: torch.Tensor) -> torch.Tensor:
    """Adds the column's number and ten times the row's: what a network knows by place."""
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in batch.shape[2:]), indexing="ij")
    return batch + columns + 10 * rows


def test_mean_over_four_mirror_images_by_hand():
    image = torch.rand(2, 1, 3, 5)
    # every place is seen at itself and at its mirror images, so that the ramps even out to their means
    assert torch.allclose(FlipAverageInferer()(image, ramp), image + 2 + 10, atol=1e-5)


def test_one_axis():
    image = torch.rand(1, 1, 3, 5)
    rows = 10 * torch.arange(3.0)[:, None]
    assert torch.allclose(FlipAverageInferer(spatial_axes=[1])(image, ramp), image + 2 + rows, atol=1e-5)


def test_a_network_that_commutes_with_mirroring_is_unchanged():
    image = torch.rand(1, 1, 4, 4)
    assert torch.allclose(FlipAverageInferer()(image, torch.sqrt), image.sqrt())


def test_disabled_calls_once():
    calls = []
    FlipAverageInferer(enabled=False)(torch.rand(1, 1, 2, 2), lambda x: calls.append(x) or x)
    assert len(calls) == 1


def test_around_a_slice_inferer():
    volume = torch.rand(1, 1, 4, 6, 3)
    inferer = FlipAverageInferer(SliceInferer(spatial_dim=2, roi_size=(4, 6), sw_batch_size=2))
    expected = torch.stack([volume[..., n] + 2.5 + 15 for n in range(3)], dim=-1)
    assert torch.allclose(inferer(volume, ramp), expected, atol=1e-5)


@pytest.mark.parametrize("axes", [(0, 0), (-1,)])
def test_bad_axes(axes):
    with pytest.raises(ValueError, match="spatial_axes must be different"):
        FlipAverageInferer(spatial_axes=axes)
