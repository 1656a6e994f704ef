"""A user's own datalist: its form, volumes, splits by patient, unlabelled images."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ckdmed.bundle import figshare_sections
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.sections import resolve_datalist
from ckdmed.data.slice_datalist import UnreadKeyWarning, read_slice_datalist
from ckdmed.sections.classification import figshare_classes
from tests.data.dicom_phantom import write_series


def png(path: Path, value: int = 200) -> str:
    array = np.zeros((8, 6), dtype=np.uint8)
    array[2:5, 1:4] = value
    Image.fromarray(array).save(path)
    return path.name


def write(folder: Path, **sections: Any) -> Path:
    path = folder / "datalist.json"
    path.write_text(json.dumps(sections), encoding="utf-8")
    return path


def items_of(folder: Path, patients: int = 10, each: int = 2, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "image": png(folder / f"p{p}_{n}.png", 100 + 2 * p + n),
            "label": png(folder / f"p{p}_{n}_mask.png", 1),
            "patient": f"p{p}",
            **more,
        }
        for p in range(patients)
        for n in range(each)
    ]


def test_training_alone_is_split_by_patient(tmp_path: Path) -> None:
    path = write(tmp_path, training=items_of(tmp_path))
    found = read_slice_datalist(path, progress=False)
    patients = {name: {item["patient"] for item in found[name]} for name in ("training", "validation", "test")}
    assert [len(patients[name]) for name in patients] == [8, 1, 1]
    assert not patients["training"] & (patients["validation"] | patients["test"])
    assert sum(len(found[name]) for name in patients) == 20


def test_patients_with_unlabelled_images_stay_in_training(tmp_path: Path) -> None:
    items = items_of(tmp_path)
    for item in items[:6:2]:  # one image of three patients
        del item["label"]
    sections = figshare_sections(str(write(tmp_path, training=items)), str(tmp_path / "none"))
    unlabelled = [item for item in sections["train"] if not item["labelled"]]
    assert {item["patient"] for item in unlabelled} == {"p0", "p1", "p2"} and len(unlabelled) == 3
    assert all(item["label"] == "" for item in unlabelled)
    assert all(item["labelled"] for name in ("validation", "test") for item in sections[name])


def test_given_sections_are_kept(tmp_path: Path) -> None:
    items = items_of(tmp_path, patients=6, each=1)
    path = write(tmp_path, training=items[:3], validation=items[3:4], test=items[4:])
    sections = figshare_sections(str(path), "none")
    assert {k: [i["patient"] for i in v] for k, v in sections.items()} == {
        "train": ["p0", "p1", "p2"],
        "validation": ["p3"],
        "test": ["p4", "p5"],
    }
    assert Path(sections["test"][0]["image"]) == tmp_path / "p4_0.png"


def test_validation_is_drawn_where_only_a_test_section_is_given(tmp_path: Path) -> None:
    items = items_of(tmp_path, patients=10, each=1)
    found = read_slice_datalist(write(tmp_path, training=items[:9], test=items[9:]), progress=False)
    assert [len(found[name]) for name in ("training", "validation", "test")] == [8, 1, 1]
    assert found["test"][0]["patient"] == "p9"


def test_a_volume_becomes_its_slices(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).random((6, 7, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    path = write(
        tmp_path, training=[{"image": "a.nii.gz", "label": "a.nii.gz", "patient": 1}], validation=items_of(tmp_path, 1)
    )
    found = read_slice_datalist(path, progress=False)
    assert [item["slice"] for item in found["training"]] == [0, 1, 2, 3, 4]
    assert len({item["id"] for item in found["training"]}) == 5 and found["training"][0]["patient"] == "1"
    assert len(read_slice_datalist(path, slice_axis=0, progress=False)["training"]) == 6


def test_volumes_that_are_cut_in_several_planes_are_told(tmp_path: Path) -> None:
    """A sagittal series among axial ones was cut along another direction, without a word."""
    items = []
    sagittal = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    for number, affine in enumerate([np.eye(4)] * 3 + [sagittal]):
        volume = np.random.default_rng(number).uniform(1, 9, (6, 5, 4)).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, affine), tmp_path / f"v{number}.nii.gz")
        items.append({"image": f"v{number}.nii.gz", "label": f"v{number}.nii.gz", "patient": f"p{number}"})
    with pytest.warns(UserWarning, match=r"several planes: 3 axial \(such as v0.nii.gz\), 1 sagittal .such as v3.nii"):
        read_slice_datalist(write(tmp_path, training=items), progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_slice_datalist(write(tmp_path, training=items[:3]), progress=False)
        read_slice_datalist(write(tmp_path, training=items), slice_axis="axial", progress=False)


def test_classes_are_numbered_by_class_names(tmp_path: Path) -> None:
    items = items_of(tmp_path, each=1)
    for number, item in enumerate(items):
        del item["label"]
        item["class"] = "cat" if number % 2 else "dog"
    del items[0]["class"]
    path = write(tmp_path, training=items)
    sections = figshare_classes(str(path), "none", class_names=["dog", "cat"])
    known = {item["patient"]: item["label"] for part in sections.values() for item in part if item["labelled"]}
    assert known == {f"p{n}": n % 2 for n in range(1, 10)}
    assert [item["patient"] for item in sections["train"] if not item["labelled"]] == ["p0"]
    with pytest.raises(ValueError, match="class 'cat'.*class_names is.*--class_names"):
        figshare_classes(str(path), "none", class_names=["dog", "bird"])


def test_a_class_that_no_image_has_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Classes that a list numbers from 1 were trained under the names of their neighbours."""
    items = items_of(tmp_path, each=1)
    for number, item in enumerate(items):
        item["class"] = 1 + number % 2
    path = write(tmp_path, training=items)
    figshare_classes(str(path), "none", class_names=["meningioma", "glioma", "pituitary tumour"])
    assert "datalist.json: no labelled training image has the class meningioma (class_names is " in caplog.text
    caplog.clear()
    for item in items:
        item["class"] -= 1
    figshare_classes(str(write(tmp_path, training=items)), "none", class_names=["benign", "malignant"])
    # what is logged besides depends on the tests before
    assert "has the class" not in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patient": None}, r"training\[0\]: 'patient' must say whose"),
        ({"image": "../x.png"}, "leaves the dataset's folder"),
        ({"image": "none.png"}, r"training\[0\].*none.png: no such file"),
        ({"image": 3}, "'image' must be a path"),
        ({"label": 1}, "a class is given as 'class'"),
        ({"class": [1]}, "'class' must be the name"),
        ({"id": "p1_0"}, "the id 'p1_0' appears twice"),
    ],
)
def test_errors_name_the_item(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    items = items_of(tmp_path, 2, 1)
    items[0].update(change)
    with pytest.raises(ValueError, match=message):
        read_slice_datalist(write(tmp_path, training=items), progress=False)


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("label", "mask"),
        ("label", "Segmentation"),
        ("label", "lable"),
        ("pseudo_label", "pseudo-label"),
        ("pseudo_label", "pseudolabel"),
        ("class", "Class"),
        ("patient", "patient_id"),
        ("image", "images"),
        ("id", "ID"),
    ],
)
def test_a_misspelt_key_is_refused(tmp_path: Path, key: str, other: str) -> None:
    """A mask under `mask` made its patient unlabelled; `pseudo-label` let the masks of networks be scored."""
    items = items_of(tmp_path, 5, 1)
    items[3] |= {"class": "a", "id": "x", "pseudo_label": True}
    items[3][other] = items[3].pop(key)
    with pytest.raises(ValueError, match=rf"training\[3\]: unknown key '{other}'; did you mean '{key}'\?$"):
        read_slice_datalist(write(tmp_path, training=items), progress=False)


