"""A mask as a DICOM Segmentation that refers to the images of its series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom
import numpy as np
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.sr.codedict import codes

from ckdmed.dicom_results.algorithm import MANUFACTURER, Algorithm
from ckdmed.dicom_results.codes import BRAIN, region_terms
from ckdmed.dicom_results.notices import full_notice, short_notice
from ckdmed.dicom_results.results_series import (
    SEGMENTATION_SERIES,
    content_hash,
    quiet_highdicom,
    series_number,
    stamp,
    write_dataset,
)
from ckdmed.dicom_results.source_series import SourceSeries, read_source_series

__all__ = ["build_segmentation", "checked_masks", "tracking_uid", "write_segmentation"]

Masks = np.ndarray | Mapping[str, np.ndarray]
# A fraction is stored in 8 bits.
_MOST = 255


def write_segmentation(
    series_files: Sequence[str | Path],
    mask: Masks,
    output: str | Path,
    *,
    algorithm: Algorithm,
    unintended: Sequence[str] | None = None,
    fractional: bool = False,
) -> Path:
    """Write a mask as a DICOM Segmentation.

    Args:
        series_files: the series that the mask is of, in any order.
        mask: on the series' own grid, (columns, rows, slices), the layout of
            `ckdmed.data.dicom_series.read_dicom_volume`; or region to mask, each a segment. What is not 0 is inside.
        output: the file.
        algorithm: who made it.
        unintended: reasons why the input is not what the network was made for; none (an empty list), or not checked
            (None). They stand in the result.
        fractional: the masks are probabilities, and stored as such in 256 steps.

    Raises:
        ValueError: a mask of another shape; values that are not finite, or outside of 0 to 1 when fractional.
        DicomFileError: the series cannot be referred to; see `ckdmed.dicom_results.source_series`.
    """
    source = read_source_series(series_files)
    return write_dataset(build_segmentation(source, mask, algorithm, unintended, fractional), output)


@quiet_highdicom()
def build_segmentation(
    source: SourceSeries,
    mask: Masks,
    algorithm: Algorithm,
    unintended: Sequence[str] | None = None,
    fractional: bool = False,
) -> Segmentation:
    """As `write_segmentation`, without writing it."""
    masks = checked_masks(source, mask, fractional)
    notice = full_notice(unintended)
    kind = "probability" if fractional else "mask"
    made_of = (*source.identity, content_hash(masks), notice)
    frames = [source.frames(values) for values in masks.values()]
    # A segmentation without a frame is not allowed: where nothing is marked, its empty frames are what says so.
    nothing = not any(values.any() for values in masks.values())
    segmentation = Segmentation(
        source_images=list(source.images),
        pixel_array=frames[0][..., None] if len(frames) == 1 else np.stack(frames, axis=-1),
        segmentation_type=SegmentationTypeValues.FRACTIONAL if fractional else SegmentationTypeValues.BINARY,
        fractional_type=SegmentationFractionalTypeValues.PROBABILITY,
        max_fractional_value=_MOST,
        segment_descriptions=[
            _description(number, name, source, algorithm, notice) for number, name in enumerate(masks, start=1)
        ],
        series_instance_uid=algorithm.uid(f"{kind} series", *made_of),
        series_number=series_number(source, SEGMENTATION_SERIES + fractional),
        sop_instance_uid=algorithm.uid(kind, *made_of),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.weights or "none",
        content_label="PROBABILITY" if fractional else "TUMOUR",
        content_description=f"{kind.capitalize()}: {short_notice(unintended)}",
        omit_empty_frames=not nothing,
        series_description=f"ckdmed {kind} - {short_notice(unintended)}",
    )
    stamp(segmentation)
    return segmentation


def checked_masks(source: SourceSeries, mask: Masks, fractional: bool = False) -> dict[str, np.ndarray]:
    """Region to mask (columns, rows, slices): uint8 of 0 and 1, or float32 from 0 to 1.

    Raises:
        ValueError: see `write_segmentation`.
    """
    given = dict(mask) if isinstance(mask, Mapping) else {"tumour": mask}
    if not given:
        raise ValueError("a segmentation needs at least one region, got none.")
    checked: dict[str, np.ndarray] = {}
    for name, values in given.items():
        array = np.asarray(values)
        if array.shape != source.shape:
            raise ValueError(
                f"the mask of {name} has the shape {array.shape}, and the series is of {source.shape} (columns, rows, "
                "slices); map it back to the series' own grid first."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"the mask of {name} holds {np.count_nonzero(~np.isfinite(array))} values that are not finite."
            )
        if fractional and (array.min() < 0 or array.max() > 1):
            raise ValueError(
                f"probabilities of {name} run from {array.min():g} to {array.max():g}; they must lie between 0 and 1."
            )
        checked[name] = array.astype(np.float32, copy=False) if fractional else _as_mask(array)
    return checked


def _as_mask(array: np.ndarray) -> np.ndarray:
    """uint8 of 0 and 1; the array itself where it is that already, for a large series has large masks."""
    if array.dtype == np.uint8 and array.max(initial=0) <= 1:
        return array
    return (array if array.dtype == bool else array != 0).view(np.uint8)


def tracking_uid(source: SourceSeries, algorithm: Algorithm, region: str) -> str:
    """By which a region's segment and its measurements are known to be of one thing."""
    return algorithm.uid("tracking", region, *source.identity)


def _description(
    number: int, region: str, source: SourceSeries, algorithm: Algorithm, notice: str
) -> SegmentDescription:
    terms = region_terms(region)
    described = SegmentDescription(
        segment_number=number,
        segment_label=terms.label,
        segmented_property_category=terms.category,
        segmented_property_type=terms.type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=codes.cid7162.ArtificialIntelligence,
            version=algorithm.version,
            source=MANUFACTURER,
            parameters=algorithm.parameters or None,
        ),
        tracking_uid=tracking_uid(source, algorithm, region),
        tracking_id=f"{terms.label} of {algorithm.name}"[:64],
        anatomic_regions=[BRAIN],
        display_color=highdicom.color.CIELabColor(*terms.colour),
    )
    # of up to 1024 letters, the only place of a segment that holds a sentence
    described.SegmentDescription = notice[:1024]
    return described
