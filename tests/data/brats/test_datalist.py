from __future__ import annotations

import json

import numpy as np
import pytest
from monai.data import Dataset
from monai.data.utils import list_data_collate
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from ckdmed import cli
from ckdmed.data.brats import (
    build_brats_datalist,
    load_brats_datalist,
    read_brats_datalist,
    select_brats_items,
    write_brats_datalist,
)
from ckdmed.transforms import SelectModalitiesd

from .conftest import brain, mask, save

WITHOUT_ET = np.where(mask() == 3, 1, mask()).astype(np.uint8)


@pytest.fixture
def folder(make_case, tmp_path):
    """20 GLI persons (half without ET), 10 MET persons, all with two time points of one modality."""
    for person in range(30):
        kind = "MET" if person >= 20 else "GLI"
        for time in range(2):
            seg = WITHOUT_ET if person % 2 and kind == "GLI" else mask()
            case = f"BraTS-{kind}-{person:05d}-{time:03d}"
            make_case(case, leave_out=("t1c", "t2w", "t2f"), seg=seg, t1n=brain(seed=person))
    return tmp_path


def test_patients_stay_whole_and_sections_are_balanced(folder):
    datalist, skipped = build_brats_datalist(folder, seed=3, modalities=["t1n"], progress=False)
    assert not skipped
    groups = {name: {i["patient_group"] for i in datalist[name]} for name in ("training", "validation", "test")}
    assert [len(groups[name]) for name in groups] == [24, 3, 3]
    assert not (groups["training"] & groups["validation"]) and not (groups["training"] & groups["test"])
    for name in ("validation", "test"):
        kinds = {(i["tumour_type"], i["has_et"]) for i in datalist[name]}
        assert kinds == {("GLI", True), ("GLI", False), ("MET", True)}
    assert [datalist["num" + k] for k in ("Training", "Validation", "Test")] == [48, 6, 6]
    assert build_brats_datalist(folder, seed=3, modalities=["t1n"], progress=False)[0] == datalist


def test_a_datalist_outside_of_its_folder_is_warned_of(folder, tmp_path_factory, capsys):
    other = tmp_path_factory.mktemp("other") / "dl.json"
    words = ["brats-datalist", str(folder), "--modalities", "t1n", "--quiet"]
    assert cli.main([*words, "--output", str(other)]) == 0
    told = capsys.readouterr().err
    assert f"{other} is not in {folder}, to which its paths are relative" in told
    assert f"--dataset_dir {folder}" in told and f"--base-dir {folder}" in told
    assert cli.main(words) == 0
    assert "is not in" not in capsys.readouterr().err


def test_patients_with_a_case_without_a_mask_only_train(folder):
    given = {"modalities": ["t1n"], "require_label": False, "progress": False}
    without = {f"BraTS-GLI-{person:05d}" for person in range(10)}
    for patient in without:
        # the other time point has one
        next(folder.rglob(f"{patient}-001-seg.nii.gz")).unlink()
    datalist, skipped = build_brats_datalist(folder, **given)
    assert not skipped and [datalist[name] != [] for name in ("training", "validation", "test")] == [True] * 3
    assert all("label" in item for name in ("validation", "test") for item in datalist[name])
    assert {f"{patient}-{time:03d}" for patient in without for time in (0, 1)} <= {
        item["case"] for item in datalist["training"]
    }
    assert [datalist["num" + k] for k in ("Training", "Validation", "Test")] == [48, 6, 6]
    # an inference takes any section
    for path in folder.rglob("*-seg.nii.gz"):
        path.unlink()
    assert [len(build_brats_datalist(folder, **given)[0][name]) for name in ("validation", "test")] == [6, 6]
    every = build_brats_datalist(folder, fractions=(0, 0, 1), **given)[0]
    assert len(every["test"]) == 60


def test_items_describe_the_case(make_case, tmp_path):
    make_case("Brats18_TCIA05_396_1", "HGG", et=4)
    datalist, _ = build_brats_datalist(tmp_path, fractions=(1, 0, 0), progress=False)
    item = datalist["training"][0]
    assert item["label_voxels"] == {"NCR": 4, "ED": 10, "ET": 2} and item["has_et"] is True
    assert item["image"][1] == "HGG/Brats18_TCIA05_396_1/Brats18_TCIA05_396_1_t1ce.nii.gz"
    expected = {"case": "Brats18_TCIA05_396_1", "patient": "TCIA05_396", "time_point": 1, "tumour_type": "GLI"}
    assert expected.items() <= item.items()
    assert (item["release"], item["grade"], item["modalities"]) == ("2018", "HGG", ["t1n", "t1c", "t2w", "t2f"])


def test_masks_with_foreign_labels_are_left_out_by_name(make_case, tmp_path):
    make_case("Brats18_TCIA05_396_1", et=3)
    make_case("BraTS-MET-00001-000", seg=mask().astype(np.float32) * 0.5)
    make_case("BraTS-MET-00002-000")
    datalist, skipped = build_brats_datalist(tmp_path, fractions=(1, 0, 0), progress=False)
    assert datalist["numTraining"] == 1
    reasons = {entry.case: entry.reason for entry in skipped}
    assert (
        "holds 3, not among the labels of BraTS 2018 (0 background, 1 NCR, 2 ED, 4 ET)"
        in reasons["Brats18_TCIA05_396_1"]
    )
    assert "whole numbers from 0 to 255" in reasons["BraTS-MET-00001-000"]


