"""Which records count as done, without evaluating anything."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ckdmed.reports import RunRecord
from ckdmed.robustness import Point, RobustnessEvaluation, RobustnessOptions
from ckdmed.robustness.networks import ScoredNetwork
from tests.bundle.bundle_runs import BUNDLES

CLEAN = Point(None)


def planned(folder: Path, ids: tuple[str, ...] = ("a", "b"), **settings: Any) -> RobustnessEvaluation:
    """An evaluation of weights that are there over images of which only the names are."""
    checkpoint = folder / "model.pt"
    checkpoint.write_bytes(b"weights")
    root = BUNDLES / "seg_kd"
    source: Any = SimpleNamespace(bundle="seg_kd", configs=root, root=root, checkpoint=checkpoint)
    network = ScoredNetwork("student", source)
    made = RobustnessEvaluation([network], [CLEAN], folder, RobustnessOptions(settings=settings), ["ckdmed"])
    made.__dict__["_items"] = {("validation", "student"): [{"id": name, "case": "c"} for name in ids]}
    return made


def is_done(made: RobustnessEvaluation) -> bool:
    return made.done("validation", made.networks[0], CLEAN)


def record(made: RobustnessEvaluation) -> None:
    """Leave the record of the step."""
    settings = made._recorded("validation", made.networks[0], CLEAN)
    path = made.record_path("validation", made.networks[0], CLEAN)
    path.parent.mkdir(parents=True)
    name = "student-clean"
    RunRecord(name, name, ["ckdmed"], 0, {"section": "validation"}, {}, settings=settings).write(path)


def test_a_record_of_the_same_settings_is_done(tmp_path: Path) -> None:
    made = planned(tmp_path, threshold=0.3)
    assert not is_done(made)
    record(made)
    assert is_done(planned(tmp_path, threshold=0.3))


@pytest.mark.parametrize(("then", "now"), [({"threshold": 0.3}, {}), ({}, {"threshold": 0.3})])
def test_a_setting_given_in_one_command_alone_makes_other_results(tmp_path: Path, then: dict, now: dict) -> None:
    record(planned(tmp_path, **then))
    values = f"threshold {then.get('threshold')} then and {now.get('threshold')} now"
    with pytest.raises(ValueError, match=rf"made with other settings \({values}\); use another output folder"):
        is_done(planned(tmp_path, **now))


def test_other_slices_of_the_same_case_are_other_images(tmp_path: Path) -> None:
    record(planned(tmp_path, ("c:1", "c:2")))
    with pytest.raises(ValueError, match="made with other settings .images_sha256"):
        is_done(planned(tmp_path, ("c:1", "c:3")))


def test_another_folder_with_cases_of_the_same_names_holds_other_images(tmp_path: Path) -> None:
    def of(name: str, content: bytes | None) -> RobustnessEvaluation:
        made = planned(tmp_path)
        if content is not None:
            (folder := tmp_path / name).mkdir()
            items = made._items["validation", "student"]
            for item in items:
                (folder / f"{item['id']}.nii").write_bytes(content)
            made.options = RobustnessOptions(dataset_dir=folder)
            made.__dict__["_items"] = {
                ("validation", "student"): [
                    {**item, "image": [path := folder / f"{item['id']}.nii"], "label": str(path)} for item in items
                ]
            }
        return made

    record(of("first", b"image"))
    assert is_done(of("moved", b"image"))
    for other in (of("other", b"another"), of("phantoms", None)):
        with pytest.raises(ValueError, match="made with other settings .files_sha256"):
            is_done(other)


def test_a_folder_whose_slices_have_other_classes_is_another(tmp_path: Path) -> None:
    def of(label: int) -> RobustnessEvaluation:
        made = planned(tmp_path)
        (image := tmp_path / "slice.mat").write_bytes(b"image")
        made.options = RobustnessOptions(dataset_dir=tmp_path)
        made.__dict__["_items"] = {("validation", "student"): [{"id": "a", "image": str(image), "label": label}]}
        return made

    record(of(0))
    assert is_done(of(0))
    with pytest.raises(ValueError, match="made with other settings .files_sha256"):
        is_done(of(2))


@pytest.mark.parametrize("section", ["validation", "test"])
def test_records_beside_those_that_are_planned_share_their_tables(tmp_path: Path, section: str) -> None:
    before = planned(tmp_path, threshold=0.3)
    settings = before._recorded("validation", before.networks[0], Point("noise-1")) | {
        "images": 5 if "t" == section[0] else 2
    }
    path = tmp_path / "records" / section / "student-noise-1.json"
    path.parent.mkdir(parents=True)
    RunRecord("student-noise-1", "x", ["ckdmed"], 0, {"section": section}, {}, settings=settings).write(path)
    planned(tmp_path, threshold=0.3)._check_beside()
    with pytest.raises(
        ValueError, match=rf"{section}.student-noise-1.json was made with other settings .threshold 0.3"
    ):
        planned(tmp_path).do(progress=False)
