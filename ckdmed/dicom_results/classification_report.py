"""A structured report (TID 1500) of a classification: how probable each class is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from highdicom.sr import (
    AlgorithmIdentification,
    EnhancedSR,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes

from ckdmed.dicom_results.algorithm import Algorithm
from ckdmed.dicom_results.codes import class_terms
from ckdmed.dicom_results.notices import full_notice, short_notice
from ckdmed.dicom_results.report_parts import add_notice, finished_report, library_images, observation_context
from ckdmed.dicom_results.results_series import (
    CLASSIFICATION_SERIES,
    quiet_highdicom,
    series_number,
    write_dataset,
)
from ckdmed.dicom_results.source_series import SourceSeries, read_source_series

__all__ = ["build_classification", "write_classification"]


def write_classification(
    series_files: Sequence[str | Path],
    probabilities: Mapping[str, float],
    output: str | Path,
    *,
    algorithm: Algorithm,
    unintended: Sequence[str] | None = None,
) -> Path:
    """Write how probable each class is, the most probable first.

    Args:
        series_files: the series that was classified, in any order.
        probabilities: class to 0 to 1; of several slices the mean over them.
        output: the file.
        algorithm, unintended: see `ckdmed.dicom_results.write_segmentation`.

    Raises:
        ValueError: no class, or a probability outside of 0 to 1.
        DicomFileError: as `ckdmed.dicom_results.write_segmentation`.
    """
    source = read_source_series(series_files)
    return write_dataset(build_classification(source, probabilities, algorithm, unintended), output)


@quiet_highdicom()
def build_classification(
    source: SourceSeries,
    probabilities: Mapping[str, float],
    algorithm: Algorithm,
    unintended: Sequence[str] | None = None,
) -> EnhancedSR:
    """As `write_classification`, without writing it."""
    if not probabilities or not all(0 <= value <= 1 for value in probabilities.values()):
        raise ValueError(f"a classification must map classes to probabilities from 0 to 1, got {dict(probabilities)}.")
    notice = full_notice(unintended)
    percent = {name: round(100 * float(value), 2) for name, value in probabilities.items()}
    made_of = (*source.identity, json.dumps(percent), notice)
    ranked = sorted(percent, key=lambda name: -probabilities[name])
    content = MeasurementReport(
        observation_context=observation_context(source, algorithm),
        procedure_reported=codes.LN.BrainMRI,
        imaging_measurements=[_group(source, name, percent[name], algorithm) for name in ranked],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=library_images(source, [0]),
    )
    slices = f"The mean over {source.shape[2]} slices. " if source.shape[2] > 1 else ""
    add_notice(content[0], f"Most probable: {ranked[0]} ({percent[ranked[0]]:g} %). {slices}{notice}")
    return finished_report(
        content[0],
        evidence=source.images,
        algorithm=algorithm,
        uids=(algorithm.uid("classification series", *made_of), algorithm.uid("classification", *made_of)),
        number=series_number(source, CLASSIFICATION_SERIES),
        description=f"ckdmed classes - {short_notice(unintended)}",
    )


def _group(
    source: SourceSeries, name: str, percent: float, algorithm: Algorithm
) -> MeasurementsAndQualitativeEvaluations:
    terms = class_terms(name)
    image = source.first
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(algorithm.uid("class", name, *source.identity), name[:64]),
        finding_type=terms.type,
        finding_sites=[FindingSite(terms.site)],
        algorithm_id=AlgorithmIdentification(
            name=algorithm.name,
            version=algorithm.version,
            parameters=[f"{key}={value}" for key, value in algorithm.parameters.items()] or None,
        ),
        measurements=[Measurement(codes.DCM.Probability, percent, codes.UCUM.Percent)],
        source_images=[SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )
