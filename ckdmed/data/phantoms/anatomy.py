"""A head as a function of position: which tissue lies at a point given in millimetres.

Axes: x to the patient's right, y to the front, z up; the origin lies in the middle of the brain. Nothing is stored
on a grid, so any plane and any volume at any resolution show the same head.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from .noise import SmoothNoise
from .shapes import capsule, ellipsoid, polyline, smooth_max, smooth_min

__all__ = ["Head", "Tissue"]


class Tissue(IntEnum):
    """What a point consists of. The order is the column order of the contrast tables."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    DURA = 6
    CSF = 7
    GREY = 8
    WHITE = 9
    DEEP_GREY = 10
    VESSEL = 11
    GLAND = 12
    CHOROID = 13
    EYE = 14
    OEDEMA = 15
    NECROSIS = 16
    ENHANCING = 17


class Head:
    """One person's head: sizes, ventricles, sulci and skull drawn once, then a fixed function of position.

    Args:
        rng: the only source of chance.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.scale = rng.normal(1.0, 0.03, 3).clip(0.93, 1.07).astype(np.float32)
        self.ventricles = float(rng.lognormal(0.0, 0.3))
        self.sulcus = float(rng.uniform(0.5, 1.2))
        self.sulcal_spacing = float(rng.uniform(14.0, 18.0))
        self.gap = float(rng.uniform(1.5, 4.0))
        self.skull = float(rng.uniform(4.5, 7.5))
        self.scalp = float(rng.uniform(3.5, 7.5))
        self.noise = SmoothNoise(rng)

    def _parts(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances to cerebrum, cerebellum and brain stem (which runs on into the spinal cord)."""
        x, y, z = points
        mirrored = np.stack([np.abs(x), y, z])
        base = -20 + np.float32(0.15) * np.maximum(y - 15, 0)
        cerebrum = smooth_max(ellipsoid(points, (0, 0, 8), (68, 86, 62)), base - z, 10)
        cerebrum = smooth_min(cerebrum, ellipsoid(mirrored, (42, 6, -22), (23, 40, 21)), 6)
        cerebellum = ellipsoid(mirrored, (16, -48, -40), (37, 32, 25))
        stem = polyline(points, [(0, -12, -8), (0, -17, -34), (0, -27, -70), (0, -36, -130)], (13, 12, 7.5))
        return cerebrum, cerebellum, stem

    def brain(self, points: np.ndarray) -> np.ndarray:
        """Signed distance to the brain's outer surface, sulci closed."""
        cerebrum, cerebellum, stem = self._parts(points / self.scale[:, None])
        return smooth_min(smooth_min(cerebrum, cerebellum, 2), stem, 4)

    def cranium(self, points: np.ndarray) -> np.ndarray:
        """Signed distance to the inner side of the dura: brain, subarachnoid space, sella."""
        points = points / self.scale[:, None]
        cerebrum, cerebellum, stem = self._parts(points)
        cavity = smooth_min(smooth_min(cerebrum, cerebellum, 16), stem - 3, 14)
        return smooth_min(cavity - self.gap, ellipsoid(points, (0, 12, -33), (10, 8, 9)), 8)

    def surface(self, points: np.ndarray, cranium: np.ndarray | None = None) -> np.ndarray:
        """Signed distance to the skin."""
        cranium = self.cranium(points) if cranium is None else cranium
        points = points / self.scale[:, None]
        face = smooth_min(
            ellipsoid(points, (0, 38, -62), (56, 56, 62)), ellipsoid(points, (0, 92, -60), (12, 14, 18)), 14
        )
        neck = capsule(points, (0, -22, -70), (0, -30, -190), 54)
        vault = cranium - np.float32(self.skull + self.scalp)
        return smooth_min(smooth_min(vault, face, 14), neck, 20)

    def tissue(
        self, points: np.ndarray, cranium: np.ndarray | None = None, inner: np.ndarray | None = None
    ) -> np.ndarray:
        """Name the tissue at every point inside the skin.

        Args:
            points: (3, N) positions inside the head (points outside are named as if they were soft tissue).
            cranium: distances from :meth:`cranium` where they are at hand already.
            inner: the same points moved by a tumour's mass effect; the brain is looked up there, the skull is not.

        Returns:
            (N,) uint8 of :class:`Tissue`, no lesions.
        """
        cranium = self.cranium(points) if cranium is None else cranium
        labels = np.empty(points.shape[1], np.uint8)
        inside = cranium < 0
        seen = points if inner is None else inner
        labels[inside] = self._inside(points[:, inside], seen[:, inside], cranium[inside])
        outside = ~inside
        labels[outside] = self._outside(points[:, outside], cranium[outside])
        return labels

    def _inside(self, points: np.ndarray, moved: np.ndarray, cranium: np.ndarray) -> np.ndarray:
        unit = moved / self.scale[:, None]
        x, y, z = unit
        wobble = self.noise(moved, 34, 1)
        mirrored = np.stack([np.abs(x + np.float32(1.2) * wobble), y, z])
        cerebrum, cerebellum, stem = self._parts(unit)
        depth = -smooth_min(smooth_min(cerebrum, cerebellum, 2), stem, 4)

        # Distance to the nearest pia: the outer surface, a sulcus (zero surfaces of the noise), or a large fissure.
        fold = np.abs(self.noise(moved, self.sulcal_spacing, 0)) * np.float32(0.184 * self.sulcal_spacing)
        sulcus = np.hypot(fold, np.maximum(depth - 19 - 4 * wobble, 0))
        callosum = np.maximum(-ellipsoid(unit, (0, -3, 9), (200, 40, 22)), 0)
        midline = np.hypot(mirrored[0], callosum)
        sylvian_height = z + 3 + np.float32(0.22) * y + 2 * wobble
        sylvian = np.hypot(sylvian_height, np.maximum(34 - mirrored[0], 0))
        sylvian = np.hypot(sylvian, np.maximum(np.abs(y - 4) - 30, 0))
        pia = np.minimum(np.minimum(sulcus, midline), np.minimum(sylvian, depth + np.float32(self.sulcus)))

        labels = np.full(len(x), Tissue.WHITE, np.uint8)
        labels[pia < self.sulcus + 2.7] = Tissue.GREY
        labels[pia < self.sulcus] = Tissue.CSF

        folia = (cerebellum < cerebrum) & (cerebellum < stem)
        phase = ellipsoid(mirrored[:, folia], (10, -34, -36), (37, 32, 25)) + 3 * wobble[folia]
        stripe = np.abs(np.mod(phase, np.float32(5.0)) - np.float32(2.5))
        shell = -cerebellum[folia]
        labels[folia] = np.where((shell > 11) | ((stripe > 1.8) & (shell > 4)), Tissue.WHITE, Tissue.GREY)
        labels[folia] = np.where((stripe < 0.4) & (shell < 9), Tissue.CSF, labels[folia])
        labels[(stem < cerebrum) & (stem < cerebellum)] = Tissue.WHITE

        nuclei = np.minimum.reduce(
            [
                ellipsoid(mirrored, (11, -14, 7), (8.5, 14, 8.5)),
                ellipsoid(mirrored, (13.5, 16, 9), (5.5, 14, 9)),
                ellipsoid(mirrored, (26, 4, 1), (6.5, 16, 10)),
            ]
        )
        labels[nuclei < 0] = Tissue.DEEP_GREY
        labels[depth < 0] = Tissue.CSF

        width = float(np.sqrt(self.ventricles))
        horns = [(7, 34, 6), (9, 12, 19), (13, -20, 19), (25, -40, 7), (32, -16, -14), (31, 4, -20)]
        lateral = polyline(mirrored, horns, (6.0 * width, 5.5 * width, 6.5 * width, 4.0 * width, 2.5 * width))
        lateral = np.maximum(lateral, np.float32(1.0) - mirrored[0])
        third = ellipsoid(unit, (0, -5, 1), (1.8 * width, 13, 10))
        fourth = ellipsoid(unit, (0, -33, -38), (7 * width, 4 * width, 9))
        ventricle = np.minimum(np.minimum(lateral, third), fourth)
        labels[ventricle < 0] = Tissue.CSF
        plexus = (lateral < 0) & (y < -12) & (self.noise(moved, 5, 2) > 0.9)
        labels[plexus] = Tissue.CHOROID
        self._vessels(labels, points, moved, cranium, midline)
        gland = np.minimum(ellipsoid(unit, (0, 12, -35), (7, 5, 4.5)), capsule(unit, (0, 12, -34), (0, 5, -20), 1.2))
        labels[gland < 0] = Tissue.GLAND
        return labels

    def _vessels(
        self, labels: np.ndarray, points: np.ndarray, moved: np.ndarray, cranium: np.ndarray, midline: np.ndarray
    ) -> None:
        """Falx, tentorium, venous sinuses and arteries: bright under contrast, and no tumours."""
        x, y, z = points / self.scale[:, None]
        unit = moved / self.scale[:, None]
        fluid = labels == Tissue.CSF
        near = cranium > -9
        labels[fluid & (midline < 0.7) & ((z > 18) | near) & (z > -16)] = Tissue.DURA
        tent = np.abs(z + 14 - np.float32(0.45) * (-np.abs(x) * np.float32(0.5) + 18) - np.float32(0.1) * y)
        labels[fluid & (tent < 1.2) & (y < -18) & (np.abs(x) > 3)] = Tissue.DURA
        sinus = (np.abs(x) < 3.5) & (cranium > -6) & ((z > 10) | (y < -60)) & (z > -22)
        labels[sinus | ((np.abs(z + 18) < 3.5) & (y < -38) & (cranium > -5.5))] = Tissue.VESSEL
        side = np.stack([np.abs(unit[0]), unit[1], unit[2]])
        arteries = np.minimum.reduce(
            [
                polyline(side, [(15, 8, -46), (13, 9, -26), (36, 10, -13), (46, -8, -5)], (2.6, 1.7, 1.3)),
                polyline(side, [(9, 11, -22), (1.5, 18, -18), (1.5, 44, 2), (1.5, 30, 32)], (1.4, 1.3, 1.1)),
                capsule(unit, (0, -1, -44), (0, -1, -20), 1.9),
                capsule(unit, (0, -40, 4), (0, -62, 0), 1.8),
            ]
        )
        labels[arteries < 0] = Tissue.VESSEL
        twigs = np.hypot(self.noise(moved, 9, 3), self.noise(moved, 12, 4))
        labels[fluid & (twigs < 0.2)] = Tissue.VESSEL

    def _outside(self, points: np.ndarray, cranium: np.ndarray) -> np.ndarray:
        unit = points / self.scale[:, None]
        x, y, z = unit
        skin = -self.surface(points, cranium)
        mirrored = np.stack([np.abs(x), y, z])
        coarse, fine = self.noise(points, 16, 5), self.noise(points, 7, 6)

        labels = np.full(len(x), Tissue.MUSCLE, np.uint8)
        labels[coarse > 1.5] = Tissue.FAT
        labels[(np.abs(fine) < 0.06) & (coarse < 0.5)] = Tissue.FAT
        jaw = np.minimum(
            polyline(mirrored, [(50, 8, -45), (48, 10, -95), (12, 72, -108)], (5, 6)),
            polyline(mirrored, [(20, 62, -86), (36, 48, -80), (46, 46, -42)], (7, 4)),
        )
        labels[jaw < 0] = Tissue.BONE
        labels[jaw < -2] = Tissue.MARROW
        orbit = ellipsoid(mirrored, (31, 62, -24), (17, 25, 16))
        labels[orbit < 0] = Tissue.FAT
        labels[capsule(mirrored, (16, 32, -24), (30, 60, -24), 2.2) < 0] = Tissue.MUSCLE
        labels[(np.abs(orbit + 5) < 1.2) & (y < 62)] = Tissue.MUSCLE
        eye = ellipsoid(mirrored, (32, 68, -24), (12, 12, 12))
        labels[eye < 0] = Tissue.MUSCLE
        labels[eye < -1.2] = Tissue.EYE
        tongue = ellipsoid(unit, (0, 42, -95), (20, 32, 16))
        labels[(tongue < 0) & (coarse < 1.2)] = Tissue.MUSCLE

        nasal = np.minimum.reduce(
            [
                ellipsoid(mirrored, (7, 58, -50), (8, 32, 20)),
                ellipsoid(mirrored, (33, 56, -58), (12, 16, 14)),
                ellipsoid(mirrored, (6, 84, 0), (10, 5, 12)),
                ellipsoid(unit, (0, 18, -52), (13, 13, 9)),
                capsule(unit, (0, 8, -72), (0, 2, -130), 6),
            ]
        )
        labels[nasal < 2.2] = Tissue.BONE
        labels[nasal < 0] = Tissue.AIR
        labels[(nasal < 0) & (np.abs(fine) < 0.45) & (mirrored[0] < 17) & (y > 30)] = Tissue.SKIN

        depth = skin < 4.5
        labels[depth & (nasal > 2.2) & (eye > 0)] = Tissue.FAT
        vault = cranium < np.float32(self.skull)
        table = np.minimum(cranium, self.skull - cranium)
        air_cells = ellipsoid(mirrored, (55, -24, -44), (12, 16, 12)) < 0
        labels[vault] = Tissue.BONE
        labels[vault & (table > 1.6) & (coarse > -1.3)] = Tissue.MARROW
        labels[vault & air_cells & (fine > -0.2)] = Tissue.AIR
        labels[air_cells & ~vault & (fine > -0.2) & (skin > 9)] = Tissue.AIR
        labels[cranium < 1.0] = Tissue.DURA
        labels[skin < 1.6] = Tissue.SKIN
        return labels
