"""Where a surface of points bends: penalties that are small on creases, borders and corners, and lines along them."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from skimage.measure import find_contours, marching_cubes

__all__ = ["PointPenalties", "feature_line_weights", "feature_lines", "point_penalties"]

NEIGHBOURS = 15
#: part of the curvature against that of the crease, and of the border's angle against that of its vector
CREASE, BORDER = 0.2, 0.5


@dataclass(frozen=True)
class PointPenalties:
    """Of N points in three dimensions, small where a feature line may run.

    Attributes:
        curvature: 1 - kappa / max(kappa), kappa = 2 |e0 . (p - c)| / mu^2.
        crease: vectors max(l1 - l0, |l2 - (l0 + l1)|) / l2 e2.
        corner: (l2 - l0) / l2.
        border: 1 - beta / 2 pi, beta the largest gap between the neighbours' directions in the tangent plane.
        border_line: vectors |l2 - 2 l1| / l2 e2.
        spacing: mu, the mean distance of the neighbours.
    """

    curvature: np.ndarray
    crease: np.ndarray
    corner: np.ndarray
    border: np.ndarray
    border_line: np.ndarray
    spacing: np.ndarray

    def combined(self) -> np.ndarray:
        """One penalty per point: a curvature + (1 - a) min(|crease|, corner), a = .2."""
        line = np.minimum(np.linalg.norm(self.crease, axis=1), self.corner)
        return CREASE * self.curvature + (1 - CREASE) * line


def _shape(points: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (ascending), axes as rows, curvature and spacing of each point's neighbours (N, k, d)."""
    centroid = near.mean(axis=1)
    apart = near - centroid[:, None]
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", apart, apart) / near.shape[1])
    axes = vectors.transpose(0, 2, 1)
    spacing = np.linalg.norm(near - points[:, None], axis=2).mean(axis=1)
    bend = 2 * np.abs(np.einsum("ni,ni->n", axes[:, 0], points - centroid)) / np.maximum(spacing, 1e-12) ** 2
    return np.maximum(values, 0), axes, bend, spacing


def _relative(bend: np.ndarray) -> np.ndarray:
    return 1 - bend / max(float(bend.max(initial=0)), 1e-12)


