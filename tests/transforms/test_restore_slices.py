from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ckdmed.transforms.restore_slices import RestoreSlices, RestoreSlicesd


def test_the_own_grid_is_left_as_it_is():
    maps = torch.rand(1, 4, 6, 3)
    restored = RestoreSlices()(maps, (4, 6))
    assert torch.allclose(restored, maps[0].permute(2, 0, 1))


def test_enlarging_by_hand():
    # bilinear, pixel centres at halves: the new centres lie a quarter pixel beside the old ones
    restored = RestoreSlices()(torch.tensor([[[[0.0], [1.0]]]]), (1, 4))
    assert torch.allclose(restored, torch.tensor([[[0, 0.25, 0.75, 1]]]))


def test_shrinking_takes_every_pixel_into_account():
    board = torch.tensor([[0.0, 1], [1, 0]]).repeat(4, 4)
    restored = RestoreSlices()(board[None, :, :, None], (2, 2))
    assert torch.allclose(restored, torch.full((1, 2, 2), 0.5), atol=0.05)


def test_rows_columns_and_slices_keep_their_order():
    maps = torch.zeros(1, 4, 8, 2)
    maps[0, 3, 0, 1] = 1
    restored = RestoreSlices()(maps, (8, 8))
    assert restored.shape == (2, 8, 8) and restored[0].max() == 0
    assert np.unravel_index(int(restored[1].argmax()), (8, 8))[0] >= 6
    assert np.unravel_index(int(restored[1].argmax()), (8, 8))[1] == 0


def noted(**meta: str) -> MetaTensor:
    return MetaTensor(torch.zeros(1, 2, 2, 3), meta=meta)


def test_blank_slices_hold_nothing():
    image = noted(slices='{"size": [4, 4], "blank": [1, 4]}')
    restored = RestoreSlicesd("pred", "image", "slices")({"pred": MetaTensor(torch.ones(1, 2, 2, 3)), "image": image})
    # 4 is a slice of a second image
    assert restored["pred"].amin(dim=(1, 2)).tolist() == [1, 0, 1] and restored["pred"][1].max() == 0


def test_several_regions_are_restored_each_by_itself():
    maps = torch.rand(2, 4, 4, 3)
    both = RestoreSlices()(maps, (6, 5), [2])
    assert both.shape == (2, 3, 6, 5) and not both[:, 2].any()
    for number in range(2):
        assert torch.equal(both[number], RestoreSlices()(maps[number : number + 1], (6, 5), [2]))


def test_a_shape_that_does_not_fit():
    with pytest.raises(ValueError, match="takes a map"):
        RestoreSlices()(torch.rand(1, 4, 4), (4, 4))


def test_an_image_that_says_nothing_of_its_slices():
    with pytest.raises(ValueError, match="metadata of 'image' have no 'slices'"):
        RestoreSlicesd("pred", "image", "slices")({"pred": torch.ones(1, 2, 2, 3), "image": noted()})
