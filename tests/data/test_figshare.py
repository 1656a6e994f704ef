from __future__ import annotations

import csv
import os
import pickle

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, decollate_batch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged, Resized
from skimage.io import imread

from ckdmed.data import (
    FigshareFileError,
    FigshareMatReader,
    border_from_text,
    border_to_text,
    draw_border,
    patient_group,
    read_figshare_slice,
)

RECTANGLE = [[5.0, 10.0], [5.0, 19.0], [8.0, 19.0], [8.0, 10.0]]


def iou(a, b):
    return (np.logical_and(a, b)).sum() / np.logical_or(a, b).sum()


@pytest.mark.parametrize("group", ["cjdata", None], ids=["struct", "flat"])
def test_a_slice_is_read_upright_from_both_layouts(make_mat, group):
    item = read_figshare_slice(make_mat(group=group))
    assert item.image.shape == (16, 32) and item.image.dtype == np.int16
    # Row-major counting 0, 1, 2, ... along the first row: a transposed array would start 0, 32.
    np.testing.assert_array_equal(item.image[0, :3], [0, 1, 2])
    np.testing.assert_array_equal(np.argwhere(item.mask)[[0, -1]], [[5, 10], [8, 19]])
    np.testing.assert_array_equal(item.border, RECTANGLE)
    assert (item.tumor_label, item.patient, item.mask_drawn) == (1, "100360", False)


@pytest.mark.parametrize("group", ["cjdata", None], ids=["struct", "flat"])
def test_the_mask_is_drawn_where_it_is_absent(make_mat, group):
    drawn = read_figshare_slice(make_mat(group=group, tumorMask=None))
    assert drawn.mask_drawn
    np.testing.assert_array_equal(drawn.mask, read_figshare_slice(make_mat("2.mat")).mask)


def test_a_border_may_be_absent_or_empty_where_there_is_a_mask(make_mat):
    assert read_figshare_slice(make_mat(tumorBorder=None)).border.shape == (0, 2)
    path = make_mat("2.mat", tumorBorder=np.array([[0, 0]], dtype=np.uint64))
    with h5py.File(path, "r+") as file:
        file["cjdata/tumorBorder"].attrs["MATLAB_empty"] = np.uint8(1)
    assert read_figshare_slice(path).border.shape == (0, 2)


def test_files_of_256_pixels_are_read(make_mat):
    image = np.arange(256 * 256, dtype=np.int32).reshape(256, 256)
    mask = np.zeros((256, 256), dtype=np.uint8)
    mask[100:120, 30:50] = 1
    item = read_figshare_slice(make_mat(image=image, tumorMask=mask))
    np.testing.assert_array_equal(item.image, image)
    np.testing.assert_array_equal(item.mask, mask)


