"""What structured reports share: who observed, the mark of their limits, and what a report says of itself."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from ckdmed.dicom_results.algorithm import MANUFACTURER, Algorithm
from ckdmed.dicom_results.results_series import stamp
from ckdmed.dicom_results.source_series import SourceSeries

__all__ = ["add_notice", "finished_report", "library_images", "observation_context"]


def observation_context(source: SourceSeries, algorithm: Algorithm) -> ObservationContext:
    """The observer is a program."""
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=algorithm.uid("device"),
                name=algorithm.name,
                manufacturer_name=MANUFACTURER,
                model_name=algorithm.name,
            ),
        )
    )


def library_images(source: SourceSeries, slices: Sequence[int]) -> list[Dataset] | None:
    """The images of some slices for a report's image library.

    None for an enhanced file: highdicom describes the images of a library by attributes that such a file has for each
    frame alone. The evidence refers to it all the same.
    """
    return None if source.enhanced else [source.images[index] for index in slices] or None


def add_notice(root: Dataset, notice: str) -> None:
    """Put the mark into a report's root, where viewers show it with the measurements."""
    root.ContentSequence.append(
        TextContentItem(codes.DCM.Comment, notice, relationship_type=RelationshipTypeValues.CONTAINS)
    )


def finished_report(
    root: Dataset,
    evidence: Sequence[Dataset],
    algorithm: Algorithm,
    uids: tuple[str, str],
    number: int,
    description: str,
) -> EnhancedSR:
    """A report of a finished content: complete, preliminary and unverified, for nobody has looked at it.

    Args:
        root: of the content tree.
        evidence: all that it refers to.
        algorithm: whose it is.
        uids: of its series and of itself.
        number, description: of its series.
    """
    report = EnhancedSR(
        evidence=list(evidence),
        content=root,
        series_instance_uid=uids[0],
        series_number=number,
        sop_instance_uid=uids[1],
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=description,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.weights or "none",
    )
    stamp(report)
    return report
