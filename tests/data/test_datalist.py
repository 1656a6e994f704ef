from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from monai.data import DataLoader, Dataset, load_decathlon_datalist
from monai.transforms import LoadImaged

from ckdmed.data import (
    FigshareFileError,
    FigshareMatReader,
    build_figshare_datalist,
    check_datalist,
    check_no_group_crosses,
    load_figshare_datalist,
    read_datalist,
    read_official_folds,
    write_datalist,
)
from ckdmed.limits import MAX_BYTES_VARIABLE

from .conftest import upright_image

SECTIONS = ("training", "validation", "test")


def build(folder, **options):
    return build_figshare_datalist(folder, progress=False, **options)


def all_items(datalist):
    return [item for name in SECTIONS for item in datalist[name]]


def test_the_datalist_of_a_folder(small_set):
    datalist, skipped = build(small_set, seed=4)
    assert skipped == []
    assert (datalist["numTraining"], datalist["numValidation"], datalist["numTest"]) == (18, 9, 9)
    assert (datalist["seed"], datalist["tensorImageSize"], datalist["licence"]) == (4, "2D", "CC BY 4.0")
    assert datalist["split"] == {"by": "patient_group", "kind": "fractions", "fractions": [0.8, 0.1, 0.1]}
    items = {item["id"]: item for item in all_items(datalist)}
    assert sorted(items, key=int) == [str(i) for i in range(1, 37)]
    assert items["36"] == {
        "id": "36",
        "image": "36.mat",
        "label": "36.mat",
        "tumor_label": 3,
        "patient": "MR000012B",
        "patient_group": "MR000012",
        "official_fold": None,
        "sha256": hashlib.sha256((small_set / "36.mat").read_bytes()).hexdigest(),
    }
    check_no_group_crosses({name: datalist[name] for name in SECTIONS})
    for name in SECTIONS:
        assert {item["tumor_label"] for item in datalist[name]} == {1, 2, 3}


def test_the_same_folder_and_seed_give_the_same_list(small_set):
    assert build(small_set) == build(small_set)
    assert build(small_set)[0]["test"] != build(small_set, seed=1)[0]["test"]


def test_folds_are_stored(small_set):
    datalist, _ = build(small_set, folds=4, hashes=False)
    assert datalist["split"] == {"by": "patient_group", "kind": "folds", "folds": 4}
    assert {item["fold"] for item in datalist["test"]} == {0}
    assert {item["fold"] for item in datalist["validation"]} == {1}
    assert {item["fold"] for item in datalist["training"]} == {2, 3}
    assert {item["sha256"] for item in all_items(datalist)} == {None}


def test_official_folds_come_from_cvind(small_set, make_cvind):
    make_cvind([[5, 0, 2] + [1] * 32])
    items = {item["id"]: item for item in all_items(build(small_set, hashes=False)[0])}
    assert [items[i]["official_fold"] for i in ("1", "2", "3", "35", "36")] == [5, None, 2, 1, None]


def test_cvind_must_be_folds(make_cvind, tmp_path):
    assert read_official_folds(make_cvind([[1, 2, 0]])) == {1: 1, 2: 2}
    assert read_official_folds(make_cvind([[1], [2]])) == {1: 1, 2: 2}
    with pytest.raises(FigshareFileError, match="vector of folds 1 to 5"):
        read_official_folds(make_cvind([[1, 6]]))
    with pytest.raises(FigshareFileError, match=r"array of shape \(2, 2\)"):
        read_official_folds(make_cvind([[1, 2], [3, 4]]))
    with pytest.raises(FigshareFileError, match="missing at the top level: cvind"):
        read_official_folds(make_cvind([[1]], key="other"))


def test_bad_files_are_left_out_and_named(small_set, make_mat):
    make_mat("37.mat", label=np.array([[9.0]]))
    make_mat("more/1.mat")
    (small_set / "38.mat").write_bytes(b"")
    (small_set / "cvind.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    (small_set / "._1.mat").write_bytes(b"what macOS leaves behind")
    datalist, skipped = build(small_set, hashes=False)
    assert len(all_items(datalist)) == 36
    assert {entry.path.relative_to(small_set).as_posix() for entry in skipped} == {
        "37.mat",
        "38.mat",
        "more/1.mat",
        "cvind.mat",
    }
    reasons = {entry.path.name: entry.reason for entry in skipped}
    assert "label must be 1, 2 or 3" in reasons["37.mat"] and "v5" in reasons["cvind.mat"]
    assert "its id is taken by" in reasons["1.mat"]


def test_a_file_that_is_too_large_costs_no_other(small_set, make_mat, monkeypatch):
    make_mat("37.mat", image=np.eye(64), tumorMask=np.eye(64), tumorBorder=None)
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "9000")
    datalist, (left_out,) = build(small_set, hashes=False)
    assert len(all_items(datalist)) == 36 and "37.mat" in left_out.reason and MAX_BYTES_VARIABLE in left_out.reason


def test_subfolders_are_searched(small_set):
    (small_set / "part 1").mkdir()
    shutil.move(small_set / "1.mat", small_set / "part 1" / "1.mat")
    items = {item["id"]: item for item in all_items(build(small_set, hashes=False)[0])}
    assert items["1"]["image"] == "part 1/1.mat"