NAN_IMAGE = np.arange(512, dtype=np.float32).reshape(16, 32)
NAN_IMAGE[3, 4] = np.nan
INF_IMAGE = np.where(np.isnan(NAN_IMAGE), np.inf, NAN_IMAGE)
BAD_FIELDS = {
    "no image": ({"image": None}, r"missing in cjdata: image\."),
    "no label and PID": ({"label": None, "PID": None}, r"missing in cjdata: label, PID\."),
    "no outline": ({"tumorMask": None, "tumorBorder": None}, "missing in cjdata: tumorMask or tumorBorder"),
    "mask of another shape": ({"tumorMask": np.ones((16, 31), np.uint8)}, r"shape \(16, 31\) but image .* \(16, 32\)"),
    "mask of other values": ({"tumorMask": np.full((16, 32), 7, np.uint8)}, "0 and 1 only, got values from 7 to 7"),
    "empty mask": ({"tumorMask": np.zeros((16, 32), np.uint8)}, "tumorMask is empty"),
    "label 4": ({"label": np.array([[4.0]])}, r"label must be 1, 2 or 3, got 4\.0"),
    "label 0": ({"label": np.array([[0.0]])}, "label must be 1, 2 or 3"),
    "label 1.5": ({"label": np.array([[1.5]])}, "label must be 1, 2 or 3"),
    "label NaN": ({"label": np.array([[np.nan]])}, "label must be 1, 2 or 3, got nan"),
    "two labels": ({"label": np.array([[1.0, 2.0]])}, r"an array of shape \(1, 2\)"),
    "zero image": ({"image": np.zeros((16, 32), np.int16)}, "image is all zero"),
    "constant image": ({"image": np.full((16, 32), 9, np.int16)}, "image is constant"),
    "NaN image": ({"image": NAN_IMAGE}, "1 NaN or infinite values"),
    "infinite image": ({"image": INF_IMAGE}, "1 NaN or infinite values"),
    "3-D image": ({"image": np.ones((4, 4, 4), np.int16)}, "image must be 2-D"),
    "huge side": ({"image": np.ones((2, 9000), np.int16)}, "image must be 2-D with sides of 2 to 8192"),
    "empty PID": ({"PID": "  "}, "PID must be letters"),
    "PID with a path": ({"PID": "../etc"}, r"PID must be letters.*'\.\./etc'"),
    "PID of floats": ({"PID": np.array([[49.0]])}, "PID must be 1 to 64 ASCII character codes"),
    "PID beyond ASCII": ({"PID": np.array([[0x4E2D]], np.uint16)}, "PID must be 1 to 64 ASCII character codes"),
    "long PID": ({"PID": "1" * 65}, "PID must be 1 to 64"),
    "two border points": ({"tumorBorder": np.ones((4, 1))}, "3 or more points"),
    "odd border": ({"tumorBorder": np.ones((7, 1))}, "3 or more points"),
    "border matrix": ({"tumorBorder": np.ones((2, 6))}, "must be a vector"),
    "border outside": ({"tumorBorder": np.array([[1.0, 1, 40, 1, 9, 9]])}, "outside the image"),
    "border NaN": ({"tumorBorder": np.array([[1.0, 1, np.nan, 1, 9, 9]])}, "not finite or outside"),
    "complex image": ({"image": np.ones((16, 32), np.complex64)}, "'image' holds complex64, not real numbers"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_a_bad_field_is_an_error_that_names_file_and_cause(make_mat, case):
    fields, message = BAD_FIELDS[case]
    path = make_mat("bad.mat", **fields)
    with pytest.raises(FigshareFileError, match=message) as error:
        read_figshare_slice(path)
    assert str(error.value).startswith(f"{path}: ")


def test_missing_keys_of_a_flat_file_say_so(make_mat):
    with pytest.raises(FigshareFileError, match=r"at the top level \(there is no cjdata\): image"):
        read_figshare_slice(make_mat(group=None, image=None))


def test_a_border_around_no_pixel_is_an_error(make_mat):
    border = np.array([[10.2, 5.2, 10.4, 5.2, 10.3, 5.4]])
    with pytest.raises(FigshareFileError, match="tumorBorder encloses no pixel"):
        read_figshare_slice(make_mat(tumorMask=None, tumorBorder=border))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(600), r"MATLAB v5 file; re-save .* '-v7\.3'"),
        (b"\x80\x04\x95 no HDF5 here", "no HDF5 signature"),
        (b"MATLAB 7.3 MAT-file".ljust(512), "truncated: 512 bytes"),
        (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5 data"),
    ],
    ids=["empty", "v5", "other", "header only", "signature only"],
)
def test_a_file_of_another_kind_is_an_error(tmp_path, content, message):
    path = tmp_path / "1.mat"
    path.write_bytes(content)
    with pytest.raises(FigshareFileError, match=message):
        read_figshare_slice(path)


