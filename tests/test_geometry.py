"""The filled polygon."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckdmed.geometry import polygon_mask

# The tests flush denormal numbers to zero, and hypothesis would try some.
floats = partial(st.floats, allow_subnormal=False)
coordinate = floats(-30, 30)
points = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=12).map(np.array)


def test_rectangle_by_hand() -> None:
    mask = polygon_mask(np.array([[1, 1], [3, 1], [3, 2], [1, 2]]), (4, 5))
    expected = np.zeros((4, 5), dtype=np.uint8)
    expected[1:3, 1:4] = 1  # rows 1-2, columns 1-3: x is the column
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, expected)


def test_one_based_is_a_shift_by_one() -> None:
    corners = np.array([[2.0, 3.0], [7.0, 3.0], [4.0, 8.0]])
    np.testing.assert_array_equal(
        polygon_mask(corners, (10, 12), one_based=True), polygon_mask(corners - 1, (10, 12), one_based=False)
    )


def test_closing_point_changes_nothing() -> None:
    corners = np.array([[2.0, 3.0], [7.0, 3.0], [4.0, 8.0]])
    closed = np.concatenate([corners, corners[:1]])
    np.testing.assert_array_equal(polygon_mask(closed, (10, 12)), polygon_mask(corners, (10, 12)))


def test_polygon_around_the_image_fills_it() -> None:
    assert polygon_mask(np.array([[-9, -9], [99, -9], [99, 99], [-9, 99]]), (4, 6)).all()


@given(points)
def test_stays_in_the_bounding_box(xy: np.ndarray) -> None:
    mask = polygon_mask(xy, (16, 20))
    assert mask.shape == (16, 20) and set(np.unique(mask)) <= {0, 1}
    rows, columns = np.nonzero(mask)
    if rows.size:
        assert columns.min() >= np.floor(xy[:, 0].min()) and columns.max() <= np.ceil(xy[:, 0].max())
        assert rows.min() >= np.floor(xy[:, 1].min()) and rows.max() <= np.ceil(xy[:, 1].max())


@given(floats(-5, 20), floats(-5, 20), floats(2.0, 12))
def test_convex_polygon_is_the_intersection_of_its_half_planes(cx: float, cy: float, radius: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 9)[:-1] + 0.1234
    xy = np.stack([cx + radius * np.cos(angles), cy + radius * np.sin(angles)], 1)
    x, y = np.meshgrid(np.arange(15), np.arange(13))
    distance = np.full(x.shape, np.inf)
    for (x0, y0), (x1, y1) in zip(xy, np.roll(xy, -1, axis=0)):
        distance = np.minimum(distance, (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0))
    mask = polygon_mask(xy, x.shape)
    clear = np.abs(distance) > 1e-6  # centres on an edge may fall either way
    np.testing.assert_array_equal(mask[clear] == 1, distance[clear] > 0)


@pytest.mark.parametrize(
    ("xy", "match"),
    [
        (np.zeros((2, 2)), "at least three points, got 2"),
        (np.zeros((3, 3)), r"shape \[n, 2\]"),
        (np.zeros(6), r"shape \[n, 2\]"),
        (np.array([[0, 0], [1, np.nan], [2, np.inf]]), "got 2 NaN or infinite"),
    ],
)
def test_errors(xy: np.ndarray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        polygon_mask(xy, (4, 4))


@pytest.mark.parametrize("shape", [(0, 4), (4, 4, 4), (4,)])
def test_bad_grid(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"grid of \(rows, columns\)"):
        polygon_mask(np.zeros((3, 2)), shape)  # type: ignore[arg-type]
