"""What a registration leaves in a prepared case: its transforms, how well it fits, and the way back for masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ckdmed.data.input_walk import PREPARED_RECORD
from ckdmed.data.nifti_files import VolumeFileError
from ckdmed.data.slice_geometry import spatial_geometry
from ckdmed.data.volume_reader import read_volume
from ckdmed.file_hash import content_mark_of_image
from ckdmed.json_files import read_json
from ckdmed.preparation.case import PreparedVolume
from ckdmed.preparation.registration import Registration, in_itk, resampled
from ckdmed.preparation.settings import PLANES
from ckdmed.reports.style import new_figure, show_slice

__all__ = ["CHECKERBOARD", "draw_checkerboards", "fit_text", "mask_in_original", "write_registrations"]

CHECKERBOARD = "checkerboard.png"
_FIELD_MM = 20.0


def fit_text(fit: Registration) -> str:
    """How well a modality fits, for one line."""
    return (
        f"was turned by {fit.angle_deg:.1f} degrees and moved by {fit.shift_mm:.1f} mm (mutual information "
        f"{fit.before:.2f} before, {fit.after:.2f} after, {fit.normalised:.0%} shared, heads overlap {fit.overlap:.2f})"
    )


def write_registrations(fits: Mapping[str, Registration], reference: str, folder: Path) -> dict[str, Any]:
    """Write each transform and its inverse for ITK and 3D Slicer, as `t2f-to-t1c.tfm` and `t1c-to-t2f.tfm`.

    Returns:
        for `prepared.json`: the reference, and of each modality the matrices between RAS millimetres and the metrics.
    """
    found: dict[str, Any] = {"reference": reference, "images": {}}
    for modality, fit in fits.items():
        back = np.linalg.inv(fit.matrix)
        # ITK resamples with the transform from the places of the grid to those of the image
        sitk.WriteTransform(in_itk(back), str(folder / f"{modality}-to-{reference}.tfm"))
        sitk.WriteTransform(in_itk(fit.matrix), str(folder / f"{reference}-to-{modality}.tfm"))
        found["images"][modality] = {
            "to_reference": fit.matrix.tolist(),
            "from_reference": back.tolist(),
            "mutual_information": {"before": round(fit.before, 4), "after": round(fit.after, 4)},
            "shared": round(fit.normalised, 4),
            "shared_within_head": round(fit.inner, 4),
            "head_overlap": round(fit.overlap, 4),
            "angle_deg": round(fit.angle_deg, 3),
            "shift_mm": round(fit.shift_mm, 3),
        }
    return found


def mask_in_original(case: Path, mask: Path, modality: str) -> tuple[np.ndarray, np.ndarray, Path]:
    """A mask that was drawn or predicted on a prepared case, on the grid of one of its original images.

    Args:
        case: folder of the prepared case.
        mask: whole numbers on any grid in the millimetres of the prepared images.
        modality: of the original.

    Returns:
        the mask as uint8, the original's affine, and the original.

    Raises:
        VolumeFileError: the folder was not prepared or has no such modality, the original cannot be read or was
            replaced since, or the mask holds other numbers than 0 to 255 or lies nowhere in the original.
    """
    try:
        record = read_json(case / PREPARED_RECORD)
        original = Path(record["files"][modality])
        fits = record.get("registration", {"images": {}})["images"]
        matrix = np.array(fits[modality]["to_reference"]) if modality in fits else np.eye(4)
        # a case that was prepared before contents were recorded has none
        recorded = record["contents"][modality] if "contents" in record else None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise VolumeFileError(
            f"{case}: not a prepared case with an image of {modality} ({type(error).__name__}: {error})."
        ) from error
    values, affine = read_volume(mask)
    if values.ndim != 3 or not np.array_equal(values, np.rint(values)) or values.min() < 0 or values.max() > 255:
        raise VolumeFileError(f"{mask}: not a mask of whole numbers from 0 to 255 with three axes.")
    array, own = read_volume(original)
    if recorded is not None and recorded != content_mark_of_image(original):
        raise VolumeFileError(
            f"{original}: not the image from which {case} was prepared: it was replaced or changed since. Prepare the "
            "case again, or put the earlier image back."
        )
    grid = array if array.ndim == 3 else array[..., 0]
    # from the mask's millimetres, which are the reference's, to those of the original
    back = resampled((values, affine), (grid, own), np.linalg.inv(matrix), nearest=True)
    if values.any() and not back.any():
        raise VolumeFileError(f"{mask}: no part of it lies in {original}; does it belong to this case?")
    return np.asarray(np.rint(back), dtype=np.uint8), own, original


def draw_checkerboards(volume: PreparedVolume, reference: str, path: Path, title: str) -> None:
    """Fields of the reference and of each image that was brought onto it, in turn, in three planes.

    Outlines that go on from field to field are where both agree.
    """
    names = list(volume.registrations)
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    extent = spacing * volume.brain.shape
    fixed = volume.image[volume.modalities.index(reference)]
    geometries = [spatial_geometry("nifti", fixed.shape, volume.affine, plane) for plane in PLANES]
    widths = [float(extent[geometry.axes[2]]) for geometry in geometries]
    # of a row: the highest plane, where the planes have these widths together
    height = 9.6 * max(float(extent[geometry.axes[1]]) for geometry in geometries) / sum(widths)
    figure = new_figure(10.0, (height + 0.3) * len(names) + 0.25 * len(names) + 0.4)
    axes = figure.subplots(len(names), len(PLANES), squeeze=False, gridspec_kw={"width_ratios": widths})
    for row, name in enumerate(names):
        moved = volume.image[volume.modalities.index(name)]
        for column, (plane, geometry) in enumerate(zip(PLANES, geometries, strict=True)):
            brain = geometry.to_slices(volume.brain) != 0
            number = int(np.argmax(np.count_nonzero(brain, axis=(1, 2))))
            sides = [spacing[geometry.axes[1]], spacing[geometry.axes[2]]]
            first, second = (_grey(geometry.to_slices(one)[number], brain[number]) for one in (fixed, moved))
            down, across = (np.arange(n) * side // _FIELD_MM for n, side in zip(first.shape, sides))
            board = np.where((down[:, None] + across[None]) % 2 == 0, first, second)
            show_slice(axes[row, column], board, aspect=float(sides[0] / sides[1]))
            axes[row, column].set_title(f"{reference} and {name}, {plane} {number}", fontsize=9)
    lines = [f"{name} {fit_text(fit)}" for name, fit in volume.registrations.items()]
    heading = f"{title}: squares of {_FIELD_MM:g} mm; outlines continue across squares where both agree"
    figure.suptitle("\n".join([heading, *lines]), fontsize=8)
    figure.savefig(path, dpi=110, format="png")


def _grey(values: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Shades by rank within the head, so that its tissues differ beside bright fat; outside is black."""
    inside = values[brain]
    if not inside.size:
        return np.zeros(values.shape)
    levels = np.quantile(inside, np.linspace(0, 1, 65))
    # half by rank: ranks alone make noise as loud as tissue
    ranked = np.interp(values, levels, np.linspace(0, 1, 65))
    low, high = np.quantile(inside, [0.01, 0.99])
    plain = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return np.where(brain, (ranked + plain) / 2, 0.0)
