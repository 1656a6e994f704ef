"""Written, read back by other code than wrote it, and compared with the mask."""

from __future__ import annotations

import logging
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, config, dcmread

from ckdmed.data.dicom_series import DicomFileError
from ckdmed.dicom_results import Algorithm, write_classification, write_report, write_results, write_segmentation
from tests.dicom_results.mr_series import write_enhanced_mr, write_mr_series
from tests.dicom_results.readers import complaints, needs_dciodvfy, placed_masks

ALGORITHM = Algorithm("seg_kd", "ab" * 32, {"threshold": 0.3, "tta": True})
SHAPE = (40, 32, 6)
REASON = "the sequence is FLAIR; T1 with contrast was learnt."


def _oblique() -> np.ndarray:
    one, two = np.deg2rad(12), np.deg2rad(-7)
    first = np.array([[1, 0, 0], [0, np.cos(one), -np.sin(one)], [0, np.sin(one), np.cos(one)]])
    second = np.array([[np.cos(two), -np.sin(two), 0], [np.sin(two), np.cos(two), 0], [0, 0, 1]])
    return first @ second


@pytest.fixture
def series(tmp_path) -> list[Path]:
    volume = np.random.default_rng(1).integers(0, 800, SHAPE)
    return write_mr_series(tmp_path / "mr", volume, direction=_oblique())


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[5:15, 10:20, 2:4] = True
    mask[30, 3, 5] = True
    return mask


