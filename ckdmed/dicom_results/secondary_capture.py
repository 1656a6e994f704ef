"""Pictures of the slices with the masks' outlines, for archives that cannot show a segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from highdicom import CoordinateSystemNames, PhotometricInterpretationValues
from highdicom.sc import SCImage
from PIL import Image, ImageDraw
from pydicom import Dataset

from ckdmed.data.dicom_series import read_dicom_volume
from ckdmed.dicom_results.algorithm import MANUFACTURER, Algorithm
from ckdmed.dicom_results.notices import full_notice, short_notice
from ckdmed.dicom_results.results_series import (
    CAPTURE_SERIES,
    content_hash,
    quiet_highdicom,
    series_number,
    stamp,
)
from ckdmed.dicom_results.segmentation import Masks, checked_masks
from ckdmed.dicom_results.source_series import SourceSeries
from ckdmed.reports.overlay import draw_overlay, draw_regions

__all__ = ["build_captures"]

# Above the picture, so that no part of the image is hidden; pixels.
_BAR = 14
_OF_COMPRESSION = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def build_captures(
    source: SourceSeries,
    series_files: Sequence[str | Path],
    mask: Masks,
    algorithm: Algorithm,
    unintended: Sequence[str] | None = None,
) -> Iterator[SCImage]:
    """A picture of each slice as it is stored, in their order, the mark above it.

    Text that is burned into an image is in its picture as well, and what a lossy compression took is missing there: a
    picture says of both what its image says.

    Args, Raises: as `ckdmed.dicom_results.write_segmentation`.
    """
    masks = checked_masks(source, mask)
    volume, _ = read_dicom_volume(series_files)
    made_of = (*source.identity, content_hash(masks), full_notice(unintended))
    series = algorithm.uid("capture series", *made_of)
    first = source.first
    for index in range(source.shape[2]):
        layers = {name: values[:, :, index].T for name, values in masks.items()}
        picture = volume[:, :, index].T
        drawn = (
            draw_overlay(picture, next(iter(layers.values()))) if len(layers) == 1 else draw_regions(picture, layers)
        )
        with quiet_highdicom():
            capture = SCImage(
                pixel_array=np.concatenate([_bar(drawn.shape[1], short_notice(unintended)), drawn]),
                photometric_interpretation=PhotometricInterpretationValues.RGB,
                bits_allocated=8,
                coordinate_system=CoordinateSystemNames.PATIENT,
                study_instance_uid=first.StudyInstanceUID,
                series_instance_uid=series,
                series_number=series_number(source, CAPTURE_SERIES),
                sop_instance_uid=algorithm.uid("capture", str(index), *made_of),
                instance_number=index + 1,
                manufacturer=MANUFACTURER,
                specific_character_set=first.SpecificCharacterSet,
                patient_id=first.PatientID,
                patient_name=first.PatientName,
                patient_birth_date=first.PatientBirthDate,
                patient_sex=first.PatientSex or None,
                accession_number=first.AccessionNumber,
                study_id=first.StudyID,
                study_date=first.StudyDate or None,
                study_time=first.StudyTime or None,
                referring_physician_name=first.ReferringPhysicianName,
                patient_orientation=_orientation(source.grid.headers[0].matrix),
                series_description=f"ckdmed pictures - {short_notice(unintended)}",
                manufacturer_model_name=algorithm.name,
                software_versions=algorithm.version,
                device_serial_number=algorithm.weights or "none",
            )
        capture.ImageComments = full_notice(unintended)
        _inherit_of_pixels(capture, source.place(index)[0])
        capture.BodyPartExamined = "BRAIN"
        stamp(capture)
        yield capture


def _inherit_of_pixels(capture: SCImage, image: Dataset) -> None:
    """What an image says of its pixels and is as true of their picture; where it says nothing, nobody knows."""
    burned_in = str(image.get("BurnedInAnnotation", "")).strip().upper()
    if burned_in in ("YES", "NO"):
        capture.BurnedInAnnotation = burned_in
    if str(image.get("LossyImageCompression", "")).strip() == "01":
        for keyword in _OF_COMPRESSION:
            if keyword in image:
                setattr(capture, keyword, image[keyword].value)


def _orientation(matrix: np.ndarray) -> tuple[str, str]:
    """The ends of the body to which rows, then columns, run: of LPS directions, the columns of (3, 3)."""
    letters = []
    for direction in (matrix[:, 0], matrix[:, 1]):
        axis = int(np.abs(direction).argmax())
        letters.append(("LR", "PA", "HF")[axis][int(direction[axis] < 0)])
    return letters[0], letters[1]


def _bar(width: int, text: str) -> np.ndarray:
    """A black bar (rows, width, 3) with the text, shortened to what fits."""
    bar = Image.new("RGB", (width, _BAR))
    ImageDraw.Draw(bar).text((2, 1), text, fill=(255, 200, 60))
    return np.asarray(bar)
