"""Pictures of a phantom case in four MR modalities, skull-stripped, with the BraTS regions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from .anatomy import Head, Tissue
from .tumours import Tumour, glioma, meningioma, metastasis, pontine_glioma

__all__ = ["MODALITIES", "TUMOUR_TYPES", "BratsPhantom", "BratsPatient", "brats_affine"]

MODALITIES = ("t1n", "t1c", "t2w", "t2f")
TUMOUR_TYPES = ("GLI", "MEN", "MET", "PED", "SSA")
# The atlas grid of BraTS; other shapes cover the same space with larger or smaller voxels.
_FIELD_MM = (240.0, 240.0, 155.0)
_CENTRE_MM = (120.0, 118.0, 77.0)

# Rows: t1n, t1c, t2w, t2f. White matter is 1 in T1, 0.5 to 0.7 in T2 and FLAIR.
_CONTRAST = {
    Tissue.DURA: (0.6, 1.5, 0.7, 0.7),
    Tissue.CSF: (0.35, 0.36, 2.1, 0.22),
    Tissue.GREY: (0.78, 0.82, 0.78, 0.92),
    Tissue.WHITE: (1.0, 1.0, 0.52, 0.70),
    Tissue.DEEP_GREY: (0.86, 0.88, 0.68, 0.84),
    Tissue.VESSEL: (0.55, 2.1, 0.45, 0.5),
    Tissue.GLAND: (0.95, 1.5, 0.8, 0.9),
    Tissue.CHOROID: (0.6, 1.5, 1.5, 0.8),
    Tissue.OEDEMA: (0.80, 0.82, 1.25, 1.65),
    Tissue.NECROSIS: (0.52, 0.50, 1.65, 1.15),
    Tissue.ENHANCING: (0.78, 1.75, 1.10, 1.45),
}
_REGION_TISSUE = {1: Tissue.NECROSIS, 2: Tissue.OEDEMA, 3: Tissue.ENHANCING}


@dataclass(frozen=True)
class BratsPhantom:
    """One case.

    Args:
        images: modality name to volume of the requested type; 0 outside the brain, above 0 inside.
        seg: int16 of the same shape: 1 necrotic core, 2 oedema, 3 enhancing.
        tissue: uint8 of :class:`~ckdmed.data.phantoms.anatomy.Tissue`, AIR outside the brain; what the images show.
    """

    images: dict[str, np.ndarray]
    seg: np.ndarray
    tissue: np.ndarray


def brats_affine(shape: tuple[int, int, int]) -> np.ndarray:
    """Voxel to millimetre matrix as the BraTS 2023 images have it: first axis to the left, second to the back."""
    step = np.array(_FIELD_MM) / np.array(shape)
    affine = np.diag([-step[0], -step[1], step[2], 1.0])
    affine[1, 3] = 239.0
    return affine


class BratsPatient:
    """A person with one or more tumours, seen at several times; the first sight decides all but size and noise.

    Args:
        index: number of the person; with the seed it decides everything.
        kind: one of ``TUMOUR_TYPES``: GLI and SSA one glioma (SSA larger, in noisier images), MEN one meningioma,
            MET one to five metastases, PED a tumour of the pons that hardly enhances.
        seed: seed of the whole set.
        without_enhancement: probability that a GLI, SSA or PED tumour has no enhancing part, 0 to 1.
    """

    def __init__(self, index: int, kind: str, seed: int, without_enhancement: float = 0.15) -> None:
        rng = np.random.default_rng([seed, index, 11])
        self.index, self.kind, self.seed = index, kind, seed
        self.head = Head(rng)
        self.enhancing = kind in ("MEN", "MET") or bool(rng.random() >= without_enhancement)
        self.tumours = self._grow(rng)
        self.growth = float(rng.uniform(-0.12, 0.2))
        self.rim_mm = float(rng.uniform(2.5, 5.5))
        self.oedema_mm = float({"MEN": rng.uniform(0, 12), "PED": rng.uniform(1, 4)}.get(kind, rng.uniform(8, 20)))
        self.noise_level = float(rng.uniform(0.012, 0.03)) * (2.0 if kind == "SSA" else 1.0)

    def _grow(self, rng: np.random.Generator) -> list[Tumour]:
        if self.kind == "MEN":
            return [meningioma(self.head, rng, (10, 24))]
        if self.kind == "MET":
            return [metastasis(self.head, rng) for _ in range(int(rng.integers(1, 6)))]
        if self.kind == "PED":
            return [pontine_glioma(self.head, rng)]
        return [glioma(self.head, rng, (16, 30) if self.kind == "SSA" else (11, 26))]

    def _regions(self, tumour: Tumour, level: np.ndarray, points: np.ndarray, tissue: np.ndarray) -> np.ndarray:
        """BraTS labels that one tumour gives to points; 0 where it gives none."""
        coarse, fine = tumour.noise(points, 12, 3), tumour.noise(points, 5, 2)
        regions = np.zeros(len(level), np.int16)
        # Oedema runs along white matter and stops at fluid; grey matter resists it.
        reach = np.float32(self.oedema_mm) * np.maximum(1 + np.float32(0.45) * coarse, 0)
        reach = np.where(tissue == Tissue.WHITE, reach, np.float32(0.4) * reach)
        brain = (tissue == Tissue.WHITE) | (tissue == Tissue.GREY) | (tissue == Tissue.DEEP_GREY)
        regions[brain & (level > -reach)] = 2
        core = level > 0
        if not self.enhancing:
            regions[core] = 1
            return regions
        if self.kind == "PED":
            return np.where(core, np.where(coarse + np.float32(0.3) * fine > 1.1, 3, 1), regions).astype(np.int16)
        if self.kind == "MEN":
            return np.where(core, np.where((coarse > 2.0) & (level > 4), 1, 3), regions).astype(np.int16)
        rim = np.float32(min(self.rim_mm, 0.6 * tumour.size)) * np.clip(1 + np.float32(0.4) * coarse, 0.4, 2)
        rim += np.float32(0.5) * fine
        return np.where(core, np.where(level < np.maximum(rim, 1.2), 3, 1), regions).astype(np.int16)

    def render(self, time_point: int, shape: tuple[int, int, int], dtype: str = "int16") -> BratsPhantom:
        """Draw the case at one time: later ones have a grown (or shrunk) tumour, other noise and other raw values.

        Args:
            time_point: 0 or more.
            shape: voxels along the three axes; the space covered is 240 x 240 x 155 mm always.
            dtype: "int16" or "float32".
        """
        factor = float(np.clip(1 + self.growth * time_point, 0.5, 1.5))
        tumours = [replace(t, radii=t.radii * factor, push=t.push * factor) for t in self.tumours]
        step = np.array(_FIELD_MM) / np.array(shape)
        x, y, z = (
            (sign * ((np.arange(n) + 0.5) * s - c)).astype(np.float32)
            for sign, n, s, c in zip((-1, -1, 1), shape, step, _CENTRE_MM, strict=True)
        )
        seg = np.zeros(shape, np.int16)
        tissue = np.zeros(shape, np.uint8)
        texture = np.zeros(shape, np.float32)
        # Slices one by one keep the intermediate arrays in the cache.
        for k in np.flatnonzero(z > -74):
            grid = np.stack([np.repeat(x, len(y)), np.tile(y, len(x)), np.full(len(x) * len(y), z[k], np.float32)])
            wide = np.flatnonzero((np.abs(grid[0]) < 80) & (np.abs(grid[1]) < 100))
            cranium = self.head.cranium(grid[:, wide])
            keep = cranium < -0.6 * self.head.gap
            wide, cranium = wide[keep], cranium[keep]
            keep = self.head.brain(grid[:, wide]) < 4
            wide, cranium = wide[keep], cranium[keep]
            if not wide.size:
                continue
            points = np.ascontiguousarray(grid[:, wide])
            moved = points
            for tumour in tumours:
                moved = tumour.displace(moved)
            labels = self.head.tissue(points, cranium, moved)
            regions = np.zeros(len(wide), np.int16)
            for tumour in tumours:
                level = tumour.level(points, cranium)
                found = self._regions(tumour, level, points, labels)
                # Oedema of one tumour does not cover the core of another.
                regions = np.where((found > 0) & ((regions == 0) | (found != 2)), found, regions)
            for region, name in _REGION_TISSUE.items():
                labels[regions == region] = name
            grain = 1 + np.float32(0.025) * self.head.noise(points, 12, 7)
            lesion = np.isin(regions, (1, 3))
            grain[lesion] += np.float32(0.08) * tumours[0].noise(points[:, lesion], 5, 4)
            column = np.unravel_index(wide, shape[:2])
            tissue[column[0], column[1], k] = labels
            seg[column[0], column[1], k] = regions
            texture[column[0], column[1], k] = grain
        images = self._images(tissue, texture, step, time_point, dtype)
        return BratsPhantom(images, seg, tissue)

    def _images(
        self, tissue: np.ndarray, texture: np.ndarray, step: np.ndarray, time_point: int, dtype: str
    ) -> dict[str, np.ndarray]:
        brain = tissue > 0
        box = tuple(slice(int(a.min()), int(a.max()) + 1) for a in np.nonzero(brain))
        inner = brain[box]
        axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in inner.shape]
        images = {}
        for row, name in enumerate(MODALITIES):
            rng = np.random.default_rng([self.seed, self.index, 12, time_point, row])
            table = np.zeros(len(Tissue), np.float32)
            for key, values in _CONTRAST.items():
                table[key] = values[row] * rng.lognormal(0, 0.03)
            # Air next to the brain would darken its edge in the blur: fluid stands there until the end.
            table[Tissue.AIR] = table[Tissue.GREY]
            picture = table[tissue[box]]
            picture *= np.where(inner, texture[box], np.float32(1))
            # Slices of the clinical series are thicker than the atlas grid.
            picture = gaussian_filter(picture, np.array([0.5, 0.5, 0.8]) / step)
            slope = rng.normal(0, 0.07, 6).astype(np.float32)
            for axis, u in enumerate(axes):
                along = np.exp(slope[axis] * u + slope[axis + 3] * u * u)
                picture *= np.expand_dims(along, [i for i in range(3) if i != axis])
            values = picture[inner]
            sigma = np.float32(self.noise_level)
            noise = rng.standard_normal((2, values.size), dtype=np.float32) * sigma
            values = np.hypot(values + noise[0], noise[1])
            values *= np.float32(np.exp(rng.uniform(np.log(250.0), np.log(2500.0))))
            volume = np.zeros(tissue.shape, dtype)
            if dtype == "int16":
                values = np.clip(np.rint(values), 1, np.iinfo(np.int16).max)
            else:
                values = np.maximum(values, np.float32(1e-3))
            volume[box][inner] = values.astype(dtype)
            images[name] = volume
        return images
