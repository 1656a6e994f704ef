from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ckdmed.reports.overlay import REGION_COLOURS, draw_overlay, draw_regions, overlay_sheet, region_sheet
from ckdmed.reports.sheet_captions import STRIP, key_strip, number_strip
from ckdmed.reports.style import PREDICTION

ORANGE = (np.array(to_rgb(PREDICTION)) * 255).round().astype(np.uint8)


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, shape)


def test_outline_tint_and_what_is_outside():
    image, mask = picture(9, 9), np.zeros((9, 9))
    mask[2:7, 2:7] = 1
    drawn = draw_overlay(image, mask)
    plain = draw_overlay(image, np.zeros((9, 9)))
    edge = np.zeros((9, 9), bool)
    edge[2:7, 2:7], edge[3:6, 3:6] = True, False
    assert (drawn[edge] == ORANGE).all()
    assert np.array_equal(drawn[mask == 0], plain[mask == 0])
    inside = (mask > 0) & ~edge
    assert np.abs(drawn[inside] - (0.75 * plain[inside] + 0.25 * ORANGE)).max() <= 1
    assert (plain[..., 0] == plain[..., 1]).all() and (plain[..., 0] == plain[..., 2]).all()


def test_a_mask_at_the_border_is_outlined_there():
    mask = np.ones((5, 5))
    drawn = draw_overlay(picture(5, 5), mask)
    assert (drawn[0] == ORANGE).all() and (drawn[:, -1] == ORANGE).all() and not (drawn[2, 2] == ORANGE).all()


def test_a_blank_picture():
    assert draw_overlay(np.full((3, 3), 7.0), np.zeros((3, 3))).max() <= 255


def test_one_slice_keeps_its_size():
    image, mask = picture(1, 5, 7), np.zeros((1, 5, 7))
    assert np.array_equal(overlay_sheet(image, mask), draw_overlay(image[0], mask[0]))


def test_the_sheet_runs_over_the_slices_with_a_mask():
    image, mask = picture(20, 4, 6), np.zeros((20, 4, 6))
    mask[5, 1, 1] = mask[9, 2, 2] = 1
    sheet = overlay_sheet(image, mask, most=3, columns=2)
    row = STRIP + 4
    assert len(sheet) == 2 * row + STRIP
    assert np.array_equal(sheet[STRIP:row, :6], draw_overlay(image[5], mask[5]))
    assert np.array_equal(sheet[STRIP:row, 6:12], draw_overlay(image[7], mask[7]))
    assert np.array_equal(sheet[row + STRIP : 2 * row, :6], draw_overlay(image[9], mask[9]))
    assert sheet[row : 2 * row, 6:].max() == 0


def test_without_a_mask_blank_slices_are_left_out():
    image = picture(6, 4, 4)
    image[0] = image[5] = 0
    sheet = overlay_sheet(image, np.zeros_like(image), most=1)
    assert np.array_equal(sheet[STRIP:-STRIP, :4], draw_overlay(image[1], np.zeros((4, 4))))


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="one shape"):
        draw_overlay(np.zeros((3, 3)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="a sheet needs"):
        overlay_sheet(np.zeros((1, 3, 3)), np.zeros((1, 3, 3)), most=0)
    with pytest.raises(ValueError, match="slices and regions of one shape"):
        region_sheet(np.zeros((1, 3, 3)), {"WT": np.zeros((1, 3, 4))})
    with pytest.raises(ValueError, match="slices and regions of one shape"):
        region_sheet(np.zeros((1, 3, 3)), {})


def test_regions_lie_over_one_another_in_their_colours():
    image = picture(11, 11)
    masks = {name: np.zeros((11, 11)) for name in ("ET", "WT", "TC")}
    for margin, name in ((1, "WT"), (3, "TC"), (5, "ET")):
        masks[name][margin:-margin, margin:-margin] = 1
    drawn = draw_regions(image, masks)
    for place, name in (((1, 1), "WT"), ((3, 3), "TC"), ((5, 5), "ET")):
        assert np.array_equal(drawn[place], (np.array(to_rgb(REGION_COLOURS[name])) * 255).round().astype(np.uint8))
    assert np.array_equal(drawn[0], draw_overlay(image, np.zeros((11, 11)))[0])
    assert np.array_equal(draw_regions(image, {}), draw_overlay(image, np.zeros((11, 11))))


def test_a_sheet_of_regions_runs_over_all_of_them():
    image = picture(9, 4, 6)
    masks = {name: np.zeros((9, 4, 6)) for name in ("TC", "WT")}
    masks["TC"][2, 1, 1] = masks["WT"][4, 2, 2] = 1
    sheet = region_sheet(image, masks, columns=3)
    assert len(sheet) == STRIP + 4 + STRIP
    last = draw_regions(image[4], {name: mask[4] for name, mask in masks.items()})
    assert np.array_equal(sheet[STRIP:-STRIP, 12:18], last)


def test_slices_have_their_numbers_and_the_colours_a_key():
    image, mask = picture(20, 80, 80), np.zeros((20, 80, 80))
    mask[3, 40, 40] = mask[4, 40, 40] = 1
    sheet = overlay_sheet(image, mask, modality="t2f")
    assert np.array_equal(sheet[:STRIP, :80], number_strip(80, 3))
    assert np.array_equal(sheet[:STRIP, 80:], number_strip(80, 4))
    assert np.array_equal(sheet[-STRIP:], key_strip(160, {"prediction": PREDICTION}, "t2f"))
    assert not np.array_equal(number_strip(80, 3), number_strip(80, 4))
    # too narrow for the word, and for the key
    assert number_strip(12, 3).shape == (STRIP, 12, 3) and number_strip(12, 3).max() > 0
    narrow = region_sheet(image[:1, :9, :9], {name: mask[:1, :9, :9] for name in ("TC", "WT", "ET")})
    assert narrow.shape[0] == 9 + STRIP and narrow.shape[1] > 9
    for colour in REGION_COLOURS.values():
        assert (narrow[-STRIP:] == (np.array(to_rgb(colour)) * 255).round().astype(np.uint8)).all(axis=2).sum() == 64
