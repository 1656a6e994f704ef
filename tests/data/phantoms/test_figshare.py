"""Slices in the layout of the Figshare set: bytes, layout, consistency, and how hard they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.phantoms.patients import plan_patients
from ckdmed.data.phantoms.slices import trace_border
from ckdmed.geometry import polygon_mask

SMALL: dict[str, Any] = {"slices_per_patient": (2, 3), "size": 64, "progress": False}


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with h5py.File(path) as file:
        group = file["cjdata"]
        return group["image"][()].T, group["tumorMask"][()].T, group["tumorBorder"][()].reshape(-1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_figshare_phantoms(tmp_path_factory.mktemp("figshare"), 36, seed=3, **SMALL).parent


@pytest.fixture(scope="module")
def items(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "phantoms.json").read_text())["slices"]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_same_bytes_and_a_larger_set_begins_with_the_smaller(folder: Path, tmp_path: Path) -> None:
    smaller = _bytes(write_figshare_phantoms(tmp_path, 3, seed=3, **SMALL).parent)
    slices = {name for name in smaller if name[0].isdigit()}
    assert len(slices) >= 6
    assert all((folder / name).read_bytes() == smaller[name] for name in slices)
    again = _bytes(write_figshare_phantoms(tmp_path / "again", 3, seed=3, **SMALL).parent)
    assert again == {name: content for name, content in smaller.items()}


def test_other_seeds_give_other_pictures(folder: Path, tmp_path: Path) -> None:
    write_figshare_phantoms(tmp_path, 1, seed=4, **SMALL)
    assert (tmp_path / "1.mat").read_bytes() != (folder / "1.mat").read_bytes()


def test_nothing_in_a_file_tells_the_time(folder: Path) -> None:
    for name in ("1.mat", "cvind.mat"):
        with h5py.File(folder / name) as file:
            times: list[int] = []
            file.visititems(lambda _, thing: times.append(h5py.h5o.get_info(thing.id).mtime))
        assert times and not any(times)


def test_layout_is_the_published_one(folder: Path, items: list[dict[str, Any]]) -> None:
    path = folder / items[0]["file"]
    assert path.read_bytes()[:19] == b"MATLAB 7.3 MAT-file"
    with h5py.File(path) as file:
        group = file["cjdata"]
        assert file.userblock_size == 512
        assert {name: group[name].dtype.str for name in group} == {
            "PID": "<u2",
            "image": "<i2",
            "label": "<f8",
            "tumorBorder": "<f8",
            "tumorMask": "|u1",
        }
        assert group["label"].shape == (1, 1)
        assert group["tumorBorder"].shape[0] == 1
        assert "".join(chr(c) for c in group["PID"][:, 0]) == items[0]["patient"]
        assert group["tumorMask"].attrs["MATLAB_class"] == b"logical"
    with h5py.File(folder / "cvind.mat") as file:
        assert file["cvind"].shape == (1, len(items))
        np.testing.assert_array_equal(file["cvind"][0], [item["official_fold"] for item in items])


def test_layout_equals_an_original_file(folder: Path, figshare_mat_dir: Path) -> None:
    def describe(path: Path) -> dict[str, Any]:
        with h5py.File(path) as file:
            return {name: (data.dtype, data.ndim, data.attrs["MATLAB_class"]) for name, data in file["cjdata"].items()}

    assert describe(folder / "1.mat") == describe(sorted(figshare_mat_dir.glob("*.mat"))[0])


def test_masks_are_their_borders_filled(folder: Path, items: list[dict[str, Any]]) -> None:
    for item in items:
        image, mask, border = _read(folder / item["file"])
        assert image.shape == mask.shape == (64, 64)
        assert image.max() > 100 and image.min() >= 0
        assert set(np.unique(mask)) == {0, 1}
        filled = polygon_mask(border, mask.shape, one_based=True)
        assert (filled & mask).sum() / (filled | mask).sum() > 0.99


def test_tumours_differ_in_place_and_size(folder: Path, items: list[dict[str, Any]]) -> None:
    area: dict[int, list[float]] = {1: [], 2: [], 3: []}
    offset: dict[int, list[float]] = {1: [], 2: [], 3: []}
    for item in items:
        _, mask, _ = _read(folder / item["file"])
        area[item["tumor_label"]].append(float(mask.mean()))
        if item["view"] != "sagittal":
            offset[item["tumor_label"]].append(abs(float(np.argwhere(mask)[:, 1].mean()) - 31.5))
    assert np.mean(area[2]) > np.mean(area[1]) > np.mean(area[3])
    assert np.mean(offset[3]) < 4 < np.mean(offset[2])


def test_no_threshold_finds_the_tumours(folder: Path, items: list[dict[str, Any]]) -> None:
    pictures = [_read(folder / item["file"])[:2] for item in items]
    masks = np.array([mask for _, mask in pictures], bool)
    raw = np.array([image for image, _ in pictures], float)
    scaled = raw / np.quantile(raw, 0.99, axis=(1, 2), keepdims=True)
    for images in (raw, scaled):
        scores = []
        for threshold in np.quantile(images, np.linspace(0.5, 0.999, 60)):
            found = images > threshold
            both = (found & masks).sum((1, 2))
            scores.append(float(np.mean(2 * both / (found.sum((1, 2)) + masks.sum((1, 2))))))
        assert max(scores) < 0.5


@pytest.mark.parametrize("label", [1, 2, 3])
def test_raw_values_do_not_tell_the_class(folder: Path, items: list[dict[str, Any]], label: int) -> None:
    highest = np.array([float(_read(folder / item["file"])[0].max()) for item in items])
    here = np.array([item["tumor_label"] == label for item in items])
    above = highest[here][:, None] > highest[~here]
    assert abs(float(above.mean()) - 0.5) < 0.12
    assert highest.max() > 4 * highest.min()


def test_identifiers_and_folds_exercise_grouping() -> None:
    patients = plan_patients(60, (3, 6), 0)
    assert [sum(p.label == label for p in patients) for label in (1, 2, 3)] == [20, 20, 20]
    assert len({p.group for p in patients}) == 60
    variants = [p for p in patients if len({s.patient for s in p.slices}) > 1]
    assert len(variants) == 6
    for person in variants:
        assert all(s.patient.startswith(person.group) for s in person.slices)
        assert len({s.fold for s in person.slices}) == 2
    assert {p.label for p in patients if p.group.startswith("MR")} == {1, 2, 3}
    assert {s.fold for p in patients for s in p.slices} == {1, 2, 3, 4, 5}
    assert [s.id for p in patients for s in p.slices] == list(range(1, 1 + sum(len(p.slices) for p in patients)))
    assert {s.view for p in patients for s in p.slices} == {"axial", "coronal", "sagittal"}


def test_a_second_call_makes_only_what_is_missing(tmp_path: Path) -> None:
    write_figshare_phantoms(tmp_path, 2, seed=0, **SMALL)
    before = _bytes(tmp_path)
    kept = (tmp_path / "1.mat").stat().st_mtime_ns
    (tmp_path / "2.mat").unlink()
    write_figshare_phantoms(tmp_path, 2, seed=0, **SMALL)
    assert _bytes(tmp_path) == before
    assert (tmp_path / "1.mat").stat().st_mtime_ns == kept


def test_two_sets_are_not_mixed(tmp_path: Path) -> None:
    write_figshare_phantoms(tmp_path, 2, seed=0, **SMALL)
    with pytest.raises(ValueError, match="made with seed = 0, not 1"):
        write_figshare_phantoms(tmp_path, 2, seed=1, **SMALL)
    with pytest.raises(ValueError, match="n_patients = 2, more than the 1 requested"):
        write_figshare_phantoms(tmp_path, 1, seed=0, **SMALL)
    (tmp_path / "phantoms.json").write_text("[]")
    with pytest.raises(ValueError, match="not a manifest of phantoms"):
        write_figshare_phantoms(tmp_path, 2, seed=0, **SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_patients": 0}, "n_patients has to be at least 1, got 0"),
        ({"slices_per_patient": (3, 2)}, r"fewest <= most, got \(3, 2\)"),
        ({"size": 16}, "between 32 and 1024 pixels, got 16"),
        ({"seed": -1}, "seed has to be 0 or more, got -1"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_figshare_phantoms(tmp_path, **{"n_patients": 1, "progress": False, **wrong})


def test_trace_border_of_a_disc() -> None:
    row, column = np.mgrid[:40, :50]
    border = trace_border(12.0 - np.hypot(row - 18.0, column - 21.0))
    np.testing.assert_allclose(np.hypot(border[:, 0] - 21, border[:, 1] - 18), 12, atol=0.1)
    with pytest.raises(ValueError, match="Nothing to outline"):
        trace_border(np.full((4, 4), -1.0))
