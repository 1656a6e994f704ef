"""A magnetic resonance series as a scanner sends it: every attribute that the standard demands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

__all__ = ["write_enhanced_mr", "write_mr_series"]


def write_mr_series(
    folder: Path,
    volume: np.ndarray,
    spacing: Sequence[float] = (0.8, 0.9, 3.0),
    origin: Sequence[float] = (-10.0, 20.0, 30.0),
    direction: np.ndarray | None = None,
    study: str | None = None,
    patient: str = "P1",
    name: str = "Doe^Jane",
    description: str = "t1 tse tra KM",
    number: int = 4,
    heights: Sequence[float] | None = None,
) -> list[Path]:
    """Write int16 (columns, rows, slices) as one file a slice; LPS geometry; returns the files in order."""
    matrix = np.eye(3) if direction is None else np.asarray(direction, dtype=float)
    folder.mkdir(parents=True, exist_ok=True)
    key = f"{folder.name} {patient} {number}"
    study = study or generate_uid(entropy_srcs=[key, "study"])
    series = generate_uid(entropy_srcs=[key, "series"])
    frame = generate_uid(entropy_srcs=[key, "frame"])
    files = []
    for index in range(volume.shape[2]):
        height = spacing[2] * index if heights is None else heights[index]
        position = np.asarray(origin) + matrix[:, 2] * height
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[key, str(index)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(str(folder), {}, file_meta=meta, preamble=b"\0" * 128)
        _patient_and_study(image, study, patient, name)
        image.SOPClassUID = MRImageStorage
        image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        image.Modality = "MR"
        image.SeriesInstanceUID = series
        image.SeriesNumber = number
        image.SeriesDescription = description
        image.Laterality = ""
        image.PatientPosition = "HFS"
        image.Manufacturer = "Maker"
        image.FrameOfReferenceUID = frame
        image.PositionReferenceIndicator = ""
        image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        image.InstanceNumber = index + 1
        image.AcquisitionNumber = 1
        image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "SE", "SK", ""
        image.MRAcquisitionType = "2D"
        image.RepetitionTime, image.EchoTime, image.EchoTrainLength = "500", "12", "1"
        image.ImagePositionPatient = [f"{value:.6f}" for value in position]
        image.ImageOrientationPatient = [f"{value:.8f}" for value in (*matrix[:, 0], *matrix[:, 1])]
        image.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
        image.SliceThickness = f"{spacing[2]:.6f}"
        image.SpacingBetweenSlices = f"{spacing[2]:.6f}"
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = volume.shape[1], volume.shape[0]
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.PixelData = np.ascontiguousarray(volume[:, :, index].T, dtype="<i2").tobytes()
        path = folder / f"IM{index:04d}"
        image.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def _patient_and_study(image: Dataset, study: str, patient: str, name: str) -> None:
    image.PatientName, image.PatientID = name, patient
    image.PatientBirthDate, image.PatientSex = "19700101", "F"
    image.StudyInstanceUID, image.StudyID = study, "1"
    image.StudyDate, image.StudyTime = "20260102", "101112"
    image.AccessionNumber, image.ReferringPhysicianName = "", ""


def write_enhanced_mr(
    path: Path,
    volume: np.ndarray,
    spacing: Sequence[float] = (0.8, 0.9, 3.0),
    origin: Sequence[float] = (-10.0, 20.0, 30.0),
    order: Sequence[int] | None = None,
) -> Path:
    """Write int16 (columns, rows, slices) as one multi-frame file, the frames in an order of their own."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    _patient_and_study(image, generate_uid(entropy_srcs=[path.name, "study"]), "P1", "Doe^Jane")
    image.SOPClassUID, image.SOPInstanceUID = EnhancedMRImageStorage, meta.MediaStorageSOPInstanceUID
    image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 5, 1
    image.SeriesInstanceUID = generate_uid(entropy_srcs=[path.name, "series"])
    image.FrameOfReferenceUID = generate_uid(entropy_srcs=[path.name, "frame"])
    image.PositionReferenceIndicator = ""
    image.Manufacturer, image.ImageType = "Maker", ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    order = list(order or range(volume.shape[2]))
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
    measures.SliceThickness = measures.SpacingBetweenSlices = f"{spacing[2]:.6f}"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    image.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for index in order:
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = [*origin[:2], origin[2] + spacing[2] * index]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    image.PerFrameFunctionalGroupsSequence = frames
    image.NumberOfFrames, image.Rows, image.Columns = len(order), volume.shape[1], volume.shape[0]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    pixels = [volume[:, :, index].T for index in order]
    image.PixelData = np.ascontiguousarray(pixels, dtype="<i2").tobytes()
    image.save_as(path, enforce_file_format=True)
    return path