def test_a_mask_comes_back_voxel_for_voxel_in_the_series_geometry(series, mask, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = write_segmentation(series[::-1], mask, tmp_path / "seg.dcm", algorithm=ALGORITHM)
    # highdicom tells of each module that it copies
    assert not caplog.records
    assert np.array_equal(placed_masks(path, series), mask)
    source, result = dcmread(series[0]), dcmread(path)
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert result[keyword].value == source[keyword].value
    measures = result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == list(source.PixelSpacing)
    referenced = {
        item.ReferencedSOPInstanceUID for item in result.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == {dcmread(file).SOPInstanceUID for file in series}


def test_regions_are_segments_and_probabilities_fractions(series, mask, tmp_path):
    inner = mask & (np.arange(SHAPE[2]) == 2)
    results = write_results(
        series,
        {"WT": mask, "ET": inner},
        tmp_path / "out",
        algorithm=ALGORITHM,
        probability={"WT": mask * 0.5, "ET": inner * 1.0},
    )
    assert np.array_equal(placed_masks(results.segmentation, series, 1), mask)
    assert np.array_equal(placed_masks(results.segmentation, series, 2), inner)
    assert np.array_equal(placed_masks(results.fractional, series, 1), np.where(mask, 128, 0))
    assert [item.SegmentLabel for item in dcmread(results.segmentation).SegmentSequence] == [
        "Whole tumour",
        "Enhancing tumour",
    ]


@pytest.mark.slow
def test_an_empty_mask_is_a_result_too(series, tmp_path):
    results = write_results(series, np.zeros(SHAPE), tmp_path, algorithm=ALGORITHM)
    assert not placed_masks(results.segmentation, series).any()
    assert _numbers(results.report) == {"Volume": 0.0}


def test_frames_of_one_file_in_any_order_get_their_own_masks(mask, tmp_path):
    volume = np.random.default_rng(1).integers(0, 800, SHAPE)
    file = write_enhanced_mr(tmp_path / "enhanced.dcm", volume, order=[3, 0, 5, 1, 4, 2])
    results = write_results([file], mask, tmp_path / "out", algorithm=ALGORITHM)
    assert np.array_equal(placed_masks(results.segmentation, [file]), mask)
    line = next(_items(dcmread(results.report).ContentSequence, "SCOORD"))
    reference = line.ContentSequence[0].ReferencedSOPSequence[0]
    # slice 2 is the sixth frame
    assert reference.ReferencedFrameNumber == 6


def _items(content, kind):
    for item in content:
        if item.ValueType == kind:
            yield item
        yield from _items(item.get("ContentSequence", []), kind)


def _numbers(report: Path) -> dict[str, float]:
    dataset = dcmread(report)
    measured = [
        item
        for item in dataset.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(item.MeasuredValueSequence[0].NumericValue)
        for item in _items(measured, "NUM")
    }


def test_the_report_measures_and_points_to_the_segment(series, mask, tmp_path):
    results = write_results(series, mask, tmp_path, algorithm=ALGORITHM)
    numbers = _numbers(results.report)
    assert numbers["Volume"] == pytest.approx(201 * 0.8 * 0.9 * 3 / 1000, abs=1e-3)
    # 10 x 10 pixels of 0.8 x 0.9 mm, whose corner pixels are cut
    assert numbers["Long axis"] == pytest.approx(np.hypot(8, 8.1), abs=0.2)
    assert numbers["Short axis"] > 8
    content = dcmread(results.report).ContentSequence
    segment = next(i for i in _items(content, "IMAGE") if "ReferencedSegmentNumber" in i.ReferencedSOPSequence[0])
    reference = segment.ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == dcmread(results.segmentation).SOPInstanceUID
    line = next(_items(content, "SCOORD"))
    image = line.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert image == dcmread(series[2]).SOPInstanceUID
    assert highdicom.sr.srread(results.report)


@pytest.mark.parametrize(
    "unintended", [pytest.param(None, marks=pytest.mark.slow), pytest.param([], marks=pytest.mark.slow), [REASON]]
)
def test_every_output_says_that_it_is_for_research_and_what_is_against_it(series, mask, tmp_path, unintended):
    results = write_results(
        series, mask, tmp_path, algorithm=ALGORITHM, unintended=unintended, probability=mask * 1.0, captures=True
    )
    assert len(results.files) == 3 + SHAPE[2]
    for path in results.files:
        dataset = dcmread(path)
        text = str(dataset)
        assert "RESEARCH USE ONLY" in dataset.SeriesDescription
        assert dataset.ContentQualification == "RESEARCH"
        whole = {
            "SEG": lambda d: d.SegmentSequence[0].SegmentDescription,
            "SR": lambda d: next(i.TextValue for i in _items(d.ContentSequence, "TEXT") if "Research" in i.TextValue),
            "OT": lambda d: d.ImageComments,
        }[dataset.Modality](dataset)
        assert whole.startswith("Research use only. Not a medical device."), text
        assert ("not known" in whole) == (unintended is None)
        assert (REASON.rstrip(".") in whole) == ("UNINTENDED" in dataset.SeriesDescription) == bool(unintended)


@pytest.mark.slow
def test_the_same_result_has_the_same_uids_and_another_mask_has_others(series, mask, tmp_path):
    def uids(name, values, **settings):
        files = write_results(series, values, tmp_path / name, algorithm=ALGORITHM, **settings).files
        return [dcmread(file).SOPInstanceUID for file in files]

    first = uids("a", mask)
    assert uids("b", mask) == first
    assert not set(uids("c", ~mask)) & set(first)
    assert not set(uids("d", mask, unintended=[REASON])) & set(first)
    assert all(uid.startswith("2.25.") and int(uid[5:]) < 2**128 for uid in first)


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Иванова^Анна"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_a_name_in_another_script_stays_what_it_is(tmp_path, mask, characters, name):
    volume = np.random.default_rng(1).integers(0, 800, SHAPE)
    files = write_mr_series(tmp_path / "mr", volume)
    for file in files:
        dataset = dcmread(file)
        dataset.SpecificCharacterSet = characters
        dataset.PatientName = name
        dataset.save_as(file)
    for path in write_results(files, mask, tmp_path / "out", algorithm=ALGORITHM, captures=True).files[:4]:
        assert str(dcmread(path).PatientName) == name


def _changed(files: list[Path], index: int, **values) -> None:
    dataset = dcmread(files[index])
    for keyword, value in values.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(files[index])


@pytest.mark.parametrize(
    "values, message",
    [
        ({"PatientID": "another"}, "the files form 2 groups that differ in patient, series"),
        ({"StudyInstanceUID": "1.2.3"}, "the files form 2 groups that differ in patient, series"),
        ({"FrameOfReferenceUID": None}, "has no FrameOfReferenceUID"),
        ({"SOPInstanceUID": ""}, "has no SOPInstanceUID"),
    ],
)
def test_a_series_that_cannot_be_referred_to_is_refused(series, mask, tmp_path, values, message):
    _changed(series, 3, **values)
    with pytest.raises(DicomFileError, match=message) as error:
        write_segmentation(series, mask, tmp_path / "seg.dcm", algorithm=ALGORITHM)
    assert "another" not in str(error.value), "no identifier in a message"
    assert not (tmp_path / "seg.dcm").exists()


def test_an_image_that_stands_twice_is_refused(series, mask, tmp_path):
    _changed(series, 3, SOPInstanceUID=dcmread(series[0]).SOPInstanceUID)
    with pytest.raises(DicomFileError, match="appears in several files"):
        write_report(series, mask, tmp_path / "sr.dcm", algorithm=ALGORITHM)


def test_what_anonymisers_remove_is_left_empty(series, mask, tmp_path):
    for index in range(len(series)):
        _changed(series, index, **dict.fromkeys(("PatientName", "PatientBirthDate", "StudyID", "AccessionNumber")))
    result = dcmread(write_segmentation(series, mask, tmp_path / "seg.dcm", algorithm=ALGORITHM))
    assert result.PatientName == "" and result.StudyID == "" and result.PatientID == "P1"


@pytest.mark.parametrize(("said", "told"), [("YES", "YES"), ("NO", "NO"), ("", None)])
def test_pictures_say_of_burned_in_text_what_the_images_say(series, mask, tmp_path, said, told):
    _changed(series, 2, BurnedInAnnotation=said)
    results = write_results(series, mask, tmp_path / "results", algorithm=ALGORITHM, captures=True)
    pictures = [dataset for path in results.files if (dataset := dcmread(path)).Modality == "OT"]
    of_slices = {int(picture.InstanceNumber): picture.get("BurnedInAnnotation") for picture in pictures}
    assert of_slices == {number: told if number == 3 else None for number in range(1, SHAPE[2] + 1)}


def test_pictures_of_lossy_images_say_so(series, mask, tmp_path):
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 12.5}
    _changed(series, 2, **lossy, LossyImageCompressionMethod="ISO_10918_1")
    _changed(series, 3, LossyImageCompression="00")
    results = write_results(series, mask, tmp_path / "results", algorithm=ALGORITHM, captures=True)
    pictures = {p.InstanceNumber: p for path in results.files if (p := dcmread(path)).Modality == "OT"}
    assert {key: pictures[3][key].value for key in lossy} == lossy
    assert pictures[3].LossyImageCompressionMethod == "ISO_10918_1"
    assert not any("LossyImageCompression" in pictures[number] for number in (1, 2, 4, 5, 6))


def test_a_stack_that_leans_has_no_larger_volume(series, mask, tmp_path):
    volume = np.random.default_rng(1).integers(0, 800, SHAPE)
    files = write_mr_series(tmp_path / "leaning", volume)
    for index, file in enumerate(files):
        _changed(files, index, ImagePositionPatient=[-10, 20 + 1.5 * index, 30 + 3 * index])
    numbers = _numbers(write_report(files, mask, tmp_path / "sr.dcm", algorithm=ALGORITHM))
    assert numbers["Volume"] == pytest.approx(201 * 0.8 * 0.9 * 3 / 1000, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "thickness"),
    [
        ({"SliceThickness": None, "SpacingBetweenSlices": 1}, 3),
        ({"SliceThickness": "", "SpacingBetweenSlices": 1}, 3),
        ({"SliceThickness": 2.5, "SpacingBetweenSlices": -3}, 2.5),
    ],
)
def test_where_the_slices_lie_counts_and_not_what_else_is_said_of_them(series, mask, tmp_path, values, thickness):
    for index in range(len(series)):
        _changed(series, index, **values)
    results = write_results(series, mask, tmp_path / "out", algorithm=ALGORITHM)
    measures = dcmread(results.segmentation).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SpacingBetweenSlices, measures.SliceThickness) == (3, thickness)


