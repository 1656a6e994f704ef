from __future__ import annotations

import json

import numpy as np
import pytest

from ckdmed.bundle import brats_sections
from ckdmed.data.brats import build_brats_datalist, write_brats_datalist

from .conftest import AFFINE, brain, mask, save


@pytest.fixture
def folder(make_case, tmp_path):
    """Six persons under names of 2021 and, turned round, of 2023; and one of 2023 alone."""
    turned = AFFINE @ np.array([[-1.0, 0, 0, 7], [0, -1, 0, 8], [0, 0, 1, 0], [0, 0, 0, 1]])
    for person in range(6):
        image, label = brain(seed=person), mask(4)
        make_case(f"BraTS2021_{person:05d}", leave_out=("t1n", "t2w", "t2f"), seg=label, t1c=image)
        again = np.where(label == 4, 3, label).astype(np.uint8)[::-1, ::-1]
        parts = {"t1c": (image[::-1, ::-1].astype(np.float32), turned), "seg": (again, turned)}
        make_case(f"BraTS-GLI-{90 - person:05d}-000", leave_out=("t1n", "t2w", "t2f"), **parts)
    make_case("BraTS-GLI-00001-000", leave_out=("t1n", "t2w", "t2f"), t1c=brain(seed=9))
    return tmp_path


def build(folder, **options):
    return build_brats_datalist(folder, modalities=["t1c"], progress=False, **options)[0]


def test_one_person_of_two_releases_is_in_one_section(folder):
    with pytest.warns(UserWarning, match="patients have several names.*BraTS2021_00000 is BraTS-GLI-00090"):
        datalist = build(folder, fractions=(0.4, 0.3, 0.3))
    persons = [
        {90 - int(i["case"][-9:-4]) if "GLI" in i["case"] else int(i["case"][-5:]) for i in datalist[name]}
        for name in ("training", "validation", "test")
    ]
    assert [sorted(a & b) for a, b in zip(persons, persons[1:] + persons[:1])] == [[], [], []]
    assert sum(map(len, persons)) == 7
    groups = {item["case"]: item["patient_group"] for name in ("training", "test") for item in datalist[name]}
    assert groups.get("BraTS-GLI-00001-000", "BraTS-GLI-00001") == "BraTS-GLI-00001"


def test_a_copy_under_another_name_is_the_same_person(make_case, tmp_path, recwarn):
    for name, seed in (("00001", 1), ("00002", 1), ("00003", 2), ("00004", 3)):
        make_case(f"BraTS-GLI-{name}-000", leave_out=("t1n", "t2w", "t2f"), t1c=brain(seed=seed))
    datalist = build(tmp_path, fractions=(1, 0, 0))
    groups = [item["patient_group"] for item in datalist["training"]]
    assert groups == ["BraTS-GLI-00001", "BraTS-GLI-00001", "BraTS-GLI-00003", "BraTS-GLI-00004"]
    assert "BraTS-GLI-00002 is BraTS-GLI-00001" in str(recwarn.pop(UserWarning).message)


@pytest.mark.parametrize("corrected", [True, False])
def test_a_copy_with_another_mask_or_none_is_the_same_person(make_case, tmp_path, corrected):
    """It was a patient of its own, and could be trained on beside the test case of the same images."""
    for name, seed in (("00001", 1), ("00002", 1), ("00003", 2)):
        make_case(f"BraTS-GLI-{name}-000", leave_out=("t1n", "t2w", "t2f"), t1c=brain(seed=seed))
    seg = tmp_path / "BraTS-GLI-00002-000" / "BraTS-GLI-00002-000-seg.nii.gz"
    seg.unlink()
    if corrected:
        save(seg, np.where(mask() == 1, 2, mask()).astype(np.uint8))
    with pytest.warns(UserWarning, match="BraTS-GLI-00002 is BraTS-GLI-00001"):
        datalist = build(tmp_path, fractions=(1, 0, 0), require_label=False)
    assert {item["patient_group"] for item in datalist["training"]} == {"BraTS-GLI-00001", "BraTS-GLI-00003"}


