from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckdmed.labels import REGIONS, brats_labels
from ckdmed.recipes import masks_from_logits
from ckdmed.transforms.nested_regions import NestRegionsd

LISTS = [list(order) for length in (1, 2, 3) for order in permutations(REGIONS, length)]


@given(st.sampled_from(LISTS), st.integers(0, 2**32 - 1))
def test_masks_are_those_of_the_mask_of_labels(regions, seed):
    masks = np.random.default_rng(seed).integers(0, 2, (len(regions), 3, 4, 2)).astype(np.float32)
    given_masks = torch.from_numpy(masks.copy())
    nested = NestRegionsd("pred", regions)({"pred": given_masks})["pred"]
    table = brats_labels(2018)
    expected = table.to_regions(table.from_regions(masks, regions), regions)
    np.testing.assert_array_equal(nested.numpy(), expected)
    assert nested.dtype == given_masks.dtype and torch.equal(given_masks, torch.from_numpy(masks))


def test_enhancing_tumour_outside_the_core_is_core():
    tc, wt, et = [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]
    nested = NestRegionsd("pred")({"pred": torch.tensor([tc, wt, et])[:, None]})["pred"][:, 0].tolist()
    assert nested == [[1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0]]


def test_a_validation_scores_what_is_written():
    logits = torch.tensor([[-1.0, 3.0], [-1.0, 3.0], [2.0, -3.0]])[:, None]
    as_they_are, nested = (masks_from_logits(regions=r)({"pred": logits})["pred"][:, 0] for r in (None, REGIONS))
    assert as_they_are.tolist() == [[0, 1], [0, 1], [1, 0]] and nested.tolist() == [[1, 1], [1, 1], [1, 0]]


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"TC, WT, ET must have one channel per region, got 1; give the regions"):
        NestRegionsd("pred")({"pred": torch.zeros(1, 4, 4)})
