"""Writing the segmentation of whole cases: labels, probabilities and a picture in the geometry of the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import convert_to_numpy
from skimage.io import imsave

from ckdmed.data.brats.headers import read_volume_header
from ckdmed.data.case_reader import REFERENCE_KEY
from ckdmed.data.nifti_bytes import nifti_bytes
from ckdmed.data.slice_geometry import spatial_geometry
from ckdmed.data.volume_reader import is_nifti
from ckdmed.files import write_atomic
from ckdmed.handlers.item_writer import ItemWriter, check_finite
from ckdmed.labels import REGIONS, BratsLabels, brats_labels
from ckdmed.metrics.region_volumes import volumes_ml
from ckdmed.paths import output_path
from ckdmed.reports.overlay import region_sheet
from ckdmed.reports.sheet_captions import with_notice

__all__ = ["CaseWriter"]

DEFAULT_RELEASE = "2023"


class CaseWriter(ItemWriter):
    """Write the mask, the overlay and, if requested, the probabilities of each case, each file whole or not at all.

    - ``<name>_seg.nii.gz``: labels, uint8, of the shape and affine of the case's reference image;
    - ``<name>_overlay.png``: a sheet of up to twelve slices with their numbers and the regions' outlines (WT green, TC
      blue, ET vermilion), a key to them and the mark "research use only", in the plane in which the reference's voxels
      are finest;
    - ``<name>_probability_TC.nii.gz`` and so on: float32, 0 to 1.

    Attach to an evaluator with decollated batches whose items hold ``native_key``, the images (C, X, Y, Z) as
    :class:`~ckdmed.data.case_reader.CaseReader` read them, and, from the postprocessing, ``probability``
    and ``mask`` (0 and 1) of a channel per region on the same grid.

    Args:
        output_dir: nothing is written outside of it.
        regions: name of each output channel: TC, WT and ET in some order.
        modalities: name of each channel of the images.
        release: whose labels the masks get: a year or "decathlon", see ``ckdmed.labels.brats_labels``. None: those of
            the input, which its name tells, else 2023's (enhancing tumour is 3).
        labels: numbers of core, oedema and enhancing tumour, before any release.
        probabilities: whether to write them.
        overlay_on: modality of the picture; None for T2-FLAIR, or the last where there is none.
        native_key: see above.
        done: called with a case's name and its files, relative to ``output_dir``, when all of them are in place.
        notice: gives, by a case's name, the warning for its overlay, "" for none.

    Raises:
        ValueError: an unknown release; labels that are not three different numbers from 1 to 255; an unknown
            ``overlay_on``. When called: a name that leads out of the folder.
    """

    def __init__(
        self,
        output_dir: str,
        regions: Sequence[str] = REGIONS,
        modalities: Sequence[str] = (),
        release: int | str | None = None,
        labels: Sequence[int] | None = None,
        probabilities: bool = False,
        overlay_on: str | None = None,
        native_key: str = "native",
        done: Callable[..., None] | None = None,
        notice: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(output_dir, done)
        self.regions = tuple(regions)
        self.modalities = tuple(modalities)
        self.release = release
        self.own = None if labels is None else _own_labels(labels)
        if release is not None:
            brats_labels(release)
        if overlay_on is not None and overlay_on not in self.modalities:
            raise ValueError(f"overlay_on must be one of {', '.join(self.modalities)}, got {overlay_on!r}.")
        wanted = overlay_on or "t2f"
        self.channel = self.modalities.index(wanted) if wanted in self.modalities else -1
        self.probabilities = probabilities
        self.native_key = native_key
        self.notice = notice

    def labels_of(self, item: Mapping[str, Any]) -> BratsLabels:
        """The table of the labels that a case's mask gets."""
        if self.own is not None:
            return self.own
        if self.release is not None:
            return brats_labels(self.release)
        return brats_labels(item.get("release") or DEFAULT_RELEASE, item.get("tumour_type") or "GLI")

    def write_files(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Write one case; returns its name, and the names of its files relative to the output folder."""
        native = item[self.native_key]
        name, source = str(item["name"]), Path(str(native.meta[REFERENCE_KEY]))
        affine = np.asarray(convert_to_numpy(native.affine), dtype=np.float64)
        mask = np.asarray(convert_to_numpy(output["mask"])) > 0
        values = np.asarray(convert_to_numpy(output["probability"]), dtype=np.float32)
        check_finite(name, values)
        original = source if is_nifti(source) else None
        shape = native.shape[1:] if original is None else _shape(original, tuple(native.shape[1:]))
        arrays = {f"{name}_seg.nii.gz": self.labels_of(item).from_regions(mask, self.regions)}
        if self.probabilities:
            arrays |= {f"{name}_probability_{r}.nii.gz": np.clip(values[i], 0, 1) for i, r in enumerate(self.regions)}
        for relative, array in arrays.items():
            self._put(relative, nifti_bytes(np.ascontiguousarray(array).reshape(shape), affine, original))
        overlay = f"{name}_overlay.png"
        picture = np.asarray(convert_to_numpy(native[self.channel]), dtype=np.float32)
        sheet = with_notice(self._sheet(picture, mask, affine), self.notice(name) if self.notice is not None else "")
        write_atomic(output_path(self.output_dir, overlay), lambda path: imsave(path, sheet, check_contrast=False))
        return name, [*arrays, overlay]

    def measured(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
        """The volume of each region in millilitres."""
        mask = np.asarray(convert_to_numpy(output["mask"])) > 0
        affine = np.asarray(convert_to_numpy(item[self.native_key].affine), dtype=np.float64)
        return {"volume_ml": volumes_ml(dict(zip(self.regions, mask, strict=True)), affine)}

    def _put(self, relative: str, data: bytes) -> None:
        write_atomic(output_path(self.output_dir, relative), lambda path: path.write_bytes(data))

    def _sheet(self, picture: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        # thick slices are looked at as they were taken, others from below
        along = int(np.argmax(spacing)) if spacing.max() > 1.5 * spacing.min() else "axial"
        geometry = spatial_geometry("nifti", picture.shape, affine, along)
        regions = {name: geometry.to_slices(own) for name, own in zip(self.regions, mask, strict=True)}
        modality = self.modalities[self.channel] if self.modalities else ""
        return region_sheet(geometry.to_slices(picture), regions, modality=modality)


def _own_labels(labels: Sequence[int]) -> BratsLabels:
    numbers = {int(value) for value in labels}
    if len(labels) != 3 or len(numbers) != 3 or not numbers <= set(range(1, 256)):
        raise ValueError(
            "labels must be three different numbers from 1 to 255, for core, oedema and enhancing tumour; got "
            f"{list(labels)}."
        )
    ncr, ed, et = (int(value) for value in labels)
    return BratsLabels("own", ncr, ed, et)


def _shape(original: Path, found: tuple[int, ...]) -> tuple[int, ...]:
    """The file's own shape where that has a fourth axis of one volume."""
    shape = read_volume_header(original).shape
    return shape if np.prod(shape) == np.prod(found) else found
