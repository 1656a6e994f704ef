from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.bundle import figshare_sections
from ckdmed.data.phantoms import write_figshare_phantoms


@pytest.fixture(scope="module")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantoms")


def sections(phantom_dir: Path, **kwargs) -> dict:
    return figshare_sections(None, str(phantom_dir), phantom_patients=10, phantom_size=32, **kwargs)


def test_phantoms_are_made_once(phantom_dir: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        first = sections(phantom_dir)
    assert "no dataset_dir is given: making phantoms of 10 patients" in caplog.text
    files = {p: p.stat().st_mtime_ns for p in phantom_dir.rglob("[0-9]*.mat")}
    assert sections(phantom_dir) == first
    assert {p: p.stat().st_mtime_ns for p in phantom_dir.rglob("[0-9]*.mat")} == files and files


def test_items(phantom_dir: Path):
    found = sections(phantom_dir)
    assert list(found) == ["train", "validation", "test"]
    for item in (item for items in found.values() for item in items):
        assert Path(item["image"]).is_file() and Path(item["label"]).is_file()
        assert set(item) == {"image", "label", "labelled", "id", "tumor_label", "patient", "patient_group"}
        assert item["labelled"] is True
    groups = [{item["patient_group"] for item in items} for items in found.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_folds_cover_every_patient_once(phantom_dir: Path):
    tested = [item["id"] for fold in range(3) for item in sections(phantom_dir, fold=fold, n_folds=3)["test"]]
    assert len(tested) == len(set(tested)) == sum(len(items) for items in sections(phantom_dir).values())


def test_labelled_fraction_chooses_patients_whatever_the_order(phantom_dir: Path):
    found = sections(phantom_dir, label_fraction=0.5)
    train = found["train"]
    by_patient: dict[str, set[bool]] = {}
    for item in train:
        by_patient.setdefault(item["patient_group"], set()).add(item["labelled"])
    assert all(len(flags) == 1 for flags in by_patient.values())
    assert 0 < sum(item["labelled"] for item in train) < len(train)
    assert all(item["labelled"] for item in found["validation"] + found["test"])
    assert sections(phantom_dir, label_fraction=0.5) == found


def test_a_final_training_has_the_validation_section_too(phantom_dir: Path, caplog: pytest.LogCaptureFixture):
    split = sections(phantom_dir, label_fraction=0.5)
    found = sections(phantom_dir, label_fraction=0.5, train_on_validation=True)
    assert found["train"] == split["train"] + split["validation"]
    assert (found["validation"], found["test"]) == (split["validation"], split["test"])
    assert "say nothing about unseen patients" in caplog.text


def test_a_folder_of_ones_own(phantom_dir: Path, tmp_path: Path):
    write_figshare_phantoms(tmp_path, n_patients=6, size=32, seed=1)
    found = figshare_sections(str(tmp_path), str(phantom_dir))
    assert all(Path(item["image"]).is_relative_to(tmp_path) for items in found.values() for item in items)


def test_what_cannot_be_used(phantom_dir: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="dataset_dir '.*absent' is neither a folder nor a datalist"):
        figshare_sections(str(tmp_path / "absent"), str(phantom_dir))
    with pytest.raises(ValueError, match=str(tmp_path)):
        figshare_sections(str(tmp_path), str(phantom_dir))
    with pytest.raises(ValueError, match="fold must be 0 to 4, got 9"):
        sections(phantom_dir, fold=9)
    with pytest.raises(ValueError, match="the validation section is empty"):
        sections(phantom_dir / "other", fractions=(0.9, 0.0, 0.1))
