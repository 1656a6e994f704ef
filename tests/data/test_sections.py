from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from ckdmed.data import FigshareMatReader, build_figshare_datalist, resolve_datalist, select_sections, write_datalist


def make_datalist(persons=15, slices=4, official=None, folds=None):
    from ckdmed.data.datalist import assemble_datalist

    items = []
    for number in range(persons * slices):
        person = number // slices
        items.append(
            {
                "id": str(number + 1),
                "image": f"{number + 1}.mat",
                "label": f"{number + 1}.mat",
                "tumor_label": 1 + person % 3,
                "patient": f"p{person}",
                "patient_group": f"p{person}",
                "official_fold": None if official is None else official(number),
                "sha256": None,
            }
        )
    return assemble_datalist(items, 0, (0.6, 0.2, 0.2), folds)


def ids(items):
    return {item["id"] for item in items}


def groups(items):
    return {item["patient_group"] for item in items}


def test_the_sections_of_the_datalist_are_kept():
    datalist = make_datalist()
    sections = select_sections(datalist, "data")
    for ours, theirs in (("train", "training"), ("validation", "validation"), ("test", "test")):
        assert [item["id"] for item in sections[ours]] == [item["id"] for item in datalist[theirs]]
        assert all(item["labelled"] is True for item in sections[ours])
    first = sections["train"][0]
    assert first["image"] == first["label"] == os.path.join(os.path.abspath("data"), f"{first['id']}.mat")
    assert set(first) == {"image", "label", "labelled", "id", "tumor_label", "patient", "patient_group"}


def test_new_fractions_split_all_items_again():
    datalist = make_datalist()
    sections = select_sections(datalist, "data", fractions=(0.2, 0.4, 0.4), seed=1)
    assert [len(sections[name]) for name in ("train", "validation", "test")] == [12, 24, 24]
    assert len(ids(sections["train"]) | ids(sections["validation"]) | ids(sections["test"])) == 60


@pytest.mark.parametrize("folds", [None, 5], ids=["new folds", "stored folds"])
def test_every_item_is_tested_once_over_the_folds(folds):
    datalist = make_datalist(folds=folds)
    runs = [select_sections(datalist, "data", fold=fold) for fold in range(5)]
    tested = [ids(run["test"]) for run in runs]
    assert sum(len(part) for part in tested) == len(set().union(*tested)) == 60
    for fold, run in enumerate(runs):
        assert ids(run["validation"]) == tested[(fold + 1) % 5]
        assert ids(run["train"]) == set().union(*tested) - tested[fold] - tested[(fold + 1) % 5]


@pytest.mark.parametrize("by", [{"fold": fold} for fold in range(5)] + [{"fractions": (0.4, 0.3, 0.3), "seed": 1}])
def test_patients_with_unlabelled_images_stay_in_training(by):
    datalist = make_datalist()
    items = [item for name in ("training", "validation", "test") for item in datalist[name]]
    # one image of one patient, all of three others
    unlabelled = [item for item in items if item["patient"] in ("p1", "p5", "p6") or item["id"] == "13"]
    for item in unlabelled:
        item["label"] = ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sections = select_sections(datalist, "d", **by)
    assert groups(unlabelled) <= groups(sections["train"]) and sections["validation"] and sections["test"]
    assert {item["id"] for item in sections["train"] if not item["labelled"]} == ids(unlabelled)
    assert sum(map(len, sections.values())) == len(items)


def test_stored_folds_that_part_a_patient_are_refused_whichever_is_tested():
    datalist = make_datalist(folds=5)
    items = [item for name in ("training", "validation", "test") for item in datalist[name]]
    first = next(item for item in items if item["fold"] == 2)
    other = next(item for item in items if item["fold"] == 3)
    other["patient_group"] = first["patient_group"]
    # drawn ones keep patients together
    assert select_sections(datalist, "data", fold=0, n_folds=4)["test"]
    for fold in range(5):
        with pytest.raises(ValueError, match="folds of the datalist split patients: .*is in fold 2, fold 3"):
            select_sections(datalist, "data", fold=fold)


def test_stored_folds_hold_for_every_seed_and_new_ones_do_not():
    stored, new = make_datalist(folds=5), make_datalist()
    assert select_sections(stored, "d", fold=0, seed=0)["test"] == select_sections(stored, "d", fold=0, seed=1)["test"]
    assert select_sections(new, "d", fold=0, seed=0)["test"] != select_sections(new, "d", fold=0, seed=1)["test"]