def test_a_cavity_makes_it_a_case_of_2024(make_case, tmp_path):
    seg = mask()
    seg[6, 6, 1] = 4
    make_case("BraTS-GLI-02060-100", seg=seg)
    item = build_brats_datalist(tmp_path, fractions=(1, 0, 0), progress=False)[0]["training"][0]
    assert item["release"] == "2024" and item["label_voxels"]["RC"] == 1


def test_loaded_items_pass_through_monai(make_case, tmp_path):
    make_case("BraTS-GLI-00001-000")
    save(tmp_path / "Task01/imagesTr/BRATS_001.nii.gz", np.stack([brain(seed=i) for i in (3, 0, 1, 2)], axis=-1))
    save(tmp_path / "Task01/labelsTr/BRATS_001.nii.gz", mask())
    datalist, _ = build_brats_datalist(tmp_path, fractions=(1, 0, 0), progress=False)
    path = write_brats_datalist(datalist, tmp_path / "lists" / "datalist.json")
    items = load_brats_datalist(path, base_dir=tmp_path)
    # MONAI's reader stacks a list of files along a new first axis; a 4-D file has its channels last.
    chain = Compose(
        [
            LoadImaged(["image", "label"]),
            EnsureChannelFirstd("label", channel_dim="no_channel"),
            EnsureChannelFirstd("image"),
            SelectModalitiesd("image", ["t1c", "t2f"]),
        ]
    )
    batch = list_data_collate(list(Dataset(items, chain)))
    assert batch["image"].shape == (2, 2, 8, 9, 6) and batch["label"].shape == (2, 1, 8, 9, 6)
    for sample in batch["image"]:
        assert np.array_equal(sample[0], brain(seed=1)) and np.array_equal(sample[1], brain(seed=3))
    assert batch["labelled"] == [True, True] or batch["labelled"].all()


def test_only_a_share_of_the_patients_is_labelled(folder):
    datalist, _ = build_brats_datalist(folder, modalities=["t1n"], progress=False)
    path = write_brats_datalist(datalist, folder / "datalist.json")
    items = load_brats_datalist(path, label_fraction=0.25)
    assert sum(item["labelled"] for item in items) == 12
    by_patient = {}
    for item in items:
        by_patient.setdefault(item["patient_group"], set()).add(item["labelled"])
    assert all(len(flags) == 1 for flags in by_patient.values())


def test_a_share_is_of_the_patients_that_have_masks(folder):
    datalist, _ = build_brats_datalist(folder, modalities=["t1n"], fractions=(1, 0, 0), progress=False)
    for number, item in enumerate(datalist["training"]):
        if number % 4:
            del item["label"]
    assert sum("label" in item for item in datalist["training"]) == 15
    for seed in range(4):
        chosen = [i for i in select_brats_items(datalist, folder, label_fraction=0.2, seed=seed) if i["labelled"]]
        assert len(chosen) == 3 and all("label" in item for item in chosen)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": ["/etc/passwd"]}, "leaves the dataset's folder"),
        ({"label": "../x.nii.gz"}, "leaves the dataset's folder"),
        ({"image": ["C:\\x.nii"]}, "leaves the dataset's folder"),
        ({"modalities": ["ct"]}, "'modalities' must be one or more of"),
        ({"tumour_type": "XYZ"}, "a tumour type must be one of"),
        ({"tumor_label": 9}, "'tumor_label' must be the number"),
        ({"release": "1999"}, "a year from 2017"),
        ({"time_point": "0"}, "'time_point' must be a whole number"),
        ({"case": None}, "'case' must be text"),
        ({"image": ["a", "b"]}, "a list of one file, or of one file per modality"),
    ],
)
def test_a_datalist_is_checked_before_use(make_case, tmp_path, change, message):
    make_case("BraTS-GLI-00001-000")
    datalist, _ = build_brats_datalist(tmp_path, fractions=(1, 0, 0), progress=False)
    datalist["training"][0].update(change)
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(datalist))
    with pytest.raises(ValueError, match=message):
        read_brats_datalist(path)


def test_crossing_patients_and_double_ids_are_refused(make_case, tmp_path):
    make_case("BraTS-GLI-00001-000")
    datalist, _ = build_brats_datalist(tmp_path, fractions=(1, 0, 0), progress=False)
    item = datalist["training"][0]
    with pytest.raises(ValueError, match="is also used in"):
        write_brats_datalist({**datalist, "test": [item]}, tmp_path / "x.json")
    with pytest.raises(ValueError, match="cross(es)? a split"):
        write_brats_datalist({**datalist, "test": [{**item, "id": "other"}]}, tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("command", [["brats-datalist", "--fractions", "1", "0", "0"], ["check-brats"], ["prepare"]])
def test_every_command_over_cases_says_by_its_status_that_one_was_skipped(make_case, tmp_path, capsys, command):
    name, *options = command
    make_case("BraTS-GLI-00001-000", "cases")
    words = [name, str(tmp_path / "cases"), *options, "--quiet"]
    if name == "prepare":
        words += ["--output_dir", str(tmp_path / "out"), "--no-picture"]
    assert cli.main(words) == 0
    make_case("BraTS-GLI-00002-000", "cases", leave_out=("t1c",))
    assert cli.main([*words, *(["--force"] if name == "brats-datalist" else [])]) == 1
    assert "BraTS-GLI-00002-000: missing: t1c" in capsys.readouterr().out
    if name == "brats-datalist":
        assert read_brats_datalist(tmp_path / "cases" / "datalist.json")["numTraining"] == 1