def test_a_path_without_a_file_is_an_error(tmp_path):
    with pytest.raises(FigshareFileError, match="no such file"):
        read_figshare_slice(tmp_path / "none.mat")
    with pytest.raises(FigshareFileError, match="not a file"):
        read_figshare_slice(tmp_path)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_an_error(make_mat, keep):
    path = make_mat(image=np.random.default_rng(0).integers(0, 99, (16, 32)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(FigshareFileError, match="truncated"):
        read_figshare_slice(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_give_a_slice_or_the_one_error(make_mat, changes):
    path = make_mat("damaged.mat")
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[512 + place % (len(content) - 512)] = value
    path.write_bytes(content)
    try:
        item = read_figshare_slice(path)
    except FigshareFileError as error:
        assert str(path) in str(error)
    else:
        assert item.mask.shape == item.image.shape and item.tumor_label in (1, 2, 3)


def test_links_and_outside_storage_are_not_followed(make_mat, tmp_path):
    secret = make_mat("secret.mat")
    (tmp_path / "raw.bin").write_bytes(bytes(range(256)) * 4)
    external = make_mat("external.mat", image=None)
    with h5py.File(external, "r+") as file:
        file["cjdata"]["image"] = h5py.ExternalLink(str(secret), "/cjdata/image")
    with pytest.raises(FigshareFileError, match="'image' is a ExternalLink; links are not followed"):
        read_figshare_slice(external)
    soft = make_mat("soft.mat", group="hidden")
    with h5py.File(soft, "r+") as file:
        file["cjdata"] = h5py.SoftLink("/hidden")
    with pytest.raises(FigshareFileError, match="'cjdata' is a SoftLink"):
        read_figshare_slice(soft)
    stored = make_mat("stored.mat", image=None)
    with h5py.File(stored, "r+") as file:
        file["cjdata"].create_dataset("image", (32, 16), np.int16, external=[(str(tmp_path / "raw.bin"), 0, 1024)])
    with pytest.raises(FigshareFileError, match="stored in another file"):
        read_figshare_slice(stored)
    virtual = make_mat("virtual.mat", image=None)
    layout = h5py.VirtualLayout((32, 16), np.int16)
    layout[:] = h5py.VirtualSource(str(secret), "cjdata/image", shape=(32, 16))
    with h5py.File(virtual, "r+") as file:
        file["cjdata"].create_virtual_dataset("image", layout)
    with pytest.raises(FigshareFileError, match="stored in another file"):
        read_figshare_slice(virtual)


def test_an_array_that_would_fill_the_memory_is_refused(make_mat):
    path = make_mat(image=None)
    with h5py.File(path, "r+") as file:
        file["cjdata"].create_dataset("image", (10**6, 10**6), np.float64, chunks=(64, 64), compression="gzip")
    with pytest.raises(FigshareFileError, match="more than 67108864 elements"):
        read_figshare_slice(path)


def test_the_error_survives_the_way_out_of_a_worker_process():
    error = FigshareFileError("1.mat: cause")
    assert str(pickle.loads(pickle.dumps(error))) == "1.mat: cause"
    assert isinstance(error, ValueError)


class TestReader:
    @pytest.mark.parametrize(
        "loader",
        [
            lambda: LoadImaged("x", reader=FigshareMatReader("mask")),
            lambda: LoadImaged("x", reader="ckdmed.data.FigshareMatReader", field="mask"),
            lambda: LoadImaged("x", reader=FigshareMatReader, field="mask"),
        ],
        ids=["instance", "class path", "class"],
    )
    def test_loads_by_instance_and_by_name(self, make_mat, loader):
        mask = loader()({"x": make_mat()})["x"]
        np.testing.assert_array_equal(np.argwhere(mask.numpy())[[0, -1]], [[5, 10], [8, 19]])

    def test_metadata(self, make_mat):
        path = make_mat()
        image = LoadImage(reader=FigshareMatReader(), ensure_channel_first=True)(path)
        assert image.shape == (1, 16, 32) and image.dtype == torch.float32
        np.testing.assert_array_equal(image.affine, np.eye(4))
        assert image.meta["filename_or_obj"] == str(path)
        assert (image.meta["patient"], image.meta["tumor_label"], image.meta["mask_drawn"]) == ("100360", 1, False)
        np.testing.assert_array_equal(image.meta["spatial_shape"], [16, 32])
        np.testing.assert_array_equal(border_from_text(image.meta["border"]), RECTANGLE)

    def test_verify_suffix(self):
        reader = FigshareMatReader()
        assert reader.verify_suffix("a/1.mat") and reader.verify_suffix(["1.mat", "2.MAT"])
        assert not reader.verify_suffix("1.nii.gz") and not reader.verify_suffix(["1.mat", "2.png"])

    def test_the_cause_reaches_the_user_of_load_image(self, make_mat):
        path = make_mat(label=np.array([[4.0]]))
        with pytest.raises(FigshareFileError, match="label must be 1, 2 or 3"):
            LoadImaged("x", reader=FigshareMatReader())({"x": path})

    def test_no_other_reader_tries_a_pickle(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "executed"),)

        (tmp_path / "1.mat").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(FigshareFileError, match="no HDF5 signature"):
            LoadImaged("x", reader="ckdmed.data.FigshareMatReader")({"x": tmp_path / "1.mat"})
        assert not (tmp_path / "executed").exists()

    def test_wrong_use(self, make_mat):
        with pytest.raises(ValueError, match="field must be one of .* got 'label'"):
            FigshareMatReader("label")
        with pytest.raises(ValueError, match="one file per array, got 2"):
            LoadImage(reader=FigshareMatReader())([make_mat("1.mat"), make_mat("2.mat")])

    @pytest.mark.parametrize("workers", [0, 2])
    def test_batches_of_borders_of_different_length_collate(self, make_mat, workers):
        triangle = np.array([[11.0, 6, 20, 6, 20, 9]])
        paths = [make_mat("1.mat"), make_mat("2.mat", tumorBorder=triangle), make_mat("3.mat", tumorBorder=None)]
        pipeline = Compose(
            [
                LoadImaged("image", reader=FigshareMatReader("image")),
                LoadImaged("label", reader=FigshareMatReader("mask")),
                EnsureChannelFirstd(["image", "label"]),
                Resized(["image", "label"], (8, 16), mode=["bilinear", "nearest"]),
            ]
        )
        data = Dataset([{"image": str(p), "label": str(p)} for p in paths], pipeline)
        batch = next(iter(DataLoader(data, batch_size=3, num_workers=workers)))
        assert batch["image"].shape == batch["label"].shape == (3, 1, 8, 16)
        parts = decollate_batch(batch)
        assert [len(border_from_text(part["label"].meta["border"])) for part in parts] == [4, 3, 0]
        assert [part["image"].meta["patient"] for part in parts] == ["100360"] * 3


COORDINATES = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.lists(st.tuples(COORDINATES, COORDINATES), max_size=5))
def test_border_text_keeps_every_digit(points):
    border = np.array(points, dtype=np.float64).reshape(-1, 2)
    np.testing.assert_array_equal(border_from_text(border_to_text(border)), border)


@pytest.mark.parametrize("text", ["", "nonsense", "[[1, 2, 3]]", "[1, 2]", '{"a": 1}', "[[1, 2], [3]]"])
def test_other_text_is_no_border(text):
    with pytest.raises(ValueError, match="list of \\[row, column\\] pairs"):
        border_from_text(text)


def test_draw_border_fills_a_triangle():
    # Rows 1..4, the right angle at (1, 1): row r holds columns 1..r.
    mask = draw_border(np.array([[1.0, 1.0], [4.0, 1.0], [4.0, 4.0]]), (6, 6))
    np.testing.assert_array_equal(mask.sum(axis=1), [0, 1, 2, 3, 4, 0])


def test_original_files_agree_with_their_upright_versions_and_the_table(figshare_mat_dir, shared_data):
    with open(shared_data / "figshare_jpeg" / "slices.csv", newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    ious = []
    for number, path in enumerate(sorted(figshare_mat_dir.glob("[0-9]*.mat"))):
        item, row = read_figshare_slice(path), rows[path.stem]
        assert (item.patient, str(item.tumor_label)) == (row["patient_id"], row["label"])
        table = np.array([pair.split(",") for pair in row["tumor_border_xy_1based"].split()], dtype=float)
        np.testing.assert_allclose(item.border, table[:, ::-1] - 1, atol=1e-3)
        ious.append(iou(draw_border(item.border, item.mask.shape), item.mask))
        if number % 18 == 0:
            png = imread(shared_data / "figshare_jpeg" / "masks" / f"{path.stem}.png")
            np.testing.assert_array_equal(item.mask > 0, png > 0)
            grey = imread(shared_data / "figshare_jpeg" / "images" / f"{path.stem}.jpg", as_gray=True).astype(float)
            assert np.corrcoef(grey.ravel(), item.image.ravel())[0, 1] > 0.99
            assert np.corrcoef(grey.ravel(), item.image.T.ravel())[0, 1] < 0.95
    assert len(ious) == 180
    assert np.mean(ious) > 0.99 and min(ious) > 0.95


def test_patient_groups_are_those_of_the_table(shared_data):
    with open(shared_data / "figshare_jpeg" / "slices.csv", newline="") as stream:
        groups = {row["patient_id"]: row["patient_group"] for row in csv.DictReader(stream)}
    assert {pid: patient_group(pid) for pid in groups} == groups
    assert len(groups) > len(set(groups.values()))


@pytest.mark.parametrize("pid", ["101016", "101017", "MR12345B", "MR1234567B", "MR123456b", "MR123456BC", "XMR123456B"])
def test_other_identifiers_are_their_own_group(pid):
    assert patient_group(pid) == pid


def test_suffixed_identifiers_are_one_person():
    assert {patient_group(pid) for pid in ("MR040240", "MR040240B", "MR040240D")} == {"MR040240"}