def test_official_folds_without_split_persons():
    datalist = make_datalist(official=lambda number: 1 + (number // 4) % 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sections = select_sections(datalist, "d", fold=0, fold_source="official")
    assert groups(sections["test"]) == {"p0", "p5", "p10"}
    assert groups(sections["validation"]) == {"p1", "p6", "p11"}


def test_official_folds_that_split_persons_leave_no_person_on_two_sides():
    # Person 0 has slices 1-4: one in the test fold, one in the validation fold, two in training. Person 1 has two
    # slices in validation and two in training.
    special = {0: 1, 1: 2, 2: 3, 3: 4, 4: 2, 5: 2, 6: 3, 7: 3}
    datalist = make_datalist(official=lambda number: special.get(number, 1 + (number // 4) % 5))
    with pytest.warns(UserWarning, match="split patients: 5 slice"):
        sections = select_sections(datalist, "d", fold=0, fold_source="official")
    assert "1" in ids(sections["test"])
    assert ids(sections["validation"]) & {"1", "2", "3", "4", "5", "6", "7", "8"} == {"5", "6"}
    assert not groups(sections["train"]) & {"p0", "p1"}


def test_the_labelled_share_falls_on_training_persons_only():
    datalist = make_datalist(persons=60)
    small = select_sections(datalist, "d", label_fraction=0.1)
    large = select_sections(datalist, "d", label_fraction=0.25)
    flags = [item["labelled"] for item in small["train"]]
    assert 0 < sum(flags) <= 0.15 * len(flags)
    labelled = [{item["id"] for item in run["train"] if item["labelled"]} for run in (small, large)]
    assert labelled[0] < labelled[1]
    assert ids(small["train"]) == ids(large["train"])
    assert all(item["labelled"] for item in small["validation"] + small["test"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 5}, "fold must be 0 to 4, got 5"),
        ({"fold": -1}, "fold must be 0 to 4"),
        ({"fold": 0, "n_folds": 2}, "n_folds must be at least 3"),
        ({"fold": 0, "fractions": (0.8, 0.1, 0.1)}, "either fold or fractions"),
        ({"fractions": (0.8, 0.2)}, "one each for training, validation, test"),
        ({"fractions": (0, 0.5, 0.5)}, "no training items"),
        ({"fold_source": "cvind"}, "must be one of .* got 'cvind'"),
        ({"fold_source": "official"}, "needs fold"),
        ({"fold_source": "official", "fold": 0}, "60 slice.* without a published fold .*put cvind.mat"),
        ({"fold_source": "official", "fold": 0, "n_folds": 4}, "There are 5 published folds"),
        ({"label_fraction": 0.0}, "above 0 and at most 1"),
    ],
)
def test_impossible_selections_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        select_sections(make_datalist(), "d", **options)


def test_a_datalist_with_a_crossing_person_is_refused():
    datalist = make_datalist()
    datalist["test"].append({**datalist["training"][0], "id": "another"})
    with pytest.raises(ValueError, match=r"cross(es)? a split: 'p\d+' is in test, train"):
        select_sections(datalist, "d")


def test_a_folder_resolves_to_its_own_datalist_or_a_new_one(small_set):
    before = sorted(small_set.iterdir())
    new = resolve_datalist(small_set, seed=2, progress=False)
    assert new == build_figshare_datalist(small_set, seed=2, hashes=False, progress=False)[0]
    assert sorted(small_set.iterdir()) == before
    write_datalist({**new, "name": "mine"}, small_set / "datalist.json")
    assert resolve_datalist(small_set, seed=3)["name"] == "mine"
    with pytest.raises(ValueError, match="neither a folder nor a datalist"):
        resolve_datalist(small_set / "none")


def test_files_left_out_are_a_warning(small_set, make_mat):
    make_mat("40.mat", label=np.array([[7.0]]))
    with pytest.warns(UserWarning, match="1 file.* left out of the datalist:\n.*40.mat: label must be"):
        resolve_datalist(small_set, progress=False)


def test_selected_items_load_and_collate(small_set):
    sections = select_sections(resolve_datalist(small_set, progress=False), small_set, label_fraction=0.5)
    pipeline = Compose(
        [
            LoadImaged("image", reader=FigshareMatReader("image")),
            LoadImaged("label", reader=FigshareMatReader("mask")),
            EnsureChannelFirstd(["image", "label"]),
        ]
    )
    batch = next(iter(DataLoader(Dataset(sections["train"], pipeline), batch_size=18)))
    assert batch["image"].shape == (18, 1, 16, 32) and batch["label"].sum() == 18 * 40
    assert 0 < batch["labelled"].sum() < 18
    assert batch["patient"] == batch["image"].meta["patient"]


def test_original_files_make_sections(figshare_mat_dir):
    datalist = resolve_datalist(figshare_mat_dir, progress=False)
    sections = select_sections(datalist, figshare_mat_dir, fold=0)
    assert sum(len(items) for items in sections.values()) == 180
    assert all(os.path.isfile(item["image"]) for items in sections.values() for item in items)
    for items in sections.values():
        assert {item["tumor_label"] for item in items} == {1, 2, 3}
