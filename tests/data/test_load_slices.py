"""Slices and labels of every kind of file, as channels and regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

from ckdmed.data import FigshareMatReader
from ckdmed.data.label_files import read_label_slices
from ckdmed.data.load_slices import LoadSliced
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.slice_files import InputFileError
from ckdmed.data.slice_reader import SliceReader

NUMBERS = np.array([[0, 1, 2], [4, 0, 1]], dtype=np.uint8)


def grey(path: Path, array: np.ndarray) -> str:
    Image.fromarray(array).save(path)
    return str(path)


@pytest.fixture()
def item(tmp_path: Path) -> dict[str, Any]:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3) * 51
    return {
        "image": grey(tmp_path / "image.png", image),
        "label": grey(tmp_path / "label.png", NUMBERS),
        "slice": 0,
    }


def test_a_figshare_slice_is_read_as_by_its_reader(tmp_path: Path) -> None:
    write_figshare_phantoms(tmp_path, 2, (1, 1), 48, seed=0)
    path = str(tmp_path / "1.mat")
    wanted = Compose(
        [
            LoadImaged("image", FigshareMatReader("image")),
            LoadImaged("label", FigshareMatReader("mask")),
            EnsureChannelFirstd(["image", "label"]),
        ]
    )({"image": path, "label": path})
    found = LoadSliced()({"image": path, "label": path})
    assert torch.equal(found["image"], wanted["image"]) and torch.equal(found["label"], wanted["label"])
    assert found["image"].meta["border"] == wanted["image"].meta["border"]
    assert found["label"].dtype == wanted["label"].dtype == torch.float32


def test_regions_become_channels(item: dict[str, Any]) -> None:
    found = LoadSliced(regions={"whole": [1, 2, 4], "core": [1, 4]})(item)
    assert found["image"].tolist() == [
        [[0.0, pytest.approx(0.2), pytest.approx(0.4)], [pytest.approx(0.6), pytest.approx(0.8), 1.0]]
    ]
    assert found["label"].tolist() == [[[0, 1, 1], [1, 0, 1]], [[0, 1, 0], [1, 0, 1]]]
    assert LoadSliced()(item)["label"].tolist() == [[[0, 1, 1], [1, 0, 1]]]


def test_background_values_are_in_no_region(item: dict[str, Any]) -> None:
    found = LoadSliced(regions={"rest": None, "background": [4]})(item)
    assert found["label"].tolist() == [[[0, 1, 1], [0, 0, 1]]]
    found = LoadSliced(regions={"one": [1], "background": [2, 4]})(item)
    assert found["label"].tolist() == [[[0, 1, 0], [0, 0, 1]]]


def test_a_value_without_a_region_is_an_error(item: dict[str, Any]) -> None:
    with pytest.raises(InputFileError, match="label.png: the label has the values 2, 4, which no region contains"):
        LoadSliced(regions={"one": [1]})(item)


def test_an_unlabelled_image_has_an_empty_label(item: dict[str, Any]) -> None:
    found = LoadSliced(regions={"a": [1], "b": [2]})({**item, "label": ""})
    assert found["label"].shape == (2, 2, 3) and not found["label"].any()


def test_images_of_an_item_become_channels(item: dict[str, Any], tmp_path: Path) -> None:
    second = grey(tmp_path / "second.png", np.full((2, 3), 255, dtype=np.uint8) - np.eye(2, 3, dtype=np.uint8))
    found = LoadSliced()({**item, "image": [item["image"], second]})
    assert found["image"].shape == (2, 2, 3) and found["image"][1, 1, 0] == 1
    wide = grey(tmp_path / "wide.png", np.eye(2, 4, dtype=np.uint8))
    with pytest.raises(
        InputFileError, match="wide.png: has 1 slice of 2 x 4 pixels, .*image.png has 1 slice of 2 x 3 pixels"
    ):
        LoadSliced()({**item, "image": [item["image"], wide]})
    with pytest.raises(InputFileError, match="wide.png: has 1 slice of 2 x 4 pixels"):
        LoadSliced()({**item, "label": wide})


def test_slices_of_a_volume_and_its_label(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    volume = np.random.default_rng(0).random((4, 3, 5)).astype(np.float32)
    labels = (volume > 0.5).astype(np.uint8)
    image, label = str(tmp_path / "v.nii.gz"), str(tmp_path / "s.nii.gz")
    nib.save(nib.Nifti1Image(volume, affine), image)
    nib.save(nib.Nifti1Image(labels, affine), label)
    for number in (0, 3):
        found = LoadSliced()({"image": image, "label": label, "slice": number})
        # rows run from anterior to posterior, columns from the patient's right to the left
        assert torch.equal(found["image"][0].as_tensor(), torch.from_numpy(volume[:, :, number].T.copy()))
        assert torch.equal(found["label"][0].as_tensor() > 0, found["image"][0].as_tensor() > 0.5)
    nib.save(nib.Nifti1Image(labels, np.diag([-1.0, -1.0, 3.0, 1.0])), label)
    with pytest.raises(InputFileError, match="s.nii.gz: its affine differs from that of .*v.nii.gz"):
        LoadSliced()({"image": image, "label": label, "slice": 0})
    with pytest.raises(InputFileError, match="v.nii.gz: has 5 slices, but slice 5 was requested"):
        LoadSliced("image")({"image": image, "slice": 5})


def test_a_label_that_was_replaced_is_read_again(item: dict[str, Any]) -> None:
    load = LoadSliced()
    assert load(item)["label"].sum() == 4
    grey(Path(item["label"]), np.zeros((2, 3), dtype=np.uint8) + np.eye(2, 3, dtype=np.uint8))
    assert load(item)["label"].sum() == 2


def test_a_palette_counts_by_its_indices(tmp_path: Path) -> None:
    image = Image.fromarray(NUMBERS, mode="P")
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200, 7, 7, 7])
    image.save(tmp_path / "p.png")
    assert read_label_slices(tmp_path / "p.png")[0].tolist() == [NUMBERS.tolist()]


def test_a_label_of_a_wrong_kind(tmp_path: Path) -> None:
    Image.fromarray(NUMBERS).save(tmp_path / "l.jpg")
    with pytest.raises(InputFileError, match="l.jpg: JPEG compression changes the values"):
        read_label_slices(tmp_path / "l.jpg")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(InputFileError, match="c.png: a label must have one channel, but this PNG is RGB"):
        read_label_slices(tmp_path / "c.png")
    nib.save(nib.Nifti1Image(np.full((3, 3, 2), 0.5, np.float32), np.eye(4)), tmp_path / "h.nii")
    with pytest.raises(InputFileError, match="h.nii: a label must hold whole numbers"):
        read_label_slices(tmp_path / "h.nii")
    with pytest.raises(InputFileError, match="no such label file"):
        read_label_slices(tmp_path / "none.png")


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="at least one region"):
        LoadSliced(regions={"background": [1]})
    with pytest.raises(ValueError, match="keys must be"):
        LoadSliced("label")


def test_an_inference_reads_several_images_of_an_input(tmp_path: Path) -> None:
    a, b = (tmp_path / f"{name}.nii.gz" for name in "ab")
    volume = np.random.default_rng(0).random((4, 3, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), a)
    nib.save(nib.Nifti1Image(2 * volume, np.eye(4)), b)
    slices, _ = SliceReader(channels=2).get_data((a, b))
    assert slices.shape[0] == 10 and np.array_equal(slices[5:], 2 * slices[:5])
    with pytest.raises(InputFileError, match="the network takes 2 images per input, got 1; give a datalist"):
        SliceReader(channels=2).get_data((a,))
    nib.save(nib.Nifti1Image(volume[..., :4], np.eye(4)), b)
    with pytest.raises(InputFileError, match="b.nii.gz: has 4 slices of .*, but .*a.nii.gz has 5 slices"):
        SliceReader(channels=2).get_data((a, b))
    with pytest.raises(ValueError, match="channels must be at least 1"):
        SliceReader(channels=0)


def test_a_label_of_probabilities_has_one_region_and_stays_between_0_and_1(tmp_path: Path):
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6)).save(tmp_path / "image.png")
    Image.fromarray(np.full((4, 6), 16384, np.uint16)).save(tmp_path / "soft.png")
    item = {"image": str(tmp_path / "image.png"), "label": str(tmp_path / "soft.png"), "soft": True, "slice": 0}
    label = LoadSliced()(item)["label"]
    assert label.shape == (1, 4, 6) and float(label.min()) == float(label.max()) == pytest.approx(16384 / 65535)
    with pytest.raises(InputFileError, match="a label of probabilities takes one region"):
        LoadSliced(regions={"a": [1], "b": [2]})(item)


@pytest.mark.parametrize("pixels", [np.full((4, 6), 255, np.uint8), np.ones((4, 6), bool)])
def test_probabilities_in_a_png_of_fewer_bits_are_refused(tmp_path: Path, pixels: np.ndarray):
    """255 of 8 bits means 1 to whoever wrote it, and is 0.004 of 65535."""
    with pytest.raises(InputFileError, match="a PNG of probabilities must have 16 bits"):
        read_label_slices(grey(tmp_path / "soft.png", pixels), soft=True)