def test_notes_are_allowed_and_told_once(tmp_path: Path) -> None:
    # `patient_id` is a note too beside `patient`
    items = items_of(tmp_path, 5, 1, age=40, uid="1.2", patient_id="x")
    items[1]["stage"] = "II"
    path = write(tmp_path, training=items)
    with pytest.warns(UnreadKeyWarning) as caught:
        read_slice_datalist(path, progress=False)
    (told,) = caught
    assert str(told.message).startswith(
        f"{path}: these keys are not read: 'age' (in 5 items), 'patient_id' (in 5 items), 'stage' (in 1 item), "
        "'uid' (in 5 items). The keys of an item are image, label, "
    )


def test_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    items = items_of(tmp_path, 2, 2)
    with pytest.raises(ValueError, match="cross(es)? a split.*'p1'"):
        figshare_sections(str(write(tmp_path, training=items[:3], validation=items[3:])), "none")


@pytest.mark.parametrize("how", ["listed twice", "copied", "linked"])
def test_one_image_of_two_patients_is_one_person(tmp_path: Path, how: str) -> None:
    items = items_of(tmp_path)
    again = {**items[0], "patient": "q", "id": "again"}
    if how != "listed twice":
        again["image"] = "again.png"
        content = tmp_path / items[0]["image"]
        (
            (tmp_path / "again.png").symlink_to(content)
            if how == "linked"
            else shutil.copy(content, tmp_path / "again.png")
        )
    with pytest.warns(UserWarning, match="by identical images: q is p0"):
        found = read_slice_datalist(write(tmp_path, training=[*items, again]), progress=False)
    groups = {
        item["patient"]: item["patient_group"] for name in ("training", "validation", "test") for item in found[name]
    }
    assert groups["q"] == "p0" and len(set(groups.values())) == 10
    path = write(tmp_path, training=items[2:], validation=items[:2], test=[again])
    with pytest.warns(UserWarning, match="q is p0"), pytest.raises(ValueError, match="'p0' is in test, validation"):
        figshare_sections(str(path), str(tmp_path / "none"))