def test_a_stored_list_with_one_person_in_two_sections_is_refused(folder):
    with pytest.warns(UserWarning, match="patients have several names"):
        datalist = build(folder, fractions=(0.4, 0.3, 0.3))
    # a list of before: groups by name alone, and one case of a person moved
    for name in ("training", "validation", "test"):
        for item in datalist[name]:
            item["patient_group"] = item["patient"]
    moved = next(item for item in datalist["training"] if item["case"].startswith("BraTS2021"))
    datalist["training"].remove(moved)
    datalist["test"].append(moved)
    write_brats_datalist(datalist, folder / "datalist.json")
    assert json.loads((folder / "datalist.json").read_text())["test"]
    with pytest.raises(ValueError, match=f"datalist.json: 1 patient under several names .*{moved['patient']}"):
        brats_sections(str(folder), modalities=["t1c"])
    # in two folds, both of which are for training in the first ones
    items = [item for name in ("training", "validation", "test") for item in datalist[name]]
    datalist |= {"training": items, "validation": [], "test": []}
    for item in items:
        number = 90 - int(item["case"][-7:-4]) if "GLI" in item["case"] else int(item["case"][-5:])
        item["fold"] = 4 if item["case"] == "BraTS2021_00003" else number % 5
    write_brats_datalist(datalist, folder / "datalist.json")
    for fold in (0, 2, 3):
        with pytest.raises(ValueError, match="1 patient under several names in several folds .*BraTS2021_00003"):
            brats_sections(str(folder), modalities=["t1c"], fold=fold)


def test_a_patient_in_two_spellings_of_a_table_is_one_person(make_case, tmp_path):
    """They stood in the training and in the test section."""
    for number in range(4):
        make_case(f"scan{number}", leave_out=("t1n", "t2w", "t2f"), t1c=brain(seed=number))
    table = {"scan0": "P 1", "scan1": "p-1", "scan2": "P2", "scan3": "P3"}
    with pytest.warns(UserWarning, match="identical images or spelling: p-1 is P 1"):
        datalist = build(tmp_path, fractions=(1, 0, 0), patients=table, release="2023", tumour_type="GLI")
    assert [item["patient_group"] for item in datalist["training"]] == ["P 1", "P 1", "P2", "P3"]


def test_names_that_tell_no_patient_are_told(make_case, tmp_path, caplog):
    """A follow-up under a name of its own was dealt to another section, without a word."""
    for number, case in enumerate(("UCSF-0004_FU1", "UCSF-0004_FU2", "sub-01_ses-1", "sub-01_ses-2")):
        make_case(case, leave_out=("t1n", "t2w", "t2f"), t1c=brain(seed=number))
    given = {"fractions": (1, 0, 0), "release": "2023", "tumour_type": "GLI"}
    build(tmp_path, **given)
    assert caplog.messages == [
        f"{tmp_path}: 2 cases have names that do not identify the patient, such as 'UCSF-0004_FU1'; each counts as a "
        f"separate patient, follow-ups too. To change this, first run: ckdmed brats-datalist {tmp_path} --patients "
        "FILE.csv"
    ]
    caplog.clear()
    build(tmp_path, patients={"UCSF-0004_FU1": "4", "UCSF-0004_FU2": "4"}, **given)
    assert not caplog.messages


def test_what_else_names_leave_open_is_told_with_the_command_that_sets_it(make_case, tmp_path, caplog):
    for number in range(2):
        make_case(f"scan{number}", leave_out=("t1n", "t2w", "t2f"), t1c=brain(seed=number))
    build(tmp_path, fractions=(1, 0, 0), patients={"scan0": "P1", "scan1": "P2"})
    first, second = caplog.messages
    run_first = f"To change this, first run: ckdmed brats-datalist {tmp_path}"
    assert "2 cases have names that do not give the tumour type, such as 'scan0'; each counts as GLI." in first
    assert first.endswith(f"{run_first} --tumour-type TYPE")
    assert "give the release, such as 'scan0'; their masks are read with the labels of 2023." in second
    assert second.endswith(f"{run_first} --release YEAR")
