from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ckdmed.transforms.restore_slices import RestoreSlices, RestoreSlicesd


def slices(*shape: int) -> torch.Tensor:
    return torch.arange(float(np.prod(shape))).reshape(shape)


def test_the_own_grid_is_left_as_it_is():
    maps = torch.rand(1, 4, 6, 3)
    restored = RestoreSlices()(maps, slices(3, 4, 6))
    assert torch.allclose(restored, maps[0].permute(2, 0, 1))


def test_enlarging_by_hand():
    # bilinear, pixel centres at halves: the new centres lie a quarter pixel beside the old ones
    restored = RestoreSlices()(torch.tensor([[[[0.0], [1.0]]]]), slices(1, 1, 4))
    assert torch.allclose(restored, torch.tensor([[[0, 0.25, 0.75, 1]]]))


def test_shrinking_takes_every_pixel_into_account():
    board = torch.tensor([[0.0, 1], [1, 0]]).repeat(4, 4)
    restored = RestoreSlices()(board[None, :, :, None], slices(1, 2, 2))
    assert torch.allclose(restored, torch.full((1, 2, 2), 0.5), atol=0.05)


def test_rows_columns_and_slices_keep_their_order():
    maps = torch.zeros(1, 4, 8, 2)
    maps[0, 3, 0, 1] = 1
    restored = RestoreSlices()(maps, slices(2, 8, 8))
    assert restored.shape == (2, 8, 8) and restored[0].max() == 0
    assert np.unravel_index(int(restored[1].argmax()), (8, 8))[0] >= 6
    assert np.unravel_index(int(restored[1].argmax()), (8, 8))[1] == 0


def test_blank_slices_hold_nothing():
    own = slices(3, 4, 4)
    own[1] = 7
    restored = RestoreSlicesd(keys="pred", slices_key="image")(
        {"pred": MetaTensor(torch.ones(1, 2, 2, 3)), "image": MetaTensor(own)}
    )["pred"]
    assert restored.amin(dim=(1, 2)).tolist() == [1, 0, 1] and restored[1].max() == 0


def test_several_regions_are_restored_each_by_itself():
    maps = torch.rand(2, 4, 4, 3)
    own = slices(3, 6, 5)
    own[2] = 7
    both = RestoreSlices()(maps, own)
    assert both.shape == (2, 3, 6, 5) and not both[:, 2].any()
    for number in range(2):
        assert torch.equal(both[number], RestoreSlices()(maps[number : number + 1], own))


@pytest.mark.parametrize(
    ("maps", "own"), [((2, 4, 4, 3), (2, 4, 4)), ((1, 4, 4, 3), (2, 4, 4)), ((1, 4, 4), (3, 4, 4))]
)
def test_shapes_that_do_not_fit(maps, own):
    with pytest.raises(ValueError, match="takes a map"):
        RestoreSlices()(torch.rand(maps), torch.rand(own))
