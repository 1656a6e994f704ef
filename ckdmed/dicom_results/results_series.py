"""What all results share: the numbers of their series, their names by content, and how they are written."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom import Dataset

from ckdmed.atomic_files import write_atomic
from ckdmed.dicom_results.source_series import SourceSeries

__all__ = [
    "CAPTURE_SERIES",
    "CLASSIFICATION_SERIES",
    "REPORT_SERIES",
    "SEGMENTATION_SERIES",
    "content_hash",
    "series_number",
    "stamp",
    "quiet_highdicom",
    "write_dataset",
]

# The last two digits of the numbers of results' series; the digits before are the source's.
SEGMENTATION_SERIES, REPORT_SERIES, CAPTURE_SERIES, CLASSIFICATION_SERIES = 91, 93, 95, 97
_LARGEST_NUMBER = 2**31 - 1


def series_number(source: SourceSeries, kind: int) -> int:
    """The source's number with two digits more: 401 becomes 40191."""
    return (source.number * 100 + kind) % _LARGEST_NUMBER


def content_hash(masks: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of regions and their masks."""
    digest = hashlib.sha256()
    for name, values in masks.items():
        digest.update(f"{name} {values.dtype} {values.shape} ".encode())
        # part by part, for a copy of a large series' probabilities takes a quarter of a GiB
        for part in values:
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


@contextmanager
def quiet_highdicom() -> Iterator[None]:
    """Leave out highdicom's warnings about the form of a person's name, which show it, and its account of each copy."""
    log = logging.getLogger("highdicom")
    level = log.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The string .* is unlikely to represent the intended person name")
        log.setLevel(max(level, logging.WARNING))
        try:
            yield
        finally:
            log.setLevel(level)


def stamp(result: Dataset) -> None:
    """Mark a result as research for machines too."""
    result.ContentQualification = "RESEARCH"


def write_dataset(dataset: Dataset, output: str | Path) -> Path:
    """Write a result, whole or not at all."""
    return write_atomic(output, lambda path: dataset.save_as(path, enforce_file_format=True))
