"""DICOM series as volumes: which files belong together, their geometry, and what is refused."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from ckdmed.data.dicom_series import (
    DicomFileError,
    SliceGapWarning,
    dicom_stacks,
    group_series,
    read_dicom_header,
    read_dicom_volume,
    read_series_grid,
)
from tests.data.dicom_phantom import write_series

VOLUME = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4)


def tilted() -> np.ndarray:
    """Columns to the left and up, rows backwards: a rotation by 0.3 about the y axis."""
    c, s = np.cos(0.3), np.sin(0.3)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def test_values_and_geometry(tmp_path):
    files = write_series(tmp_path, VOLUME, direction=tilted())
    volume, affine = read_dicom_volume(files[::-1])
    assert np.array_equal(volume, VOLUME) and volume.dtype == np.float32
    for index in ((0, 0, 0), (5, 0, 0), (0, 4, 0), (2, 3, 3)):
        lps = np.array([-10.0, 20, 30]) + tilted() @ (np.array(index) * [0.8, 0.9, 3.0])
        assert np.allclose((affine @ [*index, 1])[:3], lps * [-1, -1, 1], atol=1e-4)


def test_as_simpleitk_reads_the_real_series(shared_data):
    folder = shared_data / "dicom" / "t1w"
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names)
    volume, affine = read_dicom_volume(sorted(folder.glob("*.dcm")))
    expected = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    assert volume.shape == (274, 384, 48) and np.array_equal(volume, expected)
    for index in ((0, 0, 0), (273, 0, 0), (0, 383, 0), (0, 0, 47), (100, 200, 30)):
        point = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert np.allclose((affine @ [*index, 1])[:3], point, atol=0.02)


def test_series_sizes_and_orientations_are_told_apart(tmp_path):
    first = write_series(tmp_path / "a", VOLUME, uid="1.2.3")
    second = write_series(tmp_path / "b", VOLUME, uid="1.2.4", number=7)
    other_way = write_series(tmp_path / "c", VOLUME, uid="1.2.3", direction=np.eye(3)[:, [1, 2, 0]])
    stacks, unreadable = dicom_stacks([*second, *other_way, *first])
    assert not unreadable
    assert sorted(stacks) == sorted([(tuple(first), "1"), (tuple(second), "7"), (tuple(other_way), "1")])


def test_directions_that_differ_by_rounding_stay_together(tmp_path):
    files = write_series(tmp_path, VOLUME[..., :1], direction=tilted(), names="a{}.dcm")
    c, s = np.cos(0.3001), np.sin(0.3001)
    near = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    files += write_series(tmp_path, VOLUME[..., :1], direction=near, names="b{}.dcm")
    assert [len(group) for group in group_series(map(read_dicom_header, files))] == [2]


def test_damaged_files_are_named(tmp_path):
    files = write_series(tmp_path, VOLUME)
    files[1].write_bytes(files[1].read_bytes()[:-40])
    files[2].write_bytes(b"")
    stacks, unreadable = dicom_stacks(files)
    assert [path for path, _ in unreadable] == files[1:3]
    assert "slice01.dcm: truncated or damaged: it has 20 bytes of pixels" in unreadable[0][1]
    assert "slice02.dcm: the file is empty" in unreadable[1][1]
    assert stacks == [((files[0], files[3]), "1")]


def test_a_missing_slice_is_an_error(tmp_path):
    files = write_series(tmp_path, VOLUME)
    with pytest.raises(DicomFileError, match=r"not evenly spaced \(3.000 to 6.000 mm\).*follows slice00.dcm"):
        read_dicom_volume([files[0], files[2], files[3]])


EIGHT = np.arange(5 * 4 * 8, dtype=np.int16).reshape(5, 4, 8)


@pytest.mark.parametrize(
    ("stated", "instances", "words"),
    [
        ({"SpacingBetweenSlices": 3}, None, r"state 3.000 mm between slices \(0018,0088\), and .* in steps of 2;"),
        ({"SpacingBetweenSlices": -3}, None, r"state 3.000 mm between slices"),
        # the numbers were made anew, or are missing
        ({"SpacingBetweenSlices": 3}, [1, 2, 3, 4], r"state 3.000 mm between slices \(0018,0088\); slices"),
        ({"SliceThickness": 2.5}, None, r"state 2.500 mm of slice thickness \(0018,0050\), and .* in steps of 2;"),
        ({"SliceThickness": 2.5}, ["", "", "", ""], r"state 2.500 mm of slice thickness \(0018,0050\); slices"),
    ],
)
def test_a_series_without_every_other_slice_is_named_and_read(tmp_path, stated, instances, words):
    files = write_series(tmp_path, EIGHT, number=7)[::2]
    for index, file in enumerate(files):
        own = {} if instances is None else {"InstanceNumber": instances[index]}
        _changed(file, **({"SliceThickness": 3, "SpacingBetweenSlices": None} | stated | own))
    told = re.escape(f"{tmp_path}: the 4 slices of series 7 lie 6.000 mm apart, but their headers ")
    with pytest.warns(SliceGapWarning, match=told + words):
        _, affine = read_dicom_volume(files)
    assert affine[2, 2] == 6


@pytest.mark.parametrize(
    ("every", "stated"),
    [
        (1, {}),
        # gaps as thick as the slices, of which none is left out
        (1, {"SliceThickness": 1.5}),
        (1, {"SliceThickness": 1.5, "SpacingBetweenSlices": 3}),
        # the empty space in the place of the distance
        (1, {"SliceThickness": 2, "SpacingBetweenSlices": 1}),
        # one echo of two that were acquired in turn
        (2, {"SliceThickness": 5, "SpacingBetweenSlices": 6}),
        (2, {"SliceThickness": 6}),
    ],
)
def test_gaps_that_are_meant_are_no_finding(tmp_path, every, stated):
    files = write_series(tmp_path, EIGHT)[::every]
    for file in files:
        _changed(file, **({"SpacingBetweenSlices": None} | stated))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SliceGapWarning)
        read_dicom_volume(files)
        read_dicom_volume(files[:1])


@pytest.mark.parametrize("keyword", ["InstanceNumber", "SliceThickness"])
def test_what_only_the_gaps_are_compared_with_may_be_odd(tmp_path, keyword):
    files = write_series(tmp_path, VOLUME)
    for file in files:
        _changed(file, **({"SpacingBetweenSlices": 3} | {keyword: 987654}))
        file.write_bytes(file.read_bytes().replace(b"987654", b"98 odd"))
    assert read_dicom_volume(files)[0].shape == VOLUME.shape


def test_the_real_series_without_every_other_slice_is_named(shared_data):
    files = sorted((shared_data / "dicom" / "t1w").glob("*.dcm"))
    with pytest.warns(SliceGapWarning, match=r"1.333 mm apart, but their headers state 0.667 mm .* in steps of 2;"):
        read_series_grid(files[::2])
    with warnings.catch_warnings():
        warnings.simplefilter("error", SliceGapWarning)
        read_series_grid(files)


def test_two_volumes_in_one_series_are_an_error(tmp_path):
    files = write_series(tmp_path, VOLUME) + write_series(tmp_path, VOLUME, names="echo{}.dcm")
    for number, file in enumerate(files[4:]):
        _changed(file, SOPInstanceUID=f"1.2.5.{number}")
    with pytest.raises(DicomFileError, match="8 files of one series share one position"):
        read_dicom_volume(files)


def test_copies_of_images_beside_them_are_named(tmp_path):
    files = write_series(tmp_path, VOLUME)
    (tmp_path / "copy.dcm").write_bytes(files[2].read_bytes())
    told = r"1 of the 5 files are copies of others, such as (slice02|copy).dcm of (copy|slice02).dcm \(SOP Instance UID"
    with pytest.raises(DicomFileError, match=told):
        read_dicom_volume([*files, tmp_path / "copy.dcm"])


def test_one_identifier_in_all_files_does_not_make_them_copies(tmp_path):
    files = write_series(tmp_path, VOLUME)
    for file in files:
        _changed(file, SOPInstanceUID="1.2.5")
    assert np.array_equal(read_dicom_volume(files)[0], VOLUME)


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_images_of_two_patients_with_the_same_series_are_two_volumes(tmp_path, keyword):
    files = write_series(tmp_path, VOLUME)
    for file in files[1::2]:
        _changed(file, **{keyword: "1.2.6"})
    assert [list(stack) for stack, _ in dicom_stacks(files)[0]] == [files[0::2], files[1::2]]
    with pytest.raises(DicomFileError, match="the files form 2 groups that differ in patient, series"):
        read_dicom_volume(files)


def test_a_study_of_its_own_for_each_image_parts_no_series(tmp_path):
    """As SimpleITK writes it, where nobody gives it a study."""
    files = write_series(tmp_path, VOLUME)
    for number, file in enumerate(files):
        _changed(file, StudyInstanceUID=f"1.2.7.{number}")
    assert np.array_equal(read_dicom_volume(files)[0], VOLUME)
    # of two images that may well be two patients
    assert [len(stack) for stack, _ in dicom_stacks(files[:2])[0]] == [1, 1]


def _changed(path, **values):
    image = dcmread(path)
    for keyword, value in values.items():
        setattr(image, keyword, value)
    image.save_as(path)


@pytest.mark.parametrize("slices", [[1], [2, 3]], ids=["one", "two parallel stacks"])
def test_a_slice_that_is_moved_in_its_plane_is_an_error(tmp_path, slices):
    files = write_series(tmp_path, VOLUME, direction=tilted())
    for index in slices:
        place = np.array([-10.0, 20, 30]) + tilted() @ [0, 25, 3 * index]
        _changed(files[index], ImagePositionPatient=[f"{value:.4f}" for value in place])
    with pytest.raises(DicomFileError, match=r"not form one straight stack: slice\d\d.dcm lies \d+.\d voxels off"):
        read_dicom_volume(files)


def test_a_stack_that_leans_has_its_own_affine(tmp_path):
    files = write_series(tmp_path, VOLUME)
    for index, file in enumerate(files):
        _changed(file, ImagePositionPatient=[-10, 20 + 1.4 * index, 30 + 3 * index])
    assert np.allclose(read_dicom_volume(files)[1] @ [0, 0, 3, 1], [10, -20 - 4.2, 39, 1])


def test_files_of_two_pixel_spacings_are_two_volumes(tmp_path):
    files = write_series(tmp_path, VOLUME)
    for file in files[2:]:
        _changed(file, PixelSpacing=[1.8, 1.6])
    assert [len(stack) for stack, _ in dicom_stacks(files)[0]] == [2, 2]
    with pytest.raises(
        DicomFileError,
        match="the files form 2 groups that differ in patient, series, size, pixel spacing or orientation",
    ):
        read_dicom_volume(files)


def test_files_of_two_series_are_no_volume(tmp_path):
    files = write_series(tmp_path / "a", VOLUME, uid="1.2.3") + write_series(tmp_path / "b", VOLUME, uid="1.2.4")
    with pytest.raises(DicomFileError, match="the files form 2 groups that differ in patient, series"):
        read_dicom_volume(files)


@pytest.mark.parametrize("content", [b"no DICOM at all", bytes(128) + b"DICM"])
def test_no_dicom(tmp_path, content):
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(DicomFileError, match="x.dcm: truncated, or not a DICOM image"):
        read_dicom_volume([tmp_path / "x.dcm"])


def test_no_file_at_all(tmp_path):
    with pytest.raises(DicomFileError, match="at least one file"):
        read_dicom_volume([])
    with pytest.raises(DicomFileError, match="no such file"):
        read_dicom_header(tmp_path / "x.dcm")
