from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose

from ckdmed import cli
from ckdmed.bundle import brats_dataset, brats_sections
from ckdmed.data.brats import build_brats_datalist, write_brats_datalist
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.sections.record import SectionRecord

SHAPE = (16, 16, 16)


@pytest.fixture(scope="module")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantoms")


def sections(phantom_dir: Path, **kwargs) -> dict:
    return brats_sections(None, str(phantom_dir), **{"phantom_cases": 8, "phantom_shape": SHAPE, **kwargs})


def test_items_are_whole_cases(phantom_dir: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        found = sections(phantom_dir)
    assert "no dataset_dir is given: making phantoms of 8 cases" in caplog.text
    assert list(found) == ["train", "validation", "test"] and all(found.values())
    for item in (item for items in found.values() for item in items):
        assert [Path(path).name for path in item["image"]] == [
            f"{item['case']}-{modality}.nii.gz" for modality in ("t1n", "t1c", "t2w", "t2f")
        ]
        assert all(Path(path).is_absolute() and Path(path).is_file() for path in [*item["image"], item["label"]])
        assert item["id"] == item["case"] and item["labelled"] is True and item["release"] == "2023"
        assert (item["tumour_type"], item["tumor_label"]) == ("GLI", 1)
    assert sections(phantom_dir) == found


def test_patients_stay_together_and_types_are_spread(phantom_dir: Path):
    found = sections(phantom_dir, phantom_cases=16, phantom_types=("GLI", "MET"), fractions=(0.5, 0.25, 0.25))
    groups = [{item["patient_group"] for item in items} for items in found.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert sum(map(len, found.values())) == 16
    for items in found.values():
        assert {item["tumour_type"] for item in items} == {"GLI", "MET"}
        share = np.mean([item["tumour_type"] == "GLI" for item in items])
        assert 0.25 <= share <= 0.75


@pytest.mark.parametrize("cases", [4, 6])
def test_few_cases_still_fill_every_section(phantom_dir: Path, cases: int):
    assert all(sections(phantom_dir, phantom_cases=cases).values())


def test_labelled_fraction_chooses_whole_patients(phantom_dir: Path):
    train = sections(phantom_dir, label_fraction=0.5)["train"]
    flags: dict[str, set[bool]] = {}
    for item in train:
        flags.setdefault(item["patient_group"], set()).add(item["labelled"])
    assert all(len(own) == 1 for own in flags.values())
    assert 0 < sum(item["labelled"] for item in train) < len(train)
    assert all(item["labelled"] for name in ("validation", "test") for item in sections(phantom_dir)[name])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_brats_phantoms(tmp_path / "data", 5, SHAPE, seed=3, time_points=(1, 1), progress=False)
    return tmp_path / "data"


def test_a_stored_datalist_goes_before_a_new_split(dataset: Path, phantom_dir: Path):
    datalist, _ = build_brats_datalist(dataset, seed=9, fractions=(0.4, 0.2, 0.4), progress=False)
    write_brats_datalist(datalist, dataset / "datalist.json")
    found = brats_sections(str(dataset), str(phantom_dir))
    stored = json.loads((dataset / "datalist.json").read_text(encoding="utf-8"))
    assert [item["case"] for item in found["test"]] == [item["case"] for item in stored["test"]]


def test_a_stored_datalist_of_files_that_lie_apart_is_refused(dataset: Path, phantom_dir: Path):
    """A mask of another affine was scored, and learned from, on the wrong side."""
    datalist, _ = build_brats_datalist(dataset, fractions=(0.4, 0.2, 0.4), progress=False)
    write_brats_datalist(datalist, dataset / "datalist.json")
    label = dataset / datalist["test"][0]["label"]
    mask = nib.load(label)
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), mask.affine @ np.diag([-1, 1, 1, 1])), label)
    told = f"datalist.json: the files of 1 case do not lie on one grid; the first, {datalist['test'][0]['case']}: the"
    with pytest.raises(ValueError, match=told):
        brats_sections(str(dataset), str(phantom_dir))
    # a damaged one is told of when it is read
    label.write_bytes(b"damaged")
    brats_sections(str(dataset), str(phantom_dir))