def test_frames_may_state_their_measures_each_for_itself(mask, tmp_path):
    volume = np.random.default_rng(1).integers(0, 800, SHAPE)
    file = write_enhanced_mr(tmp_path / "enhanced.dcm", volume)
    image = dcmread(file)
    shared = image.SharedFunctionalGroupsSequence[0]
    for frame in image.PerFrameFunctionalGroupsSequence:
        frame.update(shared)
    image.SharedFunctionalGroupsSequence = [Dataset()]
    image.save_as(file)
    results = write_results([file], mask, tmp_path / "out", algorithm=ALGORITHM)
    assert np.array_equal(placed_masks(results.segmentation, [file]), mask)


def test_what_is_no_date_no_time_and_no_sex_is_left_empty(series, mask, tmp_path, monkeypatch):
    monkeypatch.setattr(config.settings, "_writing_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
    odd = {"PatientBirthDate": "000Y", "PatientSex": "female", "StudyDate": "2026", "StudyTime": "10:11:12"}
    for index in range(len(series)):
        _changed(series, index, **odd)
    for path in write_results(series, mask, tmp_path / "out", algorithm=ALGORITHM, captures=True).files[:3]:
        result = dcmread(path)
        assert not any(str(result.get(keyword) or "") for keyword in odd) and result.PatientID == "P1"


@pytest.mark.parametrize(
    "change, settings, message",
    [
        (lambda m: m[:, :, 1:], {}, r"shape \(40, 32, 5\), and the series is of \(40, 32, 6\)"),
        (lambda m: m * np.nan, {}, "values that are not finite"),
        (lambda m: m * 1.5, {"fractional": True}, "run from 0 to 1.5"),
        (lambda m: {}, {}, "at least one region"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(series, mask, tmp_path, change, settings, message):
    with pytest.raises(ValueError, match=message):
        write_segmentation(series, change(mask), tmp_path / "seg.dcm", algorithm=ALGORITHM, **settings)


@needs_dciodvfy
@pytest.mark.parametrize("filled", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_dciodvfy_finds_no_error(series, mask, tmp_path, filled):
    assert complaints(series[0]) == set()
    results = write_results(
        series, mask * filled, tmp_path, algorithm=ALGORITHM, unintended=[REASON], probability=mask * 0.5, captures=True
    )
    for path in results.files[:4]:
        assert complaints(path) == set(), path.name


def test_a_classification_is_a_report_of_probabilities(series, tmp_path):
    probabilities = {"meningioma": 0.125, "glioma": 0.8, "pituitary tumour": 0.05, "my own class": 0.025}
    path = write_classification(series, probabilities, tmp_path / "sr.dcm", algorithm=ALGORITHM, unintended=[REASON])
    dataset = dcmread(path)
    found = {
        next(_items(group.ContentSequence, "TEXT")).TextValue: [
            float(item.MeasuredValueSequence[0].NumericValue) for item in _items(group.ContentSequence, "NUM")
        ]
        for group in _items(dataset.ContentSequence, "CONTAINER")
        if group.ConceptNameCodeSequence[0].CodeMeaning == "Measurement Group"
    }
    assert found == {"glioma": [80.0], "meningioma": [12.5], "pituitary tumour": [5.0], "my own class": [2.5]}
    assert next(iter(found)) == "glioma"
    text = next(item.TextValue for item in _items(dataset.ContentSequence, "TEXT") if "Research" in item.TextValue)
    assert text.startswith("Most probable: glioma (80 %). The mean over 6 slices.") and REASON.rstrip(".") in text
    assert highdicom.sr.srread(path)
    with pytest.raises(ValueError, match="must map classes to probabilities from 0 to 1"):
        write_classification(series, {"glioma": 1.5}, tmp_path / "sr.dcm", algorithm=ALGORITHM)


@needs_dciodvfy
def test_dciodvfy_finds_no_error_in_a_classification(series, tmp_path):
    path = write_classification(series, {"glioma": 0.8, "other": 0.2}, tmp_path / "sr.dcm", algorithm=ALGORITHM)
    assert complaints(path) == set()
