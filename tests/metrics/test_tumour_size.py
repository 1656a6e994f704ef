from __future__ import annotations

import numpy as np
import pytest

from ckdmed.metrics.tumour_size import tumour_size


def _disk(shape, centre, radii, spacing):
    columns, rows = np.meshgrid(np.arange(shape[0]) * spacing[0], np.arange(shape[1]) * spacing[1], indexing="ij")
    return ((columns - centre[0]) / radii[0]) ** 2 + ((rows - centre[1]) / radii[1]) ** 2 <= 1


def test_an_ellipse_has_its_axes():
    spacing = (0.5, 0.8, 4.0)
    mask = np.zeros((160, 100, 5), bool)
    mask[:, :, 1] = _disk(mask.shape, (40, 40), (10, 8), spacing)
    mask[:, :, 3] = _disk(mask.shape, (40, 40), (30, 12), spacing)
    size = tumour_size(mask, spacing)
    assert size.slice == 3
    assert size.longest.length_mm == pytest.approx(60, abs=0.6)
    assert size.perpendicular.length_mm == pytest.approx(24, abs=1.0)
    assert size.volume_ml == pytest.approx((np.pi * 30 * 12 + np.pi * 10 * 8) * 4 / 1000, rel=0.02)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 5.0)])
def test_the_two_lines_are_perpendicular_and_as_long_as_they_say(spacing):
    mask = np.zeros((40, 50, 2), bool)
    mask[5:30, 10:20, 1] = True
    mask[20:30, 20:45, 1] = True
    size = tumour_size(mask, spacing)
    lines = [np.diff(np.array(d.ends) * spacing[:2], axis=0)[0] for d in (size.longest, size.perpendicular)]
    for line, diameter in zip(lines, (size.longest, size.perpendicular)):
        assert np.linalg.norm(line) == pytest.approx(diameter.length_mm)
    assert lines[0] @ lines[1] == pytest.approx(0, abs=1e-6)


def test_parts_of_a_slice_are_measured_each_by_itself():
    mask = np.zeros((60, 20, 1), bool)
    mask[2:12, 5:8] = True
    mask[50:56, 5:8] = True
    # the two together would be 54 mm wide
    assert tumour_size(mask, (1, 1, 1)).longest.length_mm == pytest.approx(np.hypot(10, 2), abs=0.01)


def test_one_pixel_at_the_edge_and_a_hole():
    mask = np.zeros((9, 9, 1), bool)
    mask[0, 0] = True
    size = tumour_size(mask, (2, 2, 2))
    assert (size.longest.length_mm, size.volume_ml) == (pytest.approx(2), pytest.approx(0.008))
    ring = np.ones((9, 9, 1), bool)
    full = tumour_size(ring, (1, 1, 1))
    ring[3:6, 3:6] = False
    assert tumour_size(ring, (1, 1, 1)).longest == full.longest


def test_an_empty_mask_has_no_diameter():
    size = tumour_size(np.zeros((4, 5, 6), np.uint8), (1, 1, 1))
    assert (size.volume_ml, size.slice, size.longest, size.perpendicular) == (0, None, None, None)


@pytest.mark.parametrize("shape, spacing", [((4, 5), (1, 1, 1)), ((4, 5, 6), (1, 0, 1)), ((4, 5, 6), (1, 1))])
def test_impossible_arguments_are_refused(shape, spacing):
    with pytest.raises(ValueError, match="three axes and three spacings above 0 mm"):
        tumour_size(np.zeros(shape), spacing)


def test_a_thousand_specks_take_no_time():
    mask = np.random.default_rng(0).random((200, 200, 4)) > 0.8
    mask[20:60, 30:50, 2] = True
    size = tumour_size(mask, (1, 1, 1))
    assert size.slice == 2 and size.longest.length_mm >= 44
