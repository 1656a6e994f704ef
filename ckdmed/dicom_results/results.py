"""All results of one series, written into one folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckdmed.dicom_results.algorithm import Algorithm
from ckdmed.dicom_results.measurement_report import build_report
from ckdmed.dicom_results.results_series import write_dataset
from ckdmed.dicom_results.secondary_capture import build_captures
from ckdmed.dicom_results.segmentation import Masks, build_segmentation
from ckdmed.dicom_results.source_series import read_source_series
from ckdmed.paths import output_path

__all__ = ["DicomResults", "write_results"]


@dataclass(frozen=True)
class DicomResults:
    """The files of a series' results.

    Args:
        segmentation: the masks.
        report: their measurements.
        fractional: the probabilities, if asked for.
        captures: pictures, if asked for.
    """

    segmentation: Path
    report: Path
    fractional: Path | None = None
    captures: tuple[Path, ...] = ()

    @property
    def files(self) -> list[Path]:
        """All of them, what others refer to first."""
        fractional = [] if self.fractional is None else [self.fractional]
        return [self.segmentation, *fractional, self.report, *self.captures]


def write_results(
    series_files: Sequence[str | Path],
    mask: Masks,
    output_dir: str | Path,
    *,
    algorithm: Algorithm,
    unintended: Sequence[str] | None = None,
    probability: Masks | None = None,
    captures: bool = False,
    prefix: str = "",
) -> DicomResults:
    """Write a mask as Segmentation and as structured report; on request its probabilities and secondary captures too.

    The same arguments lead to the same UIDs.

    Args:
        series_files, mask, algorithm, unintended: see `ckdmed.dicom_results.write_segmentation`.
        output_dir: gets ``seg.dcm``, ``sr.dcm``, ``seg_fractional.dcm`` and ``capture_0001.dcm`` and so on.
        probability: of the same regions, 0 to 1; written as a fractional Segmentation.
        captures: whether to write a picture of each slice with the masks' outlines.
        prefix: of the files' names; it may hold folders.

    Raises: as `ckdmed.dicom_results.write_segmentation`.
    """
    source = read_source_series(series_files)
    segmentation = build_segmentation(source, mask, algorithm, unintended)
    report = build_report(source, mask, segmentation, algorithm, unintended)
    fraction = None
    if probability is not None:
        fraction = build_segmentation(source, probability, algorithm, unintended, fractional=True)

    def place(name: str) -> Path:
        return output_path(output_dir, f"{prefix}{name}")

    written = write_dataset(segmentation, place("seg.dcm"))
    fractional = None if fraction is None else write_dataset(fraction, place("seg_fractional.dcm"))
    reported = write_dataset(report, place("sr.dcm"))
    pictures = build_captures(source, series_files, mask, algorithm, unintended) if captures else ()
    shown = tuple(
        write_dataset(picture, place(f"capture_{number:04d}.dcm")) for number, picture in enumerate(pictures, start=1)
    )
    return DicomResults(written, reported, fractional, shown)
