"""A folder without data is refused before any network is built."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckdmed.bundle import check_dataset
from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.data.brats import build_brats_datalist, write_brats_datalist
from ckdmed.data.phantoms import write_brats_phantoms
from tests.bundle.bundle_runs import BUNDLES, opened, record

pytestmark = pytest.mark.usefixtures("process_as_it_was")

# the bundle's network cannot be built without notice
UNBUILT = {"_target_": "pytest.fail", "reason": "the network was built"}
NO_SLICE, NO_CASE = "no .mat file of a slice in this folder or below", "no case found in this folder or below"
TRAININGS: list[tuple[str, dict[str, Any], str]] = [
    *((path.name, {}, NO_CASE if path.name.startswith("brats") else NO_SLICE) for path in sorted(BUNDLES.glob("*_*"))),
    ("cls_kd", {"task": "brats_slice"}, NO_CASE),
    ("cls_teacher", {"task": "brats_type"}, NO_CASE),
]


def refusals(bundle: str, settings: dict[str, Any], data: Path, output: Path, checkpoint: Path) -> list[str]:
    """What the training and the evaluation say of the data, before a network is built."""
    record(checkpoint, bundle, **settings)
    given = {"dataset_dir": str(data), "output_dir": str(output), "network_def": UNBUILT, **settings}
    said = []
    for files, more in ((["train.json"], {}), (["train.json", "evaluate.json"], {"checkpoint": str(checkpoint)})):
        with pytest.raises(Exception) as caught:
            opened(bundle, *files, **given, **more)
        cause = root_cause(caught.value)
        assert isinstance(cause, RefusedStart)
        said.append(str(cause))
    return said


@pytest.mark.bundle
@pytest.mark.parametrize(("bundle", "settings", "message"), TRAININGS)
def test_every_bundle_looks_for_its_data_first(bundle: str, settings: dict[str, Any], message: str, tmp_path: Path):
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "notes.txt").write_text("to be downloaded")
    for said in refusals(bundle, settings, data, output, tmp_path / "model.pt"):
        assert message in said and str(data) in said and not output.exists()


@pytest.fixture()
def cases(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    write_brats_phantoms(folder, 3, (16, 16, 16))
    return folder


@pytest.mark.bundle
@pytest.mark.parametrize(
    ("bundle", "settings"),
    [
        *((path.name, {}) for path in sorted(BUNDLES.glob("brats_*"))),
        ("cls_kd", {"task": "brats_slice"}),
        ("cls_teacher", {"task": "brats_type"}),
    ],
)
def test_a_folder_of_unusable_cases_is_refused_first(
    bundle: str, settings: dict[str, Any], cases: Path, tmp_path: Path
) -> None:
    for path in cases.rglob("*-t1c.nii.gz"):
        path.unlink()
    output = tmp_path / "out"
    for said in refusals(bundle, settings, cases, output, tmp_path / "model.pt"):
        assert f"{cases}: none of 3 cases is usable; the first: " in said and "missing: t1c" in said
        assert not output.exists()


def test_one_usable_case_will_do(cases: Path) -> None:
    first, second, third = (next(iter(sorted(path.glob("*-seg.nii.gz")))) for path in sorted(cases.glob("BraTS*")))
    first.write_bytes(b"no mask")
    # the header is whole
    second.write_bytes(gzip.compress(gzip.decompress(second.read_bytes())[:600]))
    check_dataset(str(cases), cases=True, modalities=["t1c"])
    third.unlink()
    with pytest.raises(RefusedStart, match=f"{cases}: none of 3 cases is usable; the first: "):
        check_dataset(str(cases), cases=True, modalities=["t1c"])
    check_dataset(str(cases), cases=True)


def test_files_of_a_list_of_cases_must_be_there(cases: Path) -> None:
    datalist, _ = build_brats_datalist(cases, fractions=(1, 0, 0), modalities=["t1c", "t2f"], progress=False)
    write_brats_datalist(datalist, cases / "datalist.json")
    check_dataset(str(cases), cases=True, modalities=["t2f"])
    with pytest.raises(RefusedStart, match="lacks t1n"):
        check_dataset(str(cases), cases=True, modalities=["t1n", "t2f"])
    gone = cases / datalist["training"][-1]["image"][0]
    gone.unlink()
    with pytest.raises(RefusedStart, match=f"{gone}: no such file, though the datalist names it"):
        check_dataset(str(cases), cases=True, modalities=["t2f"])
    check_dataset(str(cases), cases=True)


def test_datalists_are_looked_at_too(tmp_path: Path):
    check_dataset(None)
    stored = tmp_path / "datalist.json"
    stored.write_text("{")
    for given in (tmp_path, stored):
        with pytest.raises(RefusedStart, match="datalist.json"):
            check_dataset(str(given))
    stored.write_text('{"training": [{"id": "1", "tumor_label": 1}]}')
    with pytest.raises(RefusedStart, match="datalist.json"):
        check_dataset(str(tmp_path))
    with pytest.raises(RefusedStart, match="datalist.json"):
        check_dataset(str(tmp_path), cases=True)
    # that of a user is read where the bundle says what is labelled
    stored.write_text('{"training": [{"image": "1.png", "patient": "1"}]}')
    check_dataset(str(stored))
    with pytest.raises(RefusedStart, match=rf"{stored}: training\[0\]: {tmp_path}/1.png: no such file"):
        check_dataset(str(stored), target="label")
    with pytest.raises(RefusedStart, match="neither a folder nor a datalist"):
        check_dataset(str(tmp_path / "nowhere"))
    with pytest.raises(RefusedStart, match="is not a folder"):
        check_dataset(str(stored), cases=True)


def own_masks(folder: Path, *values: int) -> Path:
    items = []
    for number, value in enumerate(values):
        for part in ("image", "mask"):
            picture = np.full((8, 8), value if part == "mask" else 7 + number, np.uint8)
            Image.fromarray(picture).save(folder / f"{part}{number}.png")
        items.append({"image": f"image{number}.png", "label": f"mask{number}.png", "patient": str(number)})
    stored = folder / "datalist.json"
    stored.write_text(json.dumps({"training": items}))
    return stored


def test_a_mask_whose_value_no_region_has_is_refused_before_the_run_writes(tmp_path: Path):
    stored = own_masks(tmp_path, 1, 2, 1)
    said = (
        rf"{tmp_path}/mask1.png: the label has the value 2, which no region contains \({{'whole': \[1\]}}\); add it to"
    )
    with pytest.raises(RefusedStart, match=said):
        check_dataset(str(stored), regions={"whole": [1]})
    check_dataset(str(stored), regions={"whole": [1], "background": [2]})
    check_dataset(str(stored), regions={"whole": None})
    output = tmp_path / "output"
    with pytest.raises(Exception) as caught:
        opened("seg_kd", "train.json", dataset_dir=str(stored), output_dir=str(output), regions={"whole": 1})
    assert "the label has the value 2" in str(root_cause(caught.value)) and not output.exists()


def test_a_region_that_no_mask_shows_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    stored = own_masks(tmp_path, 1, 2)
    check_dataset(str(stored), regions={"whole": [1, 2], "core": [2]})
    assert not caplog.text
    check_dataset(str(stored), regions={"whole": [1, 2], "core": [3]})
    assert f"{stored}: no mask contains 'core' (values [3]); the masks' values are 1, 2." in caplog.text


@pytest.mark.parametrize(("listed", "images"), [(2, 1), (1, 2), (3, 2)])
def test_items_list_as_many_images_as_the_network_takes(listed: int, images: int, tmp_path: Path):
    """Another number failed in a layer of the network, after all data were read."""
    stored = own_masks(tmp_path, 1, 2, 1)
    content = json.loads(stored.read_text())
    for item in content["training"]:
        item["image"] = [item["image"]] * images if images > 1 else item["image"]
    content["training"][1]["image"] = [f"image{(number + 1) % 2}.png" for number in range(listed)]
    stored.write_text(json.dumps(content))
    said = (
        f"{stored}: training[1] lists {listed} image{'s' * (listed > 1)}, but input_images is {images}; train with "
        f"--input_images {listed}, or list {images} image{'s' * (images > 1)} for each item."
    )
    output = tmp_path / "output"
    for told in (
        lambda: check_dataset(str(stored), images=images),
        lambda: opened(
            "seg_teacher", "train.json", dataset_dir=str(stored), output_dir=str(output), input_images=images
        ),
    ):
        with pytest.raises(Exception) as caught:
            told()
        cause = root_cause(caught.value)
        assert isinstance(cause, RefusedStart) and str(cause) == said and not output.exists()
    check_dataset(str(stored))


def test_one_image_in_a_list_is_one_image(tmp_path: Path):
    stored = own_masks(tmp_path, 1, 2)
    content = json.loads(stored.read_text())
    content["training"][0]["image"] = [content["training"][0]["image"]]
    stored.write_text(json.dumps(content))
    check_dataset(str(stored), images=1)


def own_classes(folder: Path, **change: Any) -> Path:
    """Nine patients, three of them listed for validation; the first item of the training is changed."""
    stored = own_masks(folder, *[1] * 9)
    items = json.loads(stored.read_text())["training"]
    for number, item in enumerate(items):
        item["class"] = ("benign", "malignant")[number % 2]
    items[0].update(change)
    stored.write_text(json.dumps({"training": items[:6], "validation": items[6:]}))
    return stored


@pytest.mark.bundle
@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"patient": ""}, {}, r"training[0]: 'patient' must say whose image it is"),
        ({"image": "none.png"}, {}, "none.png: no such file"),
        ({"pseudo-label": True}, {}, "training[0]: unknown key 'pseudo-label'; did you mean 'pseudo_label'?"),
        ({"patient": "8"}, {}, ": 1 patient group crosses a split: '8' is in train"),
        ({}, {"fold": 1}, "fold 1 would train on patients whom "),
    ],
)
@pytest.mark.parametrize("bundle", ["seg_teacher", "seg_kd", "cls_teacher", "cls_kd"])
def test_what_is_wrong_with_an_own_datalist_is_told_before_a_network_is_built(
    bundle: str, change: dict[str, Any], settings: dict[str, Any], message: str, tmp_path: Path
):
    """It was told of with a traceback, when the run read its sections."""
    output = tmp_path / "output"
    stored = own_classes(tmp_path, **change)
    given = {"dataset_dir": str(stored), "output_dir": str(output), "network_def": UNBUILT, **settings}
    if bundle.startswith("cls"):
        given["class_names"] = ["benign", "malignant"]
    with pytest.raises(Exception) as caught:
        opened(bundle, "train.json", **given)
    cause = root_cause(caught.value)
    assert isinstance(cause, RefusedStart) and str(stored) in str(cause) and message in str(cause)
    assert not output.exists()


def test_classes_of_an_own_datalist_are_those_of_the_network(tmp_path: Path):
    stored = own_classes(tmp_path)
    for scored in (False, True):
        check_dataset(str(stored), target="class", class_names=["benign", "malignant"], scored=scored)
        with pytest.raises(RefusedStart, match=f"{stored}: the image 'image1' has the class 'malignant', but class_na"):
            check_dataset(str(stored), target="class", class_names=["benign", "other"], scored=scored)


def test_an_evaluation_draws_no_sections(tmp_path: Path):
    stored = own_masks(tmp_path, 1)
    with pytest.raises(RefusedStart, match=f"{stored}: 1 patient group cannot fill 3 sections"):
        check_dataset(str(stored), target="label")
    check_dataset(str(stored), target="label", scored=True)
