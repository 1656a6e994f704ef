from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckdmed.labels import REGIONS, brats_labels, checked_regions, slice_category

RELEASES = [*range(2017, 2026), "decathlon"]


@pytest.mark.parametrize("release, et", [(2017, 4), (2018, 4), (2021, 4), (2022, 4), (2023, 3), (2025, 3), ("2018", 4)])
def test_the_enhancing_label_changed_in_2023(release, et):
    assert brats_labels(release).et == et


def test_decathlon_swaps_oedema_and_core():
    table = brats_labels("decathlon")
    assert (table.ed, table.ncr, table.et) == (1, 2, 3)


def test_regions_by_hand():
    mask = np.array([0, 1, 2, 4])
    tc, wt, et = brats_labels(2018).to_regions(mask)
    assert tc.tolist() == [False, True, False, True]
    assert wt.tolist() == [False, True, True, True]
    assert et.tolist() == [False, False, False, True]


@given(st.sampled_from(RELEASES), st.permutations(REGIONS), st.integers(0, 1000))
def test_masks_survive_the_way_to_regions_and_back(release, order, seed):
    table = brats_labels(release)
    mask = np.random.default_rng(seed).choice([0, table.ncr, table.ed, table.et], (3, 4, 2)).astype(np.uint8)
    assert np.array_equal(table.from_regions(table.to_regions(mask, order), order), mask)


@given(st.sampled_from(RELEASES), st.sampled_from(RELEASES), st.integers(0, 1000))
def test_conversion_keeps_the_regions_and_can_be_undone(source, target, seed):
    a, b = brats_labels(source), brats_labels(target)
    mask = np.random.default_rng(seed).choice([0, a.ncr, a.ed, a.et], (5, 5)).astype(np.uint8)
    assert np.array_equal(a.to_regions(mask), b.to_regions(a.convert(mask, b)))
    assert np.array_equal(b.convert(a.convert(mask, b), a), mask)


def test_contradicting_channels_take_the_innermost_region():
    # voxels: ET alone, TC alone, WT alone, ET with WT but without TC
    tc, wt, et = [0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]
    assert brats_labels(2023).from_regions(np.array([tc, wt, et])).tolist() == [3, 1, 2, 3]


@pytest.mark.parametrize("release", [2018, 2023, "decathlon"])
@pytest.mark.parametrize("regions", [["WT"], ["TC"], ["ET"], ["WT", "TC"], ["ET", "WT"], ["ET", "TC"]])
def test_a_mask_of_some_regions_gives_these_again(release, regions):
    table = brats_labels(release)
    mask = np.array([0, table.ncr, table.ed, table.et])
    channels = table.to_regions(mask, regions)
    assert np.array_equal(table.to_regions(table.from_regions(channels, regions), regions), channels)


def test_of_a_whole_tumour_alone_no_part_is_claimed():
    assert brats_labels(2023).from_regions(np.array([[0, 1, 1]]), ["WT"]).tolist() == [0, 2, 2]


def test_the_cavity_of_2024_is_in_no_region():
    table = brats_labels(2024, "GLI")
    assert table.names[4] == "RC"
    assert not table.to_regions(np.array([4])).any()
    assert table.convert(np.array([4]), brats_labels(2023)).tolist() == [0]
    assert brats_labels(2023).unknown([0, 3, 4]) == [4]


@pytest.mark.parametrize("release", [2016, "20", "brats", 3, "２０２３x"])
def test_other_releases_are_refused(release):
    with pytest.raises(ValueError, match="a year from 2017 or 'decathlon', got"):
        brats_labels(release)


def test_paediatric_masks_after_2023_are_refused():
    assert brats_labels(2023, "PED").et == 3
    with pytest.raises(ValueError, match="no table covers them"):
        brats_labels(2024, "PED")


def test_errors_name_the_value():
    with pytest.raises(ValueError, match="tumour type must be one of GLI, MEN, MET, PED, SSA, got 'GBM'"):
        brats_labels(2023, "GBM")
    with pytest.raises(ValueError, match="a region must be one of TC, WT, ET, got 'RC'"):
        brats_labels().region_values("RC")
    with pytest.raises(ValueError, match="a mask of TC, WT, ET is made of one channel per region, got 2."):
        brats_labels().from_regions(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"one or more of TC, WT, ET, each once, got \('WT', 'WT'\)"):
        brats_labels().from_regions(np.zeros((2, 3)), ["WT", "WT"])
    with pytest.raises(ValueError, match=r"one or more of TC, WT, ET, each once, got \(\)"):
        checked_regions([])


def test_slice_categories_go_by_the_most_malignant_part():
    ncr, ed, et = [0, 0, 5, 5, 0], [0, 7, 7, 7, 0], [0, 0, 0, 1, 2]
    assert slice_category(ncr, ed, et).tolist() == [0, 1, 2, 3, 3]
    assert slice_category(ncr, ed, et, min_voxels=2).tolist() == [0, 1, 2, 2, 3]
    with pytest.raises(ValueError, match="at least 1, got 0"):
        slice_category(ncr, ed, et, 0)
