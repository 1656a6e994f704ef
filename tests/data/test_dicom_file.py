"""DICOM of strangers: enhanced files, what is no image, claims that the file cannot hold, and pydicom's own files."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_files
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from ckdmed.data.dicom_file import DicomFileError, dicom_images, open_dicom
from ckdmed.data.dicom_pixels import read_frames
from ckdmed.data.dicom_series import dicom_stacks, read_dicom_volume
from ckdmed.data.image_files import find_inputs
from ckdmed.data.volume_reader import dicom_files
from tests.data.dicom_phantom import write_series

FRAMES = np.arange(4 * 5 * 6, dtype="<u2").reshape(4, 5, 6)
POSITIONS = [(-20.0, -25.0, 10.0 + 4 * k) for k in range(4)]
STORAGE = "1.2.840.10008.5.1.4.1.1."


def described(storage: str, frames: np.ndarray) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = storage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.SeriesInstanceUID, data.SeriesNumber = "1.2.4", 1
    data.Rows, data.Columns = frames.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = frames.tobytes()
    return data


def group(sequence: str, **values: object) -> Dataset:
    inside, outside = Dataset(), Dataset()
    for keyword, value in values.items():
        setattr(inside, keyword, value)
    setattr(outside, sequence, [inside])
    return outside


def enhanced(path: Path, order: Sequence[int], positions: Sequence = POSITIONS, slopes: Sequence | None = None) -> Path:
    """The frames of FRAMES at their positions, stored in any order."""
    data = described(EnhancedMRImageStorage, FRAMES[[k % 4 for k in order]])
    data.NumberOfFrames = len(order)
    shared = group("PixelMeasuresSequence", PixelSpacing=[0.9, 1.2], SliceThickness=3, SpacingBetweenSlices=4)
    shared.update(group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = []
    for k in order:
        frame = group("PlanePositionSequence", ImagePositionPatient=list(positions[k]))
        if slopes:
            frame.update(
                group("PixelValueTransformationSequence", RescaleSlope=slopes[k], RescaleIntercept=1, RescaleType="US")
            )
        data.PerFrameFunctionalGroupsSequence.append(frame)
    data.save_as(path, enforce_file_format=True)
    return path


def classic(path: Path, change: Callable[[Dataset], None] | None = None) -> Path:
    data = described(MRImageStorage, FRAMES[0])
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.9, 1.2], 3
    if change is not None:
        change(data)
    data.save_as(path, enforce_file_format=True)
    return path


def test_frames_go_where_their_positions_say(tmp_path):
    volume, affine = read_dicom_volume([enhanced(tmp_path / "a.dcm", [0, 2, 1, 3])])
    assert np.array_equal(volume, FRAMES.transpose(2, 1, 0))
    assert np.array_equal(affine, [[-1.2, 0, 0, 20], [0, -0.9, 0, 25], [0, 0, 4, 10], [0, 0, 0, 1]])


def test_each_frame_has_its_own_rescale(tmp_path):
    volume, _ = read_dicom_volume([enhanced(tmp_path / "a.dcm", [3, 2, 1, 0], slopes=[1, 2, 0.5, 4])])
    expected = FRAMES * np.array([1, 2, 0.5, 4])[:, None, None] + 1
    assert np.array_equal(volume, expected.transpose(2, 1, 0))


def test_a_slope_without_an_intercept_counts(tmp_path):
    file = classic(tmp_path / "a.dcm", lambda data: setattr(data, "RescaleSlope", 2.5))
    assert np.array_equal(read_dicom_volume([file])[0][..., 0], 2.5 * FRAMES[0].T)


@pytest.mark.parametrize("slope", [None, 2.5])
def test_an_empty_slope_or_intercept_counts_for_nothing(tmp_path, slope):
    def empty(data: Dataset) -> None:
        data.RescaleSlope, data.RescaleIntercept = slope, None

    file = classic(tmp_path / "a.dcm", empty)
    assert np.array_equal(read_dicom_volume([file])[0][..., 0], (slope or 1) * FRAMES[0].T)


@pytest.mark.parametrize(("bits", "signed", "white"), [(16, 0, 65535), (12, 0, 4095), (16, 1, -1)])
def test_larger_values_are_brighter_however_they_are_stored(tmp_path, bits, signed, white):
    def smallest_is_white(data: Dataset) -> None:
        data.PhotometricInterpretation = "MONOCHROME1"
        data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, signed

    (tmp_path / "b").mkdir()
    plain, turned = classic(tmp_path / "a.dcm"), classic(tmp_path / "b/a.dcm", smallest_is_white)
    assert np.array_equal(read_dicom_volume([turned])[0], white - read_dicom_volume([plain])[0])


def test_frames_with_a_gap_or_of_two_times_are_refused(tmp_path):
    gap = [*POSITIONS[:2], *((x, y, z + 6) for x, y, z in POSITIONS[2:])]
    with pytest.raises(DicomFileError, match=r"gap.dcm: the 4 slices are not evenly.*follows frame 2 of gap.dcm"):
        read_dicom_volume([enhanced(tmp_path / "gap.dcm", range(4), gap)])
    with pytest.raises(DicomFileError, match=r"two.dcm: .* of 8 frames share one position"):
        read_dicom_volume([enhanced(tmp_path / "two.dcm", range(8), [*POSITIONS, *POSITIONS])])


def without(keyword: str) -> Callable[[Dataset], None]:
    return lambda data: delattr(data, keyword)


def with_value(keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda data: setattr(data, keyword, value)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (without("ImagePositionPatient"), "has no ImagePositionPatient"),
        (without("ImageOrientationPatient"), "has no ImageOrientationPatient"),
        (without("PixelSpacing"), "has no PixelSpacing"),
        (without("SliceThickness"), "neither a spacing between slices .* nor a slice thickness"),
        (without("PixelData"), "it has no pixels"),
        (with_value("PixelSpacing", [0, 1]), "each value must be above 0"),
        (with_value("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "two perpendicular directions"),
        (with_value("Rows", 6), "60 bytes of pixels, but the header's 6 rows x 6 columns .* need 72"),
        (with_value("Rows", 4), "60 bytes of pixels, but the header's 4 rows"),
        (with_value("BitsAllocated", 32), "60 bytes of pixels, .* of 32 bits need 120"),
        (with_value("SamplesPerPixel", 3), "60 bytes of pixels, .* of 3 samples .* need 180"),
        (with_value("NumberOfFrames", 2), "60 bytes of pixels, .* x 2 frames .* need 120"),
        (with_value("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "a mosaic"),
        (with_value("SOPClassUID", STORAGE + "66.4"), "holds a segmentation"),
        (with_value("SOPClassUID", STORAGE + "481.2"), "a dose"),
        (with_value("SOPClassUID", STORAGE + "88.33"), "a report"),
    ],
)
def test_what_is_missing_or_impossible_is_refused_by_its_cause(tmp_path, change, cause):
    path = classic(tmp_path / "x.dcm", change)
    with pytest.raises(DicomFileError, match=f"x.dcm: .*{cause}"):
        read_dicom_volume([path])
    stacks, unreadable = dicom_stacks([path])
    assert not stacks and unreadable[0][0] == path


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.100", r"MPEG2 .* \(transfer syntax 1.2.840.10008.1.2.4.100\)"),
        # pydicom 3.0 does not know its name yet, later versions do
        ("1.2.840.10008.1.2.4.110", r"(JPEG XL Lossless \()?transfer syntax 1.2.840.10008.1.2.4.110\)?"),
        ("1.2.840.113619.5.2", "transfer syntax 1.2.840.113619.5.2"),
    ],
)
def test_a_compression_that_is_not_read_is_named_with_the_remedy(tmp_path, syntax, name):
    path = classic(tmp_path / "x.dcm")
    padded = syntax.encode().ljust((len(syntax) + 1) // 2 * 2, b"\0")
    plain = b"\x14\0" + ExplicitVRLittleEndian.encode() + b"\0"
    path.write_bytes(path.read_bytes().replace(plain, struct.pack("<H", len(padded)) + padded, 1))
    with pytest.raises(DicomFileError, match=f"x.dcm: its pixels are stored as {name}, which is not supported; export"):
        read_dicom_volume([path])


def nested(path: Path, depth: int) -> Path:
    content = classic(path).read_bytes()
    at = content.index(b"\x28\x00\x02\x00", 132)
    item = struct.pack("<HH2sHIHHI", 0x20, 0x9111, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    path.write_bytes(content[:at] + item * depth + end * depth + content[at:])
    return path


def test_sequences_without_end_do_not_end_the_process(tmp_path):
    good = classic(tmp_path / "good.dcm")
    bad = nested(tmp_path / "bad.dcm", 30000)
    stacks, unreadable = dicom_stacks([bad, good])
    assert stacks == [((good,), "1")] and "bad.dcm: its sequences are nested too deeply" in unreadable[0][1]
    read_dicom_volume([nested(tmp_path / "fine.dcm", 20)])


def test_claims_are_limited_before_anything_is_decoded(tmp_path, monkeypatch):
    large = classic(
        tmp_path / "large.dcm", lambda data: (setattr(data, "Rows", 20000), setattr(data, "Columns", 20000))
    )
    with pytest.raises(DicomFileError, match="large.dcm: 20000 rows .* CKDMED_MAX_BYTES"):
        read_dicom_volume([large])

    def deflate(data: Dataset) -> None:
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        data.PixelData = bytes(5 << 20)

    bomb = classic(tmp_path / "bomb.dcm", deflate)
    monkeypatch.setenv("CKDMED_MAX_BYTES", str(1 << 20))
    with pytest.raises(DicomFileError, match="bomb.dcm: its decompressed content would take"):
        read_dicom_volume([bomb])
    monkeypatch.setenv("CKDMED_MAX_BYTES", str(1 << 25))
    with pytest.raises(DicomFileError, match="bomb.dcm: truncated or damaged: it has 5242880 bytes"):
        read_dicom_volume([bomb])


def test_a_directory_or_report_beside_a_series_is_no_image(tmp_path):
    files = write_series(tmp_path / "P1" / "t1w", FRAMES.transpose(2, 1, 0))
    directory = tmp_path / "P1" / "DICOMDIR"
    directory.write_bytes(bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0\0\0\0\0")
    report = classic(tmp_path / "P1" / "t1w" / "report.dcm", with_value("SOPClassUID", STORAGE + "88.33"))
    data = dcmread(report)
    data.file_meta.MediaStorageSOPClassUID = STORAGE + "88.33"
    data.save_as(report)
    assert dicom_files(tmp_path / "P1") == [] and dicom_files(tmp_path / "P1" / "t1w") == files
    assert [path for path, _ in dicom_images([directory, report, *files])[1]] == [directory, report]
    found = find_inputs(tmp_path / "P1")
    assert [item.files for item in found.items] == [tuple(files)]
    assert [(entry.path, "a report" in entry.reason) for entry in found.skipped] == [(report, True)]


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_pydicoms_own_files(every: int):
    """No crash, only our own error, and pydicom's pixels wherever both read."""
    equal = 0
    files = [Path(name) for name in get_testdata_files() if Path(name).suffix in (".dcm", "")]
    for path in sorted(path for path in files if path.is_file())[::every]:
        try:
            read_dicom_volume([path])
        except DicomFileError as error:
            assert str(path) in str(error)
        try:
            ours = np.stack(list(read_frames(path, open_dicom(path))))
        except DicomFileError:
            continue
        data = dcmread(path)
        try:
            theirs = pixel_array(data)
        # no plugin for what GDCM decodes, or damaged in a way that only one of them minds
        except Exception:
            continue
        if data.PhotometricInterpretation == "PALETTE COLOR":
            theirs = apply_color_lut(theirs, data)
        if data.PhotometricInterpretation == "MONOCHROME1":
            theirs = (-1 if data.PixelRepresentation else 2**data.BitsStored - 1) - theirs.astype(np.int64)
        if theirs.shape[-1] == 3 and theirs.ndim > 2:
            theirs = theirs @ np.array([0.299, 0.587, 0.114])
        assert np.array_equal(ours, theirs.reshape(ours.shape)), path.name
        equal += 1
    assert equal > 50 // every
