"""What structured reports share: who observed, and the mark of their limits."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    DeviceObserverIdentifyingAttributes,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from ckdmed.dicom_results.algorithm import MANUFACTURER, Algorithm
from ckdmed.dicom_results.source_series import SourceSeries

__all__ = ["add_notice", "library_images", "observation_context"]


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