def point_penalties(points: np.ndarray, neighbours: int | np.ndarray = NEIGHBOURS) -> PointPenalties:
    """The penalties of points of a surface.

    Args:
        points: (N, 3), in one unit along all axes.
        neighbours: how many nearest ones make a neighbourhood, the point itself among them; or the neighbourhoods
            themselves, (N, k, 3).

    Raises:
        ValueError: points of another shape, or fewer of them than a neighbourhood.

    Source: Gumhold, Wang and MacLeod 2001, Feature extraction from point clouds.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points must have the shape (N, 3), got {points.shape}.")
    near = points[_nearest(points, neighbours)] if isinstance(neighbours, int) else neighbours
    (l0, l1, l2), axes, bend, spacing = _split(points, near)
    largest = np.maximum(l2, 1e-12)
    beside = near - points[:, None]
    inside = np.einsum("nki,nai->nka", beside, axes[:, 1:])
    far = np.linalg.norm(inside, axis=2) > 1e-9 * np.maximum(spacing, 1e-12)[:, None]
    angles = np.where(far, np.arctan2(inside[..., 1], inside[..., 0]), np.nan)
    angles = np.sort(angles, axis=1)
    steps = np.diff(angles, axis=1)
    around = 2 * math.pi - (np.nanmax(angles, axis=1) - np.nanmin(angles, axis=1))
    gap = np.maximum(np.nanmax(np.nan_to_num(steps, nan=0.0), axis=1), around)
    return PointPenalties(
        curvature=_relative(bend),
        crease=(np.maximum(l1 - l0, np.abs(l2 - (l0 + l1))) / largest)[:, None] * axes[:, 2],
        corner=(l2 - l0) / largest,
        border=1 - gap / (2 * math.pi),
        border_line=(np.abs(l2 - 2 * l1) / largest)[:, None] * axes[:, 2],
        spacing=spacing,
    )


def _split(points: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    values, axes, bend, spacing = _shape(points, near)
    return values.T, axes, bend, spacing


def _nearest(points: np.ndarray, count: int) -> np.ndarray:
    if len(points) < count:
        raise ValueError(f"{len(points)} points are fewer than a neighbourhood of {count}.")
    # away from 0: the tree splits at the number next to a coordinate, which next to 0 is denormal, and trainings flush
    # those to 0, upon which it would split for ever
    away = points - points.min(axis=0) + 1
    return cKDTree(away).query(away, k=count)[1]


def feature_lines(
    points: np.ndarray,
    penalties: PointPenalties,
    tau: float,
    rho: int,
    kind: str = "crease",
    smallest: int = 4,
    neighbours: int = NEIGHBOURS,
) -> list[tuple[int, int]]:
    """The edges between neighbours along which feature lines run: a spanning pattern.

    Edges whose penalty without the length is below tau are taken in ascending order of the whole penalty; one inside a
    component stays only where the path between its ends is longer than rho, which closes loops. Components of fewer
    than `smallest` points, and branches shorter than rho, are dropped.

    Args:
        points: (N, 3).
        penalties: theirs.
        tau: see above.
        rho: in edges.
        kind: "crease" or "border".
        smallest: see above.
        neighbours: of a point, to which it may be joined.

    Raises:
        ValueError: another kind; too few points.
    """
    if kind not in ("crease", "border"):
        raise ValueError(f"kind must be 'crease' or 'border', got {kind!r}.")
    near = _nearest(np.asarray(points, dtype=np.float64), neighbours)
    pairs = np.unique(np.sort(np.stack([np.repeat(np.arange(len(points)), neighbours), near.ravel()], 1), 1), axis=0)
    p, q = pairs[pairs[:, 0] != pairs[:, 1]].T
    length = np.linalg.norm(points[q] - points[p], axis=1)
    direction = (points[q] - points[p]) / np.maximum(length, 1e-12)[:, None]

    def along(vectors: np.ndarray, end: np.ndarray) -> np.ndarray:
        return np.abs(np.einsum("ni,ni->n", vectors[end], direction))

    if kind == "crease":
        value, part = penalties.curvature, CREASE
        lines = sum(np.minimum(along(penalties.crease, end), penalties.corner[end]) for end in (p, q))
    else:
        value, part = penalties.border, BORDER
        lines = sum(along(penalties.border_line, end) for end in (p, q))
    weight = part * (value[p] + value[q]) + (1 - part) * lines
    whole = weight + 2 * length / (penalties.spacing[p] + penalties.spacing[q])
    kept = np.flatnonzero(weight < tau)
    order = kept[np.argsort(whole[kept], kind="stable")]
    return _pattern([(int(p[i]), int(q[i])) for i in order], rho, smallest)


def _pattern(edges: Sequence[tuple[int, int]], rho: int, smallest: int) -> list[tuple[int, int]]:
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    joined: dict[int, set[int]] = defaultdict(set)
    for one, other in edges:
        first, second = root(one), root(other)
        if first != second:
            parent[first] = second
        elif _within(joined, one, other, rho):
            continue
        joined[one].add(other)
        joined[other].add(one)
    sizes: dict[int, int] = defaultdict(int)
    for node in joined:
        sizes[root(node)] += 1
    for node in [node for node in joined if sizes[root(node)] < smallest]:
        del joined[node]
    _prune(joined, rho)
    return sorted((one, other) for one, ends in joined.items() for other in ends if one < other)


def _within(joined: Mapping[int, set[int]], start: int, end: int, rho: int) -> bool:
    """Whether a path of at most rho edges leads from one node to another."""
    steps = {start: 0}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        if node == end:
            return True
        if steps[node] < rho:
            for other in joined.get(node, ()):
                if other not in steps:
                    steps[other] = steps[node] + 1
                    waiting.append(other)
    return False


def _prune(joined: dict[int, set[int]], rho: int) -> None:
    """Drop branches of fewer than rho edges between a free end and a node where three lines or more meet."""
    for tip in sorted(node for node, ends in joined.items() if len(ends) == 1):
        branch, node, before = [tip], tip, -1
        while len(joined.get(node, ())) < 3:
            onward = [other for other in joined.get(node, ()) if other != before]
            if not onward:
                break
            before, node = node, onward[0]
            branch.append(node)
        if len(joined.get(node, ())) >= 3 and len(branch) - 1 < rho:
            for one, other in zip(branch, branch[1:]):
                joined[one].discard(other)
                joined[other].discard(one)


def feature_line_weights(masks: torch.Tensor) -> torch.Tensor:
    """Weights of voxels for a loss of edges: 2 - omega where a mask's surface passes, omega the penalty, 1 elsewhere.

    The surface is that of marching cubes (of a contour in two dimensions, where omega is that of the curvature, from
    the covariance of two axes). A voxel has the smallest omega of the surface points within it or half a voxel of it;
    a surface of fewer points than a neighbourhood leaves the weights at 1.

    Args:
        masks: [B, C, *S], values in [0, 1].

    Shape:
        [B, 1, *S], the largest over the channels.
    """
    found = np.ones((masks.shape[0], *masks.shape[2:]), dtype=np.float32)
    for index, channels in enumerate(masks.detach().float().cpu().numpy()):
        for mask in channels:
            _weigh(found[index], mask)
    return torch.from_numpy(found).unsqueeze(1).to(masks)


def _weigh(weights: np.ndarray, mask: np.ndarray) -> None:
    # a frame of background closes surfaces that reach the border
    framed = np.pad(mask, 1)
    if not (framed.max() > 0.5 > framed.min()):
        return
    if mask.ndim == 2:
        groups = [contour[:-1] for contour in find_contours(framed, 0.5)]
        points = np.concatenate(groups)
    else:
        points = marching_cubes(framed, 0.5)[0].astype(np.float64)
    if len(points) < NEIGHBOURS:
        return
    if mask.ndim == 2:
        omega = _relative(_shape(points, points[_nearest(points, NEIGHBOURS)])[2])
    else:
        omega = point_penalties(points).combined()
    points = points - 1
    limits = np.array(mask.shape) - 1
    # a surface passes between voxels: both beside it are meant
    for shift in (-0.5, 0.5):
        for axis in range(mask.ndim):
            moved = points.copy()
            moved[:, axis] += shift
            place = tuple(np.clip(np.round(moved), 0, limits).astype(int).T)
            np.maximum.at(weights, place, (2 - omega).astype(np.float32))
