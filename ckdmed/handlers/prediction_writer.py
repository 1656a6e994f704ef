"""Writing segmentations in the geometry of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import CommonKeys, convert_to_numpy
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ckdmed.data.nifti_bytes import nifti_bytes
from ckdmed.data.output_names import input_stem
from ckdmed.data.slice_geometry import SliceGeometry
from ckdmed.data.slice_reader import GEOMETRY_KEY
from ckdmed.files import write_atomic
from ckdmed.handlers.item_writer import ItemWriter, check_finite
from ckdmed.metrics.region_volumes import volumes_ml
from ckdmed.paths import output_path
from ckdmed.reports.overlay import overlay_sheet, region_sheet
from ckdmed.reports.sheet_captions import with_notice
from ckdmed.research_use import RESEARCH_USE_ONLY

__all__ = ["PredictionWriter"]


class PredictionWriter(ItemWriter):
    """Write mask, probability and overlay of each item, each file whole or not at all.

    ========  ========================================  ===================================================
    input     ``NAME_mask``, ``NAME_probability``       values
    ========  ========================================  ===================================================
    NIfTI     ``.nii.gz`` of the same shape and affine  uint8 0 and 1, float32 0 to 1
    DICOM     ``.nii.gz`` (columns, rows, slices) with  the same
              the series' geometry (LPS to RAS)
    others    ``.png`` of the same size                 0 and 255 in 8 bits, 0 to 65535 for 0 to 1 in 16 bits
    ========  ========================================  ===================================================

    ``NAME_overlay.png`` is of the input's size, with a line of words below it that marks the result as one for research
    only and warns where the input is not one that the network was made for; of a volume it is a sheet of up to twelve
    slices. The mark stands in the text of the other files too. With several regions
    each has files of its own, ``NAME_REGION_mask`` and ``NAME_REGION_probability``, and the overlay shows all of them.

    Attach to an evaluator with decollated batches whose items hold ``slices_key``, slices (S, H, W) as
    :class:`~ckdmed.data.slice_reader.SliceReader` read them, and, from the postprocessing, ``pred`` (0 and 1) and
    ``probability`` of the same shape (with several regions: (R, S, H, W)).

    Args:
        output_dir: nothing is written outside of it.
        slices_key: of the slices as they were read, with their metadata.
        done: called with an item's name and its files, relative to `output_dir`, when all of them are in place.
        regions: names of the channels of the prediction.
        notice: gives, by an item's name, the warning for its overlay, "" for none.

    Raises:
        ValueError: when called, if the prediction has another number of channels than there are regions, or if a name
            leads out of the folder (through a link that stands in it).
    """

    def __init__(
        self,
        output_dir: str,
        slices_key: str = "slices",
        done: Callable[..., None] | None = None,
        regions: Sequence[str] = ("tumour",),
        notice: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(output_dir, done)
        self.slices_key = slices_key
        self.regions = list(regions)
        self.notice = notice

    def write_files(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Write one item; returns its name, and the names of its files relative to the output folder."""
        slices = item[self.slices_key]
        geometry = SliceGeometry.from_text(slices.meta[GEOMETRY_KEY])
        source = Path(str(slices.meta["filename_or_obj"]))
        name = str(item.get("name") or input_stem(source.name))
        masks = self._by_region(name, _array(output[CommonKeys.PRED]) > 0)
        probabilities = self._by_region(name, _array(output["probability"]))
        for values in probabilities.values():
            check_finite(name, values)
        volume = geometry.kind in ("nifti", "dicom")
        suffix = ".nii.gz" if volume else ".png"
        original = source if geometry.kind == "nifti" else None
        results: dict[str, tuple[np.ndarray, type]] = {}
        for region, mask in masks.items():
            stem = name if len(masks) == 1 else f"{name}_{region}"
            results[f"{stem}_mask{suffix}"] = (mask if volume else mask * 255, np.uint8)
            results[f"{stem}_probability{suffix}"] = _probability(probabilities[region], volume)
        for relative, (values, dtype) in results.items():
            array: np.ndarray = np.ascontiguousarray(geometry.to_array(values), dtype=dtype)
            data = nifti_bytes(array, np.array(geometry.affine), original) if volume else None
            write_atomic(output_path(self.output_dir, relative), _writer(array, data))
        shown = _array(slices)
        sheet = region_sheet(shown, masks) if len(masks) > 1 else overlay_sheet(shown, masks[self.regions[0]])
        overlay = f"{name}_overlay.png"
        marked = with_notice(sheet, self.notice(name) if self.notice is not None else "")
        write_atomic(output_path(self.output_dir, overlay), _writer(marked, None))
        return name, [*results, overlay]

    def measured(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
        """The volume of each region in millilitres, of inputs whose voxels have a size."""
        geometry = SliceGeometry.from_text(item[self.slices_key].meta[GEOMETRY_KEY])
        # of an array of two axes no header tells how thick the slice is
        if geometry.kind not in ("nifti", "dicom") or len(geometry.shape) < 3:
            return {}
        masks = self._by_region(str(item.get("name")), _array(output[CommonKeys.PRED]) > 0)
        return {"volume_ml": volumes_ml(masks, np.array(geometry.affine))}

    def _by_region(self, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        channels = values[None] if values.ndim == 3 else values
        if len(channels) != len(self.regions):
            raise ValueError(
                f"{name}: the prediction has {len(channels)} channels, but the regions are {self.regions}."
            )
        return dict(zip(self.regions, channels, strict=True))


def _array(value: Any) -> np.ndarray:
    return np.asarray(convert_to_numpy(value))


def _probability(values: np.ndarray, volume: bool) -> tuple[np.ndarray, type]:
    clipped = np.clip(values, 0, 1)
    return (clipped, np.float32) if volume else (np.round(clipped * 65535), np.uint16)


def _writer(array: np.ndarray, data: bytes | None) -> Callable[[Path], None]:
    about = PngInfo()
    about.add_text("Comment", RESEARCH_USE_ONLY)

    def write(path: Path) -> None:
        if data is None:
            Image.fromarray(array).save(path, pnginfo=about)
        else:
            path.write_bytes(data)

    return write