def test_one_series_of_two_patients_is_one_person(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 99, (6, 5, 3)).astype(np.int16)
    write_series(tmp_path / "a", volume)
    write_series(tmp_path / "b", volume + 1)
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    (tmp_path / "c/slice00.dcm").rename(tmp_path / "c/first.dcm")
    items = [{"image": name, "patient": name} for name in "abc"]
    path = write(tmp_path, training=[*items_of(tmp_path), *items])
    with pytest.warns(UserWarning, match="by identical images: c is a$"):
        found = read_slice_datalist(path, progress=False)
    assert {item["patient_group"] for item in found["training"] if item["patient"] in "abc"} == {"a", "b"}


def test_unlabelled_validation_is_refused_and_unlabelled_test_left_out(tmp_path: Path) -> None:
    items = items_of(tmp_path, 4, 1)
    for item in (items[2], items[3]):
        del item["label"]
    path = write(tmp_path, training=items[:1], validation=items[2:3])
    with pytest.raises(ValueError, match="validation image 'p2_0' has no label"):
        figshare_sections(str(path), "none")
    path = write(tmp_path, training=items[:1], validation=items[1:2], test=items[3:])
    with pytest.warns(UserWarning, match=r"1 image of the section test without a label"):
        assert not figshare_sections(str(path), "none")["test"]


def test_a_file_that_is_no_datalist(tmp_path: Path) -> None:
    (tmp_path / "datalist.json").write_text("[" * 100000, encoding="utf-8")
    with pytest.raises(ValueError, match="datalist.json: not JSON"):
        resolve_datalist(tmp_path)
    (tmp_path / "x.txt").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="neither a folder nor a datalist"):
        figshare_sections(str(tmp_path / "x.txt"), "none")


def test_one_patient_in_two_spellings_stays_on_one_side(tmp_path: Path) -> None:
    items = items_of(tmp_path, patients=8, each=1)
    for item, patient in zip(items, ["P-1", "p_1", " P 1 ", "P1", "P2", "p3", "01", "1"]):
        item["patient"] = patient
    path = write(tmp_path, training=items)
    with pytest.warns(UserWarning, match="by their spelling: P-1 is P 1, p_1 is P 1$"):
        found = read_slice_datalist(path, progress=False)
    groups = {item["patient"]: item["patient_group"] for name in SECTIONS for item in found[name]}
    assert {name for name, group in groups.items() if group == "P 1"} == {"P-1", "p_1", "P 1"}
    assert len(set(groups.values())) == 6  # P1, and numbers with zeros before them, are others
    assert len({name for name in SECTIONS for item in found[name] if item["patient_group"] == "P 1"}) == 1
    path = write(tmp_path, training=items[4:], validation=items[:1], test=items[1:2])
    with pytest.warns(UserWarning, match="by their spelling"), pytest.raises(
        ValueError, match="'P-1' is in test, valid"
    ):
        figshare_sections(str(path), str(tmp_path / "none"))


def test_spaces_around_a_patient_are_none_of_the_name(tmp_path: Path) -> None:
    items = items_of(tmp_path, patients=4, each=1)
    items[0]["patient"] = "p3 "
    with pytest.raises(ValueError, match="'p3' is in train, validation"):
        figshare_sections(str(write(tmp_path, training=items[:3], validation=items[3:])), str(tmp_path / "none"))
    items[0]["patient"] = "  "
    with pytest.raises(ValueError, match="'patient' must say whose image it is"):
        read_slice_datalist(write(tmp_path, training=items), progress=False)


def test_images_under_a_name_that_is_no_section_are_refused(tmp_path: Path) -> None:
    items = items_of(tmp_path, patients=4, each=1)
    path = write(tmp_path, training=items[:3], Test=items[3:], modality=["MR"], folds=[{"fold": 1}])
    with pytest.raises(
        ValueError, match="images under 'Test', which is not a section; the sections are training, valid"
    ):
        read_slice_datalist(path, progress=False)
    path = write(tmp_path, training=items, modality=["MR"], folds=[{"fold": 1}])
    assert len(read_slice_datalist(path, progress=False)["training"]) == 2


def test_a_list_without_labels_says_so(tmp_path: Path) -> None:
    items = items_of(tmp_path, patients=4, each=1)
    for item in items:
        del item["label"]
    with pytest.raises(ValueError, match="no patient of the section 'training' has a 'label' for every image"):
        read_slice_datalist(write(tmp_path, training=items), progress=False)
