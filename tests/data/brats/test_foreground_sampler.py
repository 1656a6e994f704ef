from __future__ import annotations

import numpy as np
import pytest

from ckdmed.bundle import brats_sampler, labelled_part
from ckdmed.data.brats import BratsSliceDataset, ForegroundSliceSampler
from ckdmed.data.brats.foreground_sampler import oversampled

CATEGORIES = np.array([0] * 50 + [1] * 3 + [2] * 2 + [-1] * 5)


@pytest.mark.parametrize(("batch", "forced"), [(2, 1), (3, 1), (4, 1), (6, 2), (8, 3), (16, 5), (1, 0)])
def test_how_many_of_a_batch(batch: int, forced: int) -> None:
    # batch - round(0.67 batch), nnU-Net's rule
    assert oversampled(batch, 0.33) == forced


def test_every_batch_shows_tumour_and_the_rest_is_any_slice() -> None:
    sampler = ForegroundSliceSampler(CATEGORIES, batch_size=6, num_samples=64, seed=3)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 64
    batches = [CATEGORIES[drawn[first : first + 6]] for first in range(0, 64, 6)]
    for kinds in batches[:-1]:
        assert (kinds[-2:] > 0).all()
    # the last batch has four
    assert batches[-1].shape == (4,) and batches[-1][-1] > 0
    forced = 10 * 2 + 1
    rest = [place for first in range(0, 60, 6) for place in drawn[first : first + 4]] + drawn[60:63]
    assert len(rest) == 64 - forced == 43 and len(set(rest)) == 43 and max(rest) > 54
    tumour = np.bincount(drawn, minlength=60)[50:55] - np.bincount(rest, minlength=60)[50:55]
    assert set(tumour) == {4, 5} and tumour.sum() == forced
    assert list(sampler) == drawn
    sampler.set_epoch(1)
    assert list(sampler) != drawn


def test_batches_of_one_show_tumour_by_chance() -> None:
    sampler = ForegroundSliceSampler(CATEGORIES, batch_size=1, share=0.33, num_samples=6000)
    # 0.33 by force, and 5 of 60 of the others
    assert np.mean(CATEGORIES[list(sampler)] > 0) == pytest.approx(0.33 + 0.67 / 12, abs=0.02)


def test_replicas_draw_by_themselves_and_folds_among_their_own() -> None:
    first, second = (
        ForegroundSliceSampler(CATEGORIES, 4, num_samples=21, num_replicas=2, rank=rank) for rank in (0, 1)
    )
    assert len(list(first)) == len(list(second)) == 11 and list(first) != list(second)
    part = ForegroundSliceSampler(CATEGORIES, 4, num_samples=40).within(range(48, 52))
    drawn = list(part)
    assert len(drawn) == 40 and set(drawn) == {0, 1, 2, 3} and all(place >= 2 for place in drawn[3::4])


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="needs slices with tumour; there are none"):
        ForegroundSliceSampler([0, 0], 2)
    with pytest.raises(ValueError, match="above 0, up to 1, got 0"):
        ForegroundSliceSampler(CATEGORIES, 2, share=0)
    with pytest.raises(ValueError, match="rank must be"):
        ForegroundSliceSampler(CATEGORIES, 2, rank=1)
    dataset = BratsSliceDataset.__new__(BratsSliceDataset)
    dataset.categories = CATEGORIES
    with pytest.raises(ValueError, match="draws its other samples uniformly from all slices"):
        brats_sampler(dataset, recipe="nnunet", labelled_per_batch=0.5)
    made = brats_sampler(dataset, tumour_share=0.5, recipe="nnunet", batch_size=4)
    assert isinstance(made, ForegroundSliceSampler) and made.share == 0.5 and made.batch_size == 4


def test_the_labelled_part_may_have_other_random_changes_and_shares_what_is_cached() -> None:
    from monai.data import CacheDataset
    from monai.transforms import Compose, Lambdad, RandFlipd, RandScaleIntensityd

    items = [{"x": np.ones((1, 2)), "labelled": bool(n % 2)} for n in range(4)]
    calls: list[int] = []
    prepared = Lambdad("x", lambda value: calls.append(1) or value + 1)
    whole = CacheDataset(items, Compose([prepared, RandFlipd("x", prob=0)]), progress=False)
    part = labelled_part(whole, [prepared, Compose([RandScaleIntensityd("x", factors=(1.0, 1.0), prob=1)])])
    assert len(part) == 2 and float(part[0]["x"][0, 0]) == 4 and float(whole[1]["x"][0, 0]) == 2 and len(calls) == 4
