"""Where tumours sit in a head and what shape they have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .anatomy import Head
from .noise import SmoothNoise

__all__ = ["Tumour", "glioma", "meningioma", "metastasis", "pituitary", "pontine_glioma"]


@dataclass(frozen=True)
class Tumour:
    """A body that is star-shaped about its centre: an ellipsoid whose radius varies smoothly with direction.

    Args:
        centre: (3,) millimetres.
        radii: (3,) half axes before roughening, in millimetres.
        rotation: (3, 3) orthonormal; its columns are the half axes' directions.
        roughness: relative standard deviation of the radius over directions; 0 is an ellipsoid.
        push: millimetres by which the tumour's edge moves the brain around it.
        noise: the field that roughens the border and textures the inside.
        inside: the head whose dura bounds the tumour, or None where it may cross (never does, deep in the brain).
    """

    centre: np.ndarray
    radii: np.ndarray
    rotation: np.ndarray
    roughness: float
    push: float
    noise: SmoothNoise
    inside: Head | None = None

    @property
    def size(self) -> float:
        """Geometric mean of the half axes in millimetres."""
        return float(np.prod(self.radii) ** (1 / 3))

    def _polar(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        local = self.rotation.T.astype(np.float32) @ (points - self.centre.astype(np.float32)[:, None])
        local /= self.radii.astype(np.float32)[:, None]
        radius = np.sqrt(np.einsum("in,in->n", local, local))
        edge = np.ones_like(radius)
        # Far away neither the border nor the push depends on the border's detail.
        near = np.flatnonzero(radius < 4) if self.roughness > 0 else np.zeros(0, np.intp)
        if near.size:
            direction = local[:, near] / np.maximum(radius[near], np.float32(1e-3))
            bumps = self.noise(direction, 1.5, 0) + np.float32(0.3) * self.noise(direction, 0.8, 1)
            edge[near] += np.float32(self.roughness) * bumps
        return radius, np.maximum(edge, np.float32(0.35))

    def level(self, points: np.ndarray, cranium: np.ndarray | None = None) -> np.ndarray:
        """Millimetres below the tumour's border at (3, N) points: positive inside, negative outside."""
        radius, edge = self._polar(points)
        depth = (edge - radius) * np.float32(self.size)
        if self.inside is not None:
            cranium = self.inside.cranium(points) if cranium is None else cranium
            depth = np.minimum(depth, -cranium)
        return depth

    def displace(self, points: np.ndarray) -> np.ndarray:
        """Where the tissue now at ``points`` lay before the tumour grew: nearer to the tumour's centre."""
        radius, edge = self._polar(points)
        outside = np.maximum(radius - edge, 0)
        pull = np.float32(self.push / self.size) * np.exp(-outside / np.float32(0.8))
        factor = np.maximum(1 - pull / np.maximum(radius, np.float32(0.2)), np.float32(0.1))
        centre = self.centre.astype(np.float32)[:, None]
        return centre + (points - centre) * factor


def _rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


