from __future__ import annotations

import numpy as np
import pytest
import torch

from ckdmed.losses import EdgeLoss
from ckdmed.losses.feature_lines import feature_line_weights, feature_lines, point_penalties
from ckdmed.methods import distillation_loss


def disc(angle: float = 180.0, half: bool = False) -> np.ndarray:
    """A dense disc around the origin, folded along the y axis to the angle between its halves."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, 401)] * 2, indexing="ij")
    inside = x**2 + y**2 <= 1
    x, y = x[inside], y[inside]
    if half:
        keep = x >= 0
        x, y = x[keep], y[keep]
    bend = np.radians((180 - angle) / 2)
    return np.stack([x * np.cos(bend), y, np.abs(x) * np.sin(bend)], axis=1)


def of(points: np.ndarray):
    return point_penalties(np.zeros((1, 3)), points[None])


@pytest.mark.parametrize(
    ("points", "crease"),
    [(disc(), 1.0), (disc(120), 0.68), (disc(90), 0.36), (disc(half=True), 0.72)],
    ids=["flat", "120", "90", "half"],
)
def test_crease_in_the_continuous_limit(points: np.ndarray, crease: float) -> None:
    assert np.linalg.norm(of(points).crease[0]) == pytest.approx(crease, abs=0.006)


@pytest.mark.parametrize(("half", "line", "gap"), [(False, 1.0, 0.0), (True, 0.44, 0.5)], ids=["flat", "half"])
def test_border_in_the_continuous_limit(half: bool, line: float, gap: float) -> None:
    found = of(disc(half=half))
    assert np.linalg.norm(found.border_line[0]) == pytest.approx(line, abs=0.006)
    assert found.border[0] == pytest.approx(1 - gap, abs=0.01)


def test_corner_and_curvature() -> None:
    flat, folded = of(disc()), of(disc(90))
    assert flat.corner[0] == pytest.approx(1.0) and folded.corner[0] < 1
    both = point_penalties(np.zeros((2, 3)), np.stack([disc(), disc(90)]))
    assert both.curvature[0] == pytest.approx(1.0) and both.curvature[1] == 0.0


def cube_edge() -> tuple[np.ndarray, int]:
    """Two square plates that meet along x = 0: (points, how many lie on the ridge)."""
    steps = np.linspace(-1, 1, 11)
    y, z = (grid.ravel() for grid in np.meshgrid(steps, np.linspace(0.2, 1, 5), indexing="ij"))
    ridge = np.stack([0 * steps, steps, 0 * steps], axis=1)
    plates = [np.stack([z, y, 0 * z], axis=1), np.stack([0 * z, y, z], axis=1)]
    return np.concatenate([ridge, *plates]), len(steps)


def test_the_ridge_of_two_plates_has_the_lowest_penalties() -> None:
    points, count = cube_edge()
    omega = point_penalties(points).combined()
    inner = slice(2, count - 2)
    # away from the plates' own borders
    plate = [i for i in range(count, len(points)) if 0.5 < points[i].max() < 0.8 and abs(points[i][1]) < 0.5]
    assert plate and omega[inner].max() < omega[plate].min()


def test_the_line_runs_along_the_ridge() -> None:
    points, count = cube_edge()
    penalties = point_penalties(points)
    lines = feature_lines(points, penalties, tau=0.9, rho=3)
    assert lines and sum(one < count and other < count for one, other in lines) >= 3
    assert feature_lines(points, penalties, tau=0.0, rho=3) == []
    assert feature_lines(points, penalties, tau=1e9, rho=3, kind="border")
    with pytest.raises(ValueError, match="'crease' or 'border', got 'ridge'"):
        feature_lines(points, penalties, 1, 3, kind="ridge")
    with pytest.raises(ValueError, match="10 points are fewer than a neighbourhood of 15"):
        point_penalties(points[:10])
    with pytest.raises(ValueError, match=r"shape \(N, 3\), got \(4, 2\)"):
        point_penalties(np.zeros((4, 2)))


def test_small_loops_are_left_open_and_large_ones_closed_and_short_branches_fall() -> None:
    from ckdmed.losses.feature_lines import _pattern

    ring = [(i, i + 1) for i in range(7)] + [(0, 7)]
    assert set(_pattern(ring, 3, 2)) == set(ring)
    assert (0, 7) not in _pattern(ring, 8, 2)
    assert set(_pattern([*ring, (0, 20)], 3, 2)) == set(ring)
    assert _pattern([(0, 1), (1, 2)], 3, 4) == []


def square(dims: int) -> torch.Tensor:
    mask = torch.zeros(2, 1, *[24] * dims)
    mask[(slice(0, 1), slice(None), *[slice(6, 18)] * dims)] = 1
    return mask


@pytest.mark.parametrize("dims", [2, 3])
def test_corners_of_a_mask_weigh_most(dims: int) -> None:
    weights = feature_line_weights(square(dims))
    assert weights.shape == (2, 1, *[24] * dims) and (weights[1] == 1).all()
    corner, side, inside = (weights[(0, 0, *[6] * (dims - 1), i)] for i in (6, 12, 12))
    middle = [12] * (dims - 1)
    side = weights[(0, 0, *middle, 6)]
    inside = weights[(0, 0, *middle, 12)]
    assert inside == 1 and 1 <= side < corner <= 2
    assert weights.min() >= 1 and weights.max() <= 2


def test_the_edge_loss_with_weights() -> None:
    mask = square(2)
    student = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    plain, weighed = EdgeLoss(), EdgeLoss(weights="feature_lines")
    torch.testing.assert_close(weighed(student, mask), plain(student, mask, mask=feature_line_weights(mask)))
    assert weighed(student, mask) != plain(student, mask)
    with pytest.raises(ValueError, match="use target='mask'"):
        EdgeLoss("teacher", weights="feature_lines")
    with pytest.raises(ValueError, match="'uniform', 'feature_lines'"):
        EdgeLoss(weights="corners")


@pytest.mark.parametrize("method", ["ckd", "report_kdpp"])
def test_methods_take_the_weights(method: str) -> None:
    loss = distillation_loss(method, "segmentation", edge_weights="feature_lines")
    assert loss.terms["edges"].loss.weights == "feature_lines"