def test_every_patient_is_left_out_once(dataset: Path, phantom_dir: Path, tmp_path: Path):
    every = {path.name for path in dataset.iterdir() if path.is_dir()}
    assert len(every) == 5
    drawn = [brats_sections(str(dataset), str(phantom_dir), fold=fold, n_folds=3) for fold in range(3)]
    parts = [{name: {item["case"] for item in items} for name, items in found.items()} for found in drawn]
    assert sorted(case for part in parts for case in part["test"]) == sorted(every)
    for number, part in enumerate(parts):
        assert part["validation"] == parts[(number + 1) % 3]["test"]
        assert part["train"] == every - part["test"] - part["validation"] and part["train"]

    # the folds are those of a datalist as well, whatever its sections; with the validation patients all others train
    datalist, _ = build_brats_datalist(dataset, fractions=(0.4, 0.2, 0.4), progress=False)
    write_brats_datalist(datalist, dataset / "datalist.json")
    for number, part in enumerate(parts):
        found = brats_sections(str(dataset), str(phantom_dir), fold=number, n_folds=3, train_on_validation=True)
        cases = {name: {item["case"] for item in items} for name, items in found.items()}
        assert cases == {**part, "train": every - part["test"]}
        assert len(found["train"]) == len(cases["train"]) and all(item["labelled"] for item in found["train"])
    # the record of such a training has the validation patients in both sections already: none is scored twice
    SectionRecord.of(found, tmp_path).write(tmp_path / "sections.json")
    (tmp_path / "model.pt").write_bytes(b"")
    scored = brats_sections(
        str(dataset), str(phantom_dir), checkpoint=str(tmp_path / "model.pt"), train_on_validation=True
    )
    assert sorted(item["case"] for item in scored["train"]) == sorted(item["case"] for item in found["train"])


def test_folds_of_a_datalist_go_before_drawn_ones(dataset: Path, phantom_dir: Path):
    datalist, _ = build_brats_datalist(dataset, fractions=(1.0, 0.0, 0.0), progress=False)
    items = sorted(datalist["training"], key=lambda item: item["case"])
    for number, item in enumerate(items):
        item["fold"] = min(number, 2)
    write_brats_datalist(datalist, dataset / "datalist.json")

    def test_cases(**settings: int) -> list[str]:
        return sorted(item["case"] for item in brats_sections(str(dataset), str(phantom_dir), **settings)["test"])

    assert test_cases(fold=0, n_folds=3) == [items[0]["case"]]
    assert test_cases(fold=2, n_folds=3) == [item["case"] for item in items[2:]]
    with pytest.raises(ValueError, match="split_seed 7 would change nothing: folds are those of"):
        test_cases(fold=0, n_folds=3, split_seed=7)
    # of another number they are drawn, which is said
    with pytest.warns(
        UserWarning, match=r"folds \[0, 1, 2\] do not divide all items into 5 folds: new folds are drawn"
    ):
        assert len({tuple(test_cases(fold=fold, n_folds=5)) for fold in range(5)}) == 5
    with pytest.raises(ValueError, match="fold must be 0 to 2, got 3"):
        test_cases(fold=3, n_folds=3)
    with pytest.raises(ValueError, match="6 sections|cannot fill 6"):
        test_cases(fold=0, n_folds=6)
    items[1]["patient_group"] = items[0]["patient_group"]
    write_brats_datalist(datalist, dataset / "datalist.json")
    with pytest.raises(ValueError, match="cross(es)? a split"):
        test_cases(fold=0, n_folds=3)
    # both of whose folds are for training in this one
    for item, fold in zip(items, (2, 3, 0, 1, 4), strict=True):
        item["fold"] = fold
    write_brats_datalist(datalist, dataset / "datalist.json")
    with pytest.raises(
        ValueError, match="folds of the datalist split patients: 1 .*fold 2, fold 3.*same 'fold', or leave"
    ):
        test_cases(fold=0, n_folds=5)
    items[0]["fold"] = "0"
    (dataset / "datalist.json").write_text(json.dumps(datalist), encoding="utf-8")
    with pytest.raises(ValueError, match="'fold' must be a whole number, got '0'"):
        test_cases(fold=0, n_folds=3)


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_case_without_a_mask_in_any_stored_fold_is_refused_in_all(dataset: Path, phantom_dir: Path, fold: int):
    """Its fold may have its turn hours after the first one."""
    datalist, _ = build_brats_datalist(dataset, fractions=(1.0, 0.0, 0.0), progress=False)
    for number, item in enumerate(datalist["training"]):
        item["fold"] = min(number, 2)
    del datalist["training"][1]["label"]
    write_brats_datalist(datalist, dataset / "datalist.json")
    case = datalist["training"][1]["case"]
    with pytest.raises(
        ValueError, match=rf"json: 1 case without a mask .*the first: {case}; folds: 1\).*'fold' out of"
    ):
        brats_sections(str(dataset), str(phantom_dir), fold=fold, n_folds=3)
    # drawn folds have no such case
    with pytest.warns(UserWarning, match="new folds are drawn"):
        assert brats_sections(str(dataset), str(phantom_dir), fold=fold, n_folds=4)["test"]


