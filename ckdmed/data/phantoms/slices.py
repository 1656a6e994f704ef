"""Pictures of a phantom patient: contrast-enhanced T1 slices with the tumour's outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from ckdmed.geometry import polygon_mask

from .anatomy import Head, Tissue
from .patients import PhantomPatient, PhantomSlice
from .tumours import Tumour, glioma, meningioma, pituitary

__all__ = ["PatientRenderer", "RenderedSlice", "trace_border"]

# T1 with contrast, white matter 1. The scalp, marrow, vessels and dura are as bright as tumours, or brighter.
_CONTRAST = {
    Tissue.AIR: 0.02,
    Tissue.SKIN: 1.0,
    Tissue.FAT: 2.3,
    Tissue.MUSCLE: 0.75,
    Tissue.BONE: 0.14,
    Tissue.MARROW: 1.05,
    Tissue.DURA: 1.45,
    Tissue.CSF: 0.34,
    Tissue.GREY: 0.8,
    Tissue.WHITE: 1.0,
    Tissue.DEEP_GREY: 0.86,
    Tissue.VESSEL: 2.0,
    Tissue.GLAND: 1.6,
    Tissue.CHOROID: 1.55,
    Tissue.EYE: 0.38,
}
_MAKERS = {1: meningioma, 2: glioma, 3: pituitary}
_RAYS = 64


@dataclass(frozen=True)
class RenderedSlice:
    """One slice, upright.

    Args:
        image: (size, size) int16.
        mask: (size, size) uint8, the polygon filled.
        border: (n, 2) float64, x (column) and y (row), 1-based, not closed.
    """

    image: np.ndarray
    mask: np.ndarray
    border: np.ndarray


def trace_border(level: np.ndarray, rays: int = _RAYS) -> np.ndarray:
    """Outline the region where ``level`` is positive, as a reader would with a few dozen clicks.

    Rays leave the region's centre of mass (or its deepest pixel where the centre lies outside); the outline passes
    through the first sign change on each.

    Args:
        level: (rows, columns), positive inside, at least one positive value.
        rays: number of vertices.

    Returns:
        (rays, 2) float64 vertices, x (column) and y (row) counted from 0.

    Raises:
        ValueError: no value of ``level`` is positive.
    """
    inside = np.argwhere(level > 0)
    if not len(inside):
        raise ValueError("Nothing to outline: no value of the level function is positive.")
    centre = inside.mean(0)
    if map_coordinates(level, centre[:, None], order=1)[0] <= 0:
        centre = np.array(np.unravel_index(int(np.argmax(level)), level.shape), float)
    angles = np.linspace(0, 2 * np.pi, rays, endpoint=False)
    directions = np.stack([np.sin(angles), np.cos(angles)])
    steps = np.arange(0, float(np.hypot(*np.ptp(inside, axis=0))) + 3, 0.25)
    track = centre[:, None, None] + directions[:, :, None] * steps
    values = map_coordinates(level, track.reshape(2, -1), order=1, mode="nearest").reshape(rays, -1)
    crossing = np.argmax(values <= 0, axis=1)
    crossing[(values > 0).all(1)] = len(steps) - 1
    before = np.maximum(crossing - 1, 0)
    row = np.arange(rays)
    high, low = values[row, before], values[row, crossing]
    part = np.where(high > low, high / np.maximum(high - low, 1e-9), 0.0).clip(0, 1)
    reach = steps[before] + part * 0.25
    vertices = centre + (directions * reach).T
    vertices = np.clip(vertices, 0, np.array(level.shape) - 1.0)
    return vertices[:, ::-1].copy()


class PatientRenderer:
    """Draws one patient once, then renders that patient's slices; each slice has a noise of its own.

    Args:
        patient: what to draw.
        seed: the seed of the whole set.
    """

    def __init__(self, patient: PhantomPatient, seed: int) -> None:
        rng = np.random.default_rng([seed, patient.index, 3])
        self.patient = patient
        self.head = Head(rng)
        self.tumour: Tumour = _MAKERS[patient.label](self.head, rng)
        self.contrast = np.zeros(len(Tissue), np.float32)
        for tissue, value in _CONTRAST.items():
            self.contrast[tissue] = value * rng.lognormal(0, 0.07)
        self.gamma = float(rng.uniform(0.85, 1.2))
        self.noise_level = float(rng.uniform(0.015, 0.05))
        self.field_mm = float(rng.uniform(215, 250))
        self.blur_mm = float(rng.uniform(0.45, 0.75))
        angles = rng.normal(0, np.deg2rad(4), 3)
        self.tilt = _rotation_matrix(angles)
        self.bias = rng.normal(0, 0.12, (3, 9))
        self._tumour_looks(rng)
        self.seed = seed

    def _tumour_looks(self, rng: np.random.Generator) -> None:
        label = self.patient.label
        self.ring = label == 2 and rng.random() < 0.85
        self.rim_mm = float(rng.uniform(3.5, 7.0))
        self.cyst = label == 3 and rng.random() < 0.3
        self.oedema_mm = float(rng.uniform(6, 22)) if label == 2 else float(rng.uniform(0, 12)) * (label == 1)
        if label == 2 and not self.ring:
            self.shade, self.texture = float(rng.uniform(0.55, 0.75)), 0.16
        else:
            # All three kinds share this range: how bright a tumour is must not tell what it is.
            self.shade, self.texture = float(rng.uniform(1.4, 2.0)), {1: 0.05, 2: 0.22, 3: 0.11}[label]
        self.core = float(rng.uniform(0.38, 0.65))

    def _grid(self, size: int, view: str, position: float) -> np.ndarray:
        """Points (3, size * size) of the slice; rows run down, columns to the viewer's right."""
        half = (size - 1) / 2
        steps = (np.arange(size) - half) * (self.field_mm / size)
        across, up = np.meshgrid(steps, -steps)
        plane = {"axial": 2, "coronal": 1, "sagittal": 0}[view]
        # The face makes side views longer at the front and below.
        drop, shift = {"axial": (4.0, 0.0), "coronal": (-24.0, 0.0), "sagittal": (-26.0, -6.0)}[view]
        centre = self.tumour.centre
        fixed = np.full_like(across, centre[plane] + position * self.tumour.size)
        if view == "axial":
            points = np.stack([-across, up + drop, fixed])
        elif view == "coronal":
            points = np.stack([-across, fixed, up + drop])
        else:
            points = np.stack([fixed, -across - shift, up + drop])
        points = points.reshape(3, -1)
        # Tilted about the tumour's centre, so that the tumour stays in the plane.
        return (self.tilt @ (points - centre[:, None]) + centre[:, None]).astype(np.float32)

    def _paint_tumour(self, values: np.ndarray, labels: np.ndarray, points: np.ndarray, level: np.ndarray) -> None:
        noise = self.tumour.noise
        fine, coarse = noise(points, 4.0, 2), noise(points, 11.0, 3)
        if self.oedema_mm > 0:
            reach = np.float32(self.oedema_mm) * (1 + np.float32(0.5) * coarse)
            wet = (labels == Tissue.WHITE) | (labels == Tissue.OEDEMA)
            strength = np.clip((level + reach) / 6, 0, 1) * wet
            values *= 1 - np.float32(0.28) * strength
        body = self.shade * (1 + self.texture * (np.float32(0.7) * coarse + np.float32(0.5) * fine))
        if self.ring:
            rim = np.float32(self.rim_mm) * np.clip(1 + np.float32(0.45) * coarse, 0.25, 2)
            inner = np.clip((level - rim) / np.float32(1.5), 0, 1)
            body = body * (1 - inner) + self.core * (1 + np.float32(0.2) * fine) * inner
        elif self.cyst:
            hole = np.clip((coarse - np.float32(0.6)) * 4, 0, 1) * np.clip(level / 3, 0, 1)
            body = body * (1 - hole) + np.float32(0.5) * hole
        elif self.patient.label == 2:
            patch = np.clip((coarse - np.float32(1.0)) * 3, 0, 1)
            body = body + np.float32(0.5) * patch
        # Gliomas melt into the brain; the others have an edge.
        softness = 2.5 if self.patient.label == 2 else 0.6
        weight = np.clip(level / np.float32(softness) + np.float32(0.5), 0, 1)
        values += weight * (body - values)

    def _bias_field(self, size: int, view: str) -> np.ndarray:
        u = np.linspace(-1, 1, size, dtype=np.float32)
        v = u[:, None]
        c = self.bias[{"axial": 0, "coronal": 1, "sagittal": 2}[view]].astype(np.float32)
        across = u * (c[0] + u * (c[1] + u * c[2]))
        down = v * (c[3] + v * (c[4] + v * c[5]))
        field = across + down + u * v * (c[6] + c[7] * u + c[8] * v)
        if view != "axial":
            # The coil ends at the neck.
            field -= 1.2 * np.maximum(v - 0.55, 0)
        return np.exp(field)

    def render(self, item: PhantomSlice, size: int) -> RenderedSlice:
        """Draw one slice.

        Args:
            item: which slice.
            size: edge of the square picture in pixels, at least 32.
        """
        points = self._grid(size, item.view, item.position)
        cranium = self.head.cranium(points)
        level = self.tumour.level(points, cranium).reshape(size, size)
        if np.count_nonzero(level > 0) < 6:
            points = self._grid(size, item.view, 0.0)
            cranium = self.head.cranium(points)
            level = self.tumour.level(points, cranium).reshape(size, size)
        border = trace_border(level)
        mask = polygon_mask(border, (size, size))

        inside = self.head.surface(points, cranium) < 0
        values = np.full(points.shape[1], self.contrast[Tissue.AIR], np.float32)
        seen, depth = points[:, inside], level.ravel()[inside]
        labels = self.head.tissue(seen, cranium[inside], self.tumour.displace(seen))
        texture = 1 + np.float32(0.03) * self.head.noise(seen, 9, 7) + np.float32(0.03) * self.head.noise(seen, 30, 6)
        shades = self.contrast[labels] * texture
        if self.patient.label == 1:
            # The dural tail.
            tail = (labels == Tissue.DURA) & (depth > -9)
            shades[tail] *= np.float32(1.25)
        self._paint_tumour(shades, labels, seen, depth)
        values[inside] = shades

        pixel = self.field_mm / size
        picture = gaussian_filter(values.reshape(size, size), max(self.blur_mm / pixel, 0.45))
        picture = np.power(np.maximum(picture, 0), self.gamma) * self._bias_field(size, item.view)
        rng = np.random.default_rng([self.seed, self.patient.index, 4, item.id])
        noise = rng.normal(0, self.noise_level, (2, size, size))
        picture = np.hypot(picture + noise[0], noise[1]) * self.patient.exposure
        image = np.clip(np.rint(picture), 0, np.iinfo(np.int16).max).astype(np.int16)
        return RenderedSlice(image, mask, border + 1)


def _rotation_matrix(angles: np.ndarray) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z