def test_linked_folders_are_searched(small_set, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(small_set / "1.mat", elsewhere / "1.mat")
    (small_set / "part").symlink_to(elsewhere, target_is_directory=True)
    (small_set / "round").symlink_to(small_set, target_is_directory=True)
    datalist, skipped = build(small_set)
    assert not skipped and {item["id"]: item["image"] for item in all_items(datalist)}["1"] == "part/1.mat"


def test_folders_without_slices_are_errors(tmp_path):
    with pytest.raises(ValueError, match="not a folder"):
        build(tmp_path / "none")
    with pytest.raises(ValueError, match="no .mat file of a slice"):
        build(tmp_path)
    (tmp_path / "1.mat").write_bytes(b"")
    with pytest.raises(ValueError, match="none of 1 .mat files is usable; the first: .*1.mat: the file is empty"):
        build(tmp_path)


def test_impossible_options_are_errors(small_set):
    with pytest.raises(ValueError, match="folds must be at least 3"):
        build(small_set, folds=2)
    with pytest.raises(ValueError, match="one each for training, validation, test"):
        build(small_set, fractions=(0.5, 0.5))


def test_a_written_list_loads_in_monai_and_here(small_set):
    datalist, _ = build(small_set)
    path = write_datalist(datalist, small_set / "datalist.json")
    assert read_datalist(path) == datalist
    assert not list(small_set.glob(".*"))
    theirs = load_decathlon_datalist(path, data_list_key="validation")
    ours = load_figshare_datalist(path, "validation")
    assert [item["image"] for item in ours] == [item["image"] for item in theirs]
    assert ours[0]["official_fold"] == 0
    loaded = Dataset(ours, LoadImaged(["image"], reader=FigshareMatReader()))
    assert next(iter(DataLoader(loaded, batch_size=9)))["image"].shape == (9, 16, 32)


def test_text_that_happens_to_be_a_path_stays_text(small_set):
    path = write_datalist(build(small_set)[0], small_set / "datalist.json")
    for name in ("36", "MR000012"):
        (small_set / name).mkdir()
    items = {item["id"]: item for name in SECTIONS for item in load_figshare_datalist(path, name)}
    assert items["36"]["patient_group"] == "MR000012"
    # What the function guards against.
    theirs = [item["id"] for name in SECTIONS for item in load_decathlon_datalist(path, data_list_key=name)]
    assert str(small_set / "36") in theirs


def test_base_dir_and_an_empty_section(small_set, tmp_path_factory):
    datalist, _ = build(small_set, hashes=False)
    path = tmp_path_factory.mktemp("other") / "list.json"
    write_datalist({**datalist, "test": []}, path)
    assert load_figshare_datalist(path, "test") == []
    assert load_figshare_datalist(path, base_dir=small_set)[0]["image"].startswith(str(small_set))
    with pytest.raises(ValueError, match="section must be one of"):
        load_figshare_datalist(path, "tset")


def test_writing_is_whole_or_not_at_all(small_set, monkeypatch):
    datalist, _ = build(small_set, hashes=False)
    path = write_datalist(datalist, small_set / "datalist.json")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("ckdmed.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_datalist({**datalist, "seed": 9}, path)
    assert path.read_bytes() == before and not list(small_set.glob(".*"))


@pytest.mark.parametrize(
    "image", ["../1.mat", "a/../../1.mat", "/etc/passwd", "C:\\1.mat", "..\\1.mat", "\\\\host\\share\\1.mat", "", "a\0"]
)
def test_paths_must_stay_in_the_folder(small_set, image):
    datalist, _ = build(small_set, hashes=False)
    datalist["training"][0]["image"] = image
    path = small_set / "datalist.json"
    path.write_text(json.dumps(datalist))
    with pytest.raises(ValueError, match="leaves the dataset's folder"):
        load_figshare_datalist(path, "training")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("id", 1, r"training\[0\]: 'id' must be str, got 1"),
        ("id", "2", "the id '2' appears twice"),
        ("tumor_label", 4, "must be 1, 2 or 3, got 4"),
        ("tumor_label", True, "must be int, got True"),
        ("patient_group", None, "'patient_group' must be str, got None"),
        ("official_fold", "1", "'official_fold' must be an integer or null"),
        ("sha256", 5, "'sha256' must be text or null"),
    ],
)
def test_items_of_the_wrong_form_are_errors(key, value, message):
    good = {"image": "1.mat", "label": "1.mat", "tumor_label": 1, "patient": "a", "patient_group": "a"}
    items = [{"id": "1", **good}, {"id": "2", **good}]
    items[0][key] = value
    with pytest.raises(ValueError, match=message):
        check_datalist({"training": items, "validation": [], "test": []}, "list.json")


def test_other_forms_are_errors(tmp_path):
    path = tmp_path / "datalist.json"
    with pytest.raises(ValueError, match="no such datalist"):
        read_datalist(path)
    for text, message in [
        ("{", "not JSON"),
        ("[1]", "JSON object, got list"),
        ('{"training": []}', "section 'validation' is missing"),
        ('{"training": [3], "validation": [], "test": []}', r"training\[0\] is a int, not an object"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_datalist(path)


def test_one_image_under_two_identifiers_is_one_person(make_mat, tmp_path):
    images = {1: upright_image(), 2: upright_image() + 1, 3: upright_image() + 2, 4: upright_image()}
    for number, image in images.items():
        make_mat(f"{number}.mat", PID=f"10000{number}", image=image)
    with pytest.warns(UserWarning, match="several identifiers, judging by identical images: 100004 is 100001"):
        datalist, _ = build_figshare_datalist(tmp_path, fractions=(1, 0, 0), progress=False)
    groups = {item["id"]: (item["patient"], item["patient_group"]) for item in datalist["training"]}
    assert groups["4"] == ("100004", "100001") and groups["2"] == ("100002", "100002")