def _ray_to_dura(head: Head, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    steps = np.arange(0, 130, 0.5)
    points = (origin[:, None] + direction[:, None] * steps).astype(np.float32)
    outside = head.cranium(points) > 0
    return points[:, int(np.argmax(outside))].astype(float)


def meningioma(head: Head, rng: np.random.Generator, size: tuple[float, float] = (11.0, 25.0)) -> Tumour:
    """Extra-axial: its base lies on the dura of the vault, the falx or the sphenoid wing; round and smooth."""
    radius = float(rng.uniform(*size))
    place = rng.choice(["convexity", "falx", "sphenoid"], p=[0.6, 0.25, 0.15])
    side = float(rng.choice([-1.0, 1.0]))
    origin = np.array([0.0, 0.0, 10.0])
    if place == "falx":
        angle = rng.uniform(0.0, np.pi)
        direction = np.array([0.0, np.cos(angle), np.sin(angle)])
        dura = _ray_to_dura(head, origin, direction)
        centre = dura - direction * radius * rng.uniform(0.9, 1.8)
        centre[0] = side * radius * 0.75
    elif place == "sphenoid":
        dura = np.array([side * rng.uniform(22, 40), rng.uniform(22, 34), -20.0])
        centre = dura + np.array([0, 0, radius * 0.4])
    else:
        direction = np.array([side * rng.uniform(0.15, 1.0), rng.uniform(-1.0, 1.0), rng.uniform(-0.15, 1.0)])
        direction /= np.linalg.norm(direction)
        dura = _ray_to_dura(head, origin, direction)
        centre = dura - direction * radius * rng.uniform(0.35, 0.75)
    radii = radius * rng.uniform(0.85, 1.15, 3)
    push = radius * rng.uniform(0.5, 0.75)
    return Tumour(centre, radii, _rotation(rng), rng.uniform(0.02, 0.08), push, SmoothNoise(rng, 32), head)


def glioma(head: Head, rng: np.random.Generator, size: tuple[float, float] = (13.0, 30.0)) -> Tumour:
    """Intra-axial: deep in one hemisphere, irregular."""
    radius = float(rng.uniform(*size))
    candidates = rng.uniform([12, -62, -25], [48, 62, 50], (256, 3))
    candidates[:, 0] *= rng.choice([-1.0, 1.0])
    depth = -head.brain(candidates.T.astype(np.float32))
    wanted = np.flatnonzero((depth > 0.6 * radius + 3) & (depth < radius + 20))
    centre = candidates[wanted[0] if wanted.size else int(np.argmax(depth))]
    radii = radius * rng.uniform(0.75, 1.25, 3)
    push = radius * rng.uniform(0.15, 0.4)
    return Tumour(centre, radii, _rotation(rng), rng.uniform(0.12, 0.22), push, SmoothNoise(rng, 32), head)


def pituitary(head: Head, rng: np.random.Generator, size: tuple[float, float] = (7.5, 17.0)) -> Tumour:
    """On the midline in the sella; larger ones grow upwards and are taller than wide."""
    radius = float(rng.uniform(*size))
    tall = 1.0 + 0.02 * (radius - 7.5) * rng.uniform(0.5, 2.0)
    centre = np.array([rng.normal(0, 1.5), 12 + rng.normal(0, 1.0), -37 + 0.9 * radius]) * head.scale
    radii = radius * np.array([rng.uniform(0.9, 1.15), rng.uniform(0.8, 1.05), tall])
    push = radius * rng.uniform(0.5, 0.7)
    return Tumour(centre, radii, np.eye(3), rng.uniform(0.04, 0.1), push, SmoothNoise(rng, 32))


def metastasis(head: Head, rng: np.random.Generator, size: tuple[float, float] = (4.0, 13.0)) -> Tumour:
    """Small and round, near the junction of grey and white matter."""
    radius = float(rng.uniform(*size))
    candidates = rng.uniform([-60, -75, -45], [60, 70, 60], (256, 3))
    depth = -head.brain(candidates.T.astype(np.float32))
    wanted = np.flatnonzero((depth > 0.7 * radius + 2) & (depth < radius + 12))
    centre = candidates[wanted[0] if wanted.size else int(np.argmax(depth))]
    radii = radius * rng.uniform(0.9, 1.1, 3)
    return Tumour(centre, radii, _rotation(rng), rng.uniform(0.03, 0.08), 0.3 * radius, SmoothNoise(rng, 32), head)


def pontine_glioma(head: Head, rng: np.random.Generator, size: tuple[float, float] = (11.0, 18.0)) -> Tumour:
    """The diffuse midline tumour of children: it swells the pons."""
    radius = float(rng.uniform(*size))
    centre = np.array([rng.normal(0, 2.0), -17 + rng.normal(0, 2.0), -28 + rng.normal(0, 3.0)]) * head.scale
    radii = radius * np.array([1.15, 0.9, 1.1]) * rng.uniform(0.9, 1.1, 3)
    return Tumour(centre, radii, np.eye(3), rng.uniform(0.06, 0.12), 0.3 * radius, SmoothNoise(rng, 32), head)
