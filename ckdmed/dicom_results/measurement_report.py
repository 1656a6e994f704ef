"""A structured report (TID 1500) of a segmentation: volume, and the largest diameter with its perpendicular."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    CoordinatesForMeasurement,
    EnhancedSR,
    FindingSite,
    GraphicTypeValues,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ReferencedSegment,
    SourceImageForRegion,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes

from ckdmed.dicom_results.algorithm import Algorithm
from ckdmed.dicom_results.codes import BRAIN, region_terms
from ckdmed.dicom_results.notices import full_notice, short_notice
from ckdmed.dicom_results.report_parts import add_notice, finished_report, library_images, observation_context
from ckdmed.dicom_results.results_series import (
    REPORT_SERIES,
    content_hash,
    quiet_highdicom,
    series_number,
    write_dataset,
)
from ckdmed.dicom_results.segmentation import Masks, build_segmentation, checked_masks, tracking_uid
from ckdmed.dicom_results.source_series import SourceSeries, read_source_series
from ckdmed.metrics.tumour_size import Diameter, TumourSize, tumour_size

__all__ = ["build_report", "write_report"]


def write_report(
    series_files: Sequence[str | Path],
    mask: Masks,
    output: str | Path,
    *,
    algorithm: Algorithm,
    unintended: Sequence[str] | None = None,
) -> Path:
    """Write the measurements of a mask as a structured report.

    It refers to the segmentation that `ckdmed.dicom_results.write_segmentation` writes of the same arguments.

    Args, Raises: as `ckdmed.dicom_results.write_segmentation`.
    """
    source = read_source_series(series_files)
    segmentation = build_segmentation(source, mask, algorithm, unintended)
    return write_dataset(build_report(source, mask, segmentation, algorithm, unintended), output)


@quiet_highdicom()
def build_report(
    source: SourceSeries,
    mask: Masks,
    segmentation: Segmentation,
    algorithm: Algorithm,
    unintended: Sequence[str] | None = None,
) -> EnhancedSR:
    """As `write_report`, of a segmentation that was built already."""
    masks = checked_masks(source, mask)
    notice = full_notice(unintended)
    made_of = (*source.identity, content_hash(masks), notice)
    sizes = {name: tumour_size(values, source.spacing_mm) for name, values in masks.items()}
    shown = {size.slice for size in sizes.values() if size.slice is not None}
    groups = [
        group
        for number, name in enumerate(masks, start=1)
        for group in _groups(source, segmentation, number, name, sizes[name], algorithm)
    ]
    content = MeasurementReport(
        observation_context=observation_context(source, algorithm),
        procedure_reported=codes.LN.BrainMRI,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        # those that lines are drawn on; the evidence below lists all, and a library of a thousand takes minutes
        referenced_images=library_images(source, sorted(shown)),
    )
    add_notice(content[0], notice)
    return finished_report(
        content[0],
        evidence=[segmentation, *source.images],
        algorithm=algorithm,
        uids=(algorithm.uid("report series", *made_of), algorithm.uid("report", *made_of)),
        number=series_number(source, REPORT_SERIES),
        description=f"ckdmed measurements - {short_notice(unintended)}",
    )


def _groups(
    source: SourceSeries,
    segmentation: Segmentation,
    number: int,
    region: str,
    size: TumourSize,
    algorithm: Algorithm,
) -> list[Any]:
    """The volume of a segment, and the diameters with the lines that they were measured along.

    Two groups, of one tracking identifier: that of a segment (TID 1411) must not refer to lines, that of any
    measurements (TID 1501) can.
    """
    terms = region_terms(region)
    shared: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(tracking_uid(source, algorithm, region), terms.label),
        "finding_category": terms.category,
        "finding_type": terms.type,
        "finding_sites": [FindingSite(BRAIN)],
        "algorithm_id": AlgorithmIdentification(
            name=algorithm.name,
            version=algorithm.version,
            parameters=[f"{name}={value}" for name, value in algorithm.parameters.items()] or None,
        ),
    }
    volume = Measurement(codes.SCT.Volume, _rounded(size.volume_ml), CodedConcept("mL", "UCUM", "mL"))
    groups: list[Any] = [
        VolumetricROIMeasurementsAndQualitativeEvaluations(
            # ReferencedSegment.from_segmentation fails on a segmentation of one segment
            referenced_segment=ReferencedSegment(
                sop_class_uid=segmentation.SOPClassUID,
                sop_instance_uid=segmentation.SOPInstanceUID,
                segment_number=number,
                source_series=SourceSeriesForSegmentation(str(source.first.SeriesInstanceUID)),
            ),
            measurements=[volume],
            **shared,
        )
    ]
    if size.slice is not None and size.longest is not None and size.perpendicular is not None:
        lines = [
            _line(source, codes.SCT.LongAxis, size.longest, size.slice),
            _line(source, codes.SCT.ShortAxis, size.perpendicular, size.slice),
        ]
        groups.append(MeasurementsAndQualitativeEvaluations(measurements=lines, **shared))
    return groups


def _line(source: SourceSeries, name: CodedConcept, diameter: Diameter, index: int) -> Measurement:
    image, frame = source.place(index)
    # DICOM counts from the upper left corner of the first pixel
    ends = np.array(diameter.ends) + 0.5
    return Measurement(
        name,
        _rounded(diameter.length_mm),
        codes.UCUM.Millimeter,
        referenced_coordinates=[
            CoordinatesForMeasurement(
                GraphicTypeValues.POLYLINE,
                ends,
                SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID, None if frame is None else [frame]),
            )
        ],
    )


def _rounded(value: float) -> float:
    """To a thousandth: what is beyond says nothing, and DICOM has 16 letters for a number."""
    return round(value, 3)
