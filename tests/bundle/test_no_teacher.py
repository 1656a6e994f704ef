"""A student that is trained alone costs no teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.bundle.workflow import bundle_folder, bundle_parser
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.engines import FrozenTeacher, TeacherEnsemble, load_teacher, load_teachers, weights_hash
from ckdmed.networks.no_teacher import NoTeacher
from tests.bundle import cls_runs, seg_kd_runs, test_brats_unimodal
from tests.bundle.bundle_runs import completed, history

TEACHERS = {
    "seg_kd": "teacher_def",
    "cls_kd": "teacher_def",
    "brats_seg_kd": "teacher_def",
    "brats_unimodal_kd": "teacher_ensemble",
}
NO_DATA = {"profile": "compact", "output_dir": "/nowhere", "bundle_root": "/nowhere"}


def built(bundle: str, name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    return bundle_parser(bundle_folder(bundle), {**NO_DATA, **settings}).get_parsed_content(name)


def without_weights(network: torch.nn.Module) -> bool:
    parts = network.networks.values() if isinstance(network, TeacherEnsemble) else [network]
    return all(isinstance(part, NoTeacher) for part in parts)


@pytest.mark.parametrize(("bundle", "name"), TEACHERS.items())
def test_a_teacher_is_built_for_those_that_learn_from_it(bundle: str, name: str) -> None:
    assert without_weights(built(bundle, name, method="supervised"))
    assert not without_weights(built(bundle, name, method="kd"))
    assert weights_hash(built(bundle, "network_def", method="supervised")) == weights_hash(
        built(bundle, "network_def", method="kd")
    )


def test_teachers_that_learn_along_are_built() -> None:
    # whatever the student's loss, their fusion reads their features
    assert not without_weights(
        built("brats_unimodal_kd", "teacher_ensemble", method="supervised", teacher_mode="fusion")
    )


def test_an_evaluation_shows_the_teacher_that_is_there() -> None:
    config = (bundle_folder("cls_kd") / "evaluate.json").read_text(encoding="utf-8")
    assert '"teacher_def#needed": true' in config


@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize("bundle", ["seg_kd", "cls_kd"])
def test_a_student_alone_is_trained_without_any(tmp_path: Path, bundle: str) -> None:
    settings: dict[str, Any] = {"method": "supervised", "epochs": 1}
    if bundle == "seg_kd":
        made = seg_kd_runs.workflow(tmp_path, **settings)
    else:
        made = cls_runs.workflow(bundle, tmp_path, **settings)
    assert without_weights(made.parser.get_parsed_content("teacher_network"))
    completed(made)
    state = torch.load(next((tmp_path / "models").glob("resume*.pt")), weights_only=True)
    assert "teacher" not in state and (tmp_path / "models" / "model.pt").is_file()


@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
def test_a_teacher_of_unlabelled_images_is_not_trained_where_there_are_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was, and nothing heard it."""
    completed(seg_kd_runs.workflow(tmp_path, method="hard_pseudo", epochs=1))
    assert (
        "the method uses its teacher only on images without labels (pseudo_labels), but every training" in caplog.text
    )
    assert not (tmp_path / "teacher").exists() and (tmp_path / "models" / "model.pt").is_file()
    state = torch.load(next((tmp_path / "models").glob("resume*.pt")), weights_only=True)
    (row,) = history(tmp_path)
    assert "teacher" not in state and "teacher" not in row["metrics"] and list(row["terms"]) == ["supervised"]


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize("mode", ["frozen", "online"])
def test_nor_are_several_teachers(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str) -> None:
    write_brats_phantoms(tmp_path / "cases", 6, (24, 24, 16), time_points=(1, 1), progress=False)
    made = test_brats_unimodal.workflow(
        tmp_path / "run", tmp_path / "cases", method="hard_pseudo", epochs=1, teacher_mode=mode
    )
    completed(made)
    assert "no teacher is trained or used" in caplog.text
    assert not list((tmp_path / "run").rglob("teacher*"))


def test_its_answers_are_zeros_of_the_teachers_shape() -> None:
    teacher = FrozenTeacher(NoTeacher(3))
    assert torch.equal(teacher(torch.ones(2, 4, 5, 6)).logits, torch.zeros(2, 3, 5, 6))
    assert torch.equal(NoTeacher(3, dense=False)(torch.ones(2, 4, 5, 6)), torch.zeros(2, 3))


def test_nothing_learns_from_zeros() -> None:
    load_teacher(NoTeacher(1), None, needed=False)
    with pytest.raises(ValueError, match="the method 'supervised' has none"):
        load_teacher(NoTeacher(1), None)
    with pytest.raises(ValueError, match="the method 'supervised' has none"):
        load_teachers(TeacherEnsemble({"a": NoTeacher(1)}, {"a": [0]}), None)
