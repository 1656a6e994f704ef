"""A teacher that was trained on larger images than its student sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.transforms.traits import RandomizableTrait
from torch.nn import functional as F

from tests.bundle import cls_runs, seg_kd_runs

pytestmark = pytest.mark.bundle

SIZE: dict[str, Any] = {"sections#phantom_size": 64}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    seg_kd_runs.run(folder, image_size=64, **SIZE)
    return folder / "teacher" / "teacher.pt"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "models" / "model.pt", weights_only=True)


def test_it_sees_its_own_size_and_its_answers_come_on_the_students_grid(tmp_path: Path, teacher: Path):
    made = seg_kd_runs.workflow(tmp_path, teacher_checkpoint=str(teacher), **SIZE)
    assert made.parser.get_parsed_content("teacher_image_size") == 64
    network = made.parser.get_parsed_content("teacher_network")
    seen: list[tuple[int, ...]] = []
    network.register_forward_hook(lambda module, args, output: seen.append(tuple(args[0].shape[2:])))
    trainer = made.parser.get_parsed_content("train#trainer")
    pairs: list[torch.Tensor] = []

    def look(engine: Any) -> None:
        batch = engine.state.batch
        assert engine._teacher_output is None
        pairs.append(F.avg_pool2d(batch["teacher_image"], 2) - batch["image"])

    trainer.add_event_handler(Events.ITERATION_COMPLETED, look)
    seg_kd_runs.completed(made)
    assert set(seen) == {(64, 64)}
    # the same slice, flipped alike, however it was drawn
    assert torch.cat(pairs).abs().max() < 1e-5
    assert (tmp_path / "predictions.png").is_file()
    # both sizes of the validation's slices are prepared once, not at each validation
    validated = made.parser.get_parsed_content("validate#dataset")
    assert not any(isinstance(step, RandomizableTrait) for step in validated.transform.transforms)


@pytest.mark.slow
def test_cached_answers_are_those_of_every_step(tmp_path: Path, teacher: Path):
    given = {"teacher_checkpoint": str(teacher), "epochs": 2, "student_view": "affine", **SIZE}
    for name, more in {"live": {}, "cached": {"cache_teacher": "memory"}}.items():
        seg_kd_runs.run(tmp_path / name, **given, **more)
    live, cached = weights(tmp_path / "live"), weights(tmp_path / "cached")
    for name, value in live.items():
        torch.testing.assert_close(cached[name], value, rtol=1e-3, atol=1e-5)
    seg_kd_runs.run(tmp_path / "alone", **{**given, "method": "supervised"})
    assert any(not torch.equal(value, live[name]) for name, value in weights(tmp_path / "alone").items())


@pytest.mark.parametrize("folds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_teacher_of_the_run_is_trained_on_images_of_its_size(tmp_path: Path, folds: int):
    made = seg_kd_runs.workflow(tmp_path, teacher_image_size=64, teacher_folds=folds, **SIZE)
    network = made.parser.get_parsed_content("teacher_network")
    seen: set[tuple[bool, tuple[int, ...]]] = set()
    for member in getattr(network, "networks", [network]):
        member.register_forward_hook(lambda own, args, out: seen.add((own.training, tuple(args[0].shape[2:]))))
    student: set[tuple[int, ...]] = set()
    made.network_def.register_forward_hook(lambda own, args, out: student.add(tuple(args[0].shape[2:])))
    seg_kd_runs.completed(made)
    # trained, validated, scored and asked
    assert seen == {(True, (64, 64)), (False, (64, 64))} and student == {(32, 32)}
    samples = made.parser.get_parsed_content("teacher_dataset")
    assert samples[0]["image"].shape == samples[0]["label"].shape == (1, 64, 64) and "teacher_image" not in samples[0]
    # and its weights tell the next run which images they are of
    file = tmp_path / "teacher" / ("teacher.pt" if folds == 1 else "folds.json")
    again = seg_kd_runs.workflow(tmp_path / "again", teacher_checkpoint=str(file), **SIZE)
    assert again.parser.get_parsed_content("teacher_image_size") == 64


def test_settings_that_cannot_work_are_refused_before_anything_is_written(tmp_path: Path, teacher: Path):
    for more, message in (
        ({"teacher_checkpoint": str(teacher), "augmentation": "report"}, "set augmentation to"),
        ({"teacher_image_size": 64, "mixup": 0.4}, "set mixup to 0"),
    ):
        with pytest.raises(Exception) as caught:
            seg_kd_runs.workflow(tmp_path / "out", **more, **SIZE)
        said = "".join(str(error) for error in (caught.value, caught.value.__cause__))
        assert message in said
        assert not (tmp_path / "out" / "models").exists()


@pytest.mark.slow
def test_a_classifiers_teacher_of_the_run(tmp_path: Path):
    made = cls_runs.workflow("cls_kd", tmp_path, teacher_image_size=64, augmentation="horizontal", **SIZE)
    network = made.parser.get_parsed_content("teacher_network")
    seen: set[tuple[bool, tuple[int, ...]]] = set()
    network.register_forward_hook(lambda own, args, out: seen.add((own.training, tuple(args[0].shape[1:]))))
    cls_runs.completed(made)
    assert seen == {(True, (3, 64, 64)), (False, (3, 64, 64))}


@pytest.mark.slow
def test_of_a_classification(tmp_path: Path):
    cls_runs.run("cls_teacher", tmp_path / "teacher", image_size=64, **SIZE)
    given = {"teacher_checkpoint": str(tmp_path / "teacher" / "models" / "model.pt"), **SIZE}
    made = cls_runs.workflow("cls_kd", tmp_path / "student", **given)
    network = made.parser.get_parsed_content("teacher_network")
    seen: list[tuple[int, ...]] = []
    network.register_forward_hook(lambda module, args, output: seen.append(tuple(args[0].shape[1:])))
    cls_runs.completed(made)
    assert set(seen) == {(3, 64, 64)}
    # the slices that are scored, after they have been read
    cls_runs.run("cls_kd", tmp_path / "student", "evaluate.json", corruption="noise-3", **given)
    assert "noise-3" in (tmp_path / "student/evaluation/summary.json").read_text(encoding="utf-8")
