"""One picture by which a person can see whether a prepared case is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ckdmed.data.slice_geometry import SliceGeometry, spatial_geometry
from ckdmed.preparation.case import PreparedVolume
from ckdmed.preparation.settings import PLANES
from ckdmed.reports.style import new_figure, show_slice

__all__ = ["draw_summary"]

_BRAIN = "#f0e442"
# Okabe and Ito's colours.
_REGIONS = {"WT": "#009e73", "TC": "#56b4e9", "ET": "#d55e00"}


def draw_summary(volume: PreparedVolume, path: Path, title: str) -> None:
    """Modalities in columns, the three planes in rows, with the outlines of the brain mask and the tumour's regions.

    Each plane shows the slice with most tumour, else with most brain.
    """
    columns = len(volume.modalities)
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    extent = spacing * volume.brain.shape
    geometries = [spatial_geometry("nifti", volume.brain.shape, volume.affine, plane) for plane in PLANES]
    # Inches of a row for columns of 2.4: as its slices are shaped, within reason.
    heights = [2.4 * float(np.clip(extent[g.axes[1]] / extent[g.axes[2]], 0.3, 1.5)) for g in geometries]
    figure = new_figure(max(2.4 * columns, 3.6) + 0.4, sum(heights) + 0.9)
    axes = figure.subplots(len(PLANES), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, (plane, geometry) in enumerate(zip(PLANES, geometries, strict=True)):
        brain = geometry.to_slices(volume.brain)
        outlines = {"brain": (brain, _BRAIN), **_outlines(volume, geometry)}
        deciding = geometry.to_slices(volume.label != 0) if volume.label is not None and volume.label.any() else brain
        number = int(np.argmax(np.count_nonzero(deciding, axis=(1, 2))))
        aspect = float(spacing[geometry.axes[1]] / spacing[geometry.axes[2]])
        for column, name in enumerate(volume.modalities):
            panel = axes[row, column]
            values = geometry.to_slices(volume.image[column])[number]
            # Outside is black, whatever value the normalisation put there.
            inside = brain[number] != 0
            shown = np.where(inside, values, values[inside].min()) if inside.any() else values
            show_slice(panel, shown, aspect=aspect)
            for mask, colour in outlines.values():
                if mask[number].any() and not mask[number].all():
                    panel.contour(mask[number] != 0, levels=[0.5], colors=[colour], linewidths=0.8)
            if row == 0:
                panel.set_title(name, fontsize=9)
            if column == 0:
                panel.set_ylabel(f"{plane} {number}", fontsize=8)
    names = ", ".join(["brain yellow", *(["WT green", "TC blue", "ET orange"] if volume.label is not None else [])])
    shape = " x ".join(map(str, volume.brain.shape))
    mm = " x ".join(f"{v:.3g}" for v in spacing)
    figure.suptitle(f"{title}: {shape} voxels of {mm} mm\noutlines: {names}", fontsize=8)
    figure.savefig(path, dpi=110, format="png")


def _outlines(volume: PreparedVolume, geometry: SliceGeometry) -> dict[str, tuple[np.ndarray, str]]:
    if volume.label is None:
        return {}
    to_slices = geometry.to_slices
    if volume.table is None:
        return {"WT": (to_slices((volume.label != 0).astype(np.uint8)), _REGIONS["WT"])}
    channels = volume.table.to_regions(volume.label, tuple(_REGIONS)).astype(np.uint8)
    return {name: (to_slices(mask), _REGIONS[name]) for name, mask in zip(_REGIONS, channels, strict=True)}