def test_a_patient_with_a_case_without_a_mask_stays_in_training(dataset: Path, phantom_dir: Path):
    datalist, _ = build_brats_datalist(dataset, fractions=(1.0, 0.0, 0.0), progress=False)
    lacking = datalist["training"][2]
    del lacking["label"]
    write_brats_datalist(datalist, dataset / "datalist.json")
    for fold in range(3):
        found = brats_sections(str(dataset), str(phantom_dir), fold=fold, n_folds=3)
        (own,) = (item for item in found["train"] if item["case"] == lacking["case"])
        assert own["labelled"] is False and found["validation"] and found["test"]


def test_one_modality_by_choice(dataset: Path, phantom_dir: Path):
    # none of the others has to be there
    for path in dataset.glob("*/*-t2w.nii.gz"):
        path.unlink()
    found = brats_sections(str(dataset), str(phantom_dir), modalities=["t1c", "t1n"])
    for item in found["train"]:
        assert [path.split("-")[-1] for path in item["image"]] == ["t1c.nii.gz", "t1n.nii.gz"]
        assert item["modalities"] == ["t1c", "t1n"]


def test_a_case_without_a_modality_is_named_and_the_run_goes_on(dataset: Path, phantom_dir: Path):
    next(dataset.glob("*-00002-000/*-t2f.nii.gz")).unlink()
    with pytest.warns(UserWarning, match=r"left out 1 case:\n  BraTS-GLI-00002-000: .*missing: t2f"):
        found = brats_sections(str(dataset), str(phantom_dir))
    assert sum(map(len, found.values())) == 4


def test_what_cannot_be_used(dataset: Path, phantom_dir: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="dataset_dir '.*absent' is not a folder"):
        brats_sections(str(tmp_path / "absent"), str(phantom_dir))
    with pytest.raises(ValueError, match="the validation section is empty"):
        brats_sections(str(dataset), str(phantom_dir), fractions=(0.5, 0.0, 0.5))
    datalist, _ = build_brats_datalist(dataset, progress=False)
    write_brats_datalist(datalist, dataset / "datalist.json")
    gone = dataset / datalist["test"][0]["image"][1]
    shutil.move(gone, tmp_path / gone.name)
    with pytest.raises(ValueError, match=f"{gone.name}: no such file, though the datalist names it"):
        brats_sections(str(dataset), str(phantom_dir))
    shutil.move(tmp_path / gone.name, gone)
    del datalist["test"][0]["label"]
    write_brats_datalist(datalist, dataset / "datalist.json")
    with pytest.raises(ValueError, match="1 case of the test section without a mask .the first: BraTS-GLI"):
        brats_sections(str(dataset), str(phantom_dir))


def test_four_dimensional_files_stay_whole(tmp_path: Path, phantom_dir: Path):
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        for folder, values in (("imagesTr", rng.random((6, 6, 6, 4))), ("labelsTr", np.ones((6, 6, 6)))):
            path = tmp_path / "Task01" / folder / f"BRATS_{number:03d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = brats_sections(str(tmp_path / "Task01"), str(phantom_dir), modalities=["t1c"])
    assert all(len(item["image"]) == 1 and len(item["modalities"]) == 4 for item in found["train"])
    assert found["train"][0]["release"] == "decathlon"


def test_slices_that_were_cut_beforehand_are_found(dataset: Path, phantom_dir: Path, tmp_path: Path):
    write_brats_datalist(build_brats_datalist(dataset, progress=False)[0], dataset / "datalist.json")
    # as docs/brats.md and the help of the command say
    cache = tmp_path / "slices/slices-t1n-t1c-t2w-t2f"
    assert cli.main(["slice-cache", str(dataset / "datalist.json"), "--output_dir", str(cache), "--quiet"]) == 0
    before = {path: path.stat().st_ino for path in cache.rglob("*")}
    items = brats_sections(str(dataset), str(phantom_dir))["train"]
    slices = brats_dataset(items, Compose([]), 2, ["t1n", "t1c", "t2w", "t2f"], str(tmp_path / "slices"))
    assert len(slices) and before == {path: path.stat().st_ino for path in cache.rglob("*")}
    assert list((tmp_path / "slices").iterdir()) == [cache]
