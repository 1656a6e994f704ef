"""A start that fails leaves the run of before as it was."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from ckdmed.bundle import output_folder
from ckdmed.bundle.errors import root_cause
from tests.bundle import cls_runs
from tests.bundle.bundle_runs import completed, opened
from tests.bundle.seg_kd_runs import run, workflow
from tests.small_disk import small_disk

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "out"
    run(folder, method="supervised", **{"sections#phantom_dir": str(folder / "phantoms")})
    return folder


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "holds an earlier run"),
        ({"dataset_dir": "/nowhere/at/all"}, "'/nowhere/at/all'"),
        ({"dataset_dir": "/nowhere/at/all", "resume": True}, "'/nowhere/at/all'"),
        ({"dataset_dir": "{out}/phantoms", "resume": True}, "began with other settings"),
        ({"batch_size": 0, "resume": True}, "batch_size"),
        ({"image_size": 31, "resume": True}, "31"),
        ({"teacher_checkpoint": "/nowhere.pt", "method": "ckd"}, "nowhere.pt"),
        ({"teacher_checkpoint": "{out}/models/model.pt", "method": "ckd"}, "model.pt"),
        ({"student_pretrained": "/nowhere.pt", "resume": True}, "nowhere.pt"),
        ({"epoch": 3}, "did you mean 'epochs'"),
    ],
)
def test_all_files_of_the_run_before_stay_as_they_are(finished: Path, overrides: dict[str, Any], message: str):
    before = hashes(finished)
    given = {key: value.format(out=finished) if isinstance(value, str) else value for key, value in overrides.items()}
    with pytest.raises(Exception) as caught:
        made = workflow(finished, **{"method": "supervised", **given})
        made.run()
    assert message in str(root_cause(caught.value))
    assert hashes(finished) == before


def _brats(output_dir: Path, **overrides: Any) -> ConfigWorkflow:
    sizes = {"epochs": 1, "image_size": 32, "roi_size": [16, 16, 16], "slices_per_epoch": 8, "student_base": 2}
    phantoms = {"phantom_cases": 6, "sections#phantom_shape": [40, 36, 20], "device": torch.device("cpu")}
    return opened("brats_seg_kd", **{**sizes, **phantoms, "output_dir": str(output_dir), **overrides})


TRAININGS: dict[str, Callable[..., ConfigWorkflow]] = {
    "cls_teacher": lambda folder, **more: cls_runs.workflow("cls_teacher", folder, **more),
    "cls_kd": lambda folder, **more: cls_runs.workflow("cls_kd", folder, **{"method": "supervised", **more}),
    "brats_seg_kd": lambda folder, **more: _brats(folder, **{"method": "supervised", **more}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_in_the_other_bundles_too(name: str, tmp_path: Path):
    completed(TRAININGS[name](tmp_path / "out"))
    before = hashes(tmp_path / "out")
    assert before
    for overrides, message in (
        ({}, "holds an earlier run"),
        ({"dataset_dir": "/nowhere/at/all", "resume": True}, "began with other settings|'/nowhere/at/all'"),
        ({"batch_size": 0, "resume": True}, "batch_size"),
        ({"image_size": 31, "resume": True}, "31"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        # cls_kd claims its folder before it looks for its teacher
        ({"teacher_checkpoint": "/nowhere.pt", "method": "ckd"}, "nowhere.pt|holds an earlier run"),
    ):
        if "teacher_checkpoint" in overrides and name == "cls_teacher":
            continue
        with pytest.raises(Exception) as caught:
            TRAININGS[name](tmp_path / "out", **overrides).run()
        assert re.search(message, str(root_cause(caught.value)))
        assert hashes(tmp_path / "out") == before, overrides


def test_a_folder_that_may_only_be_read_is_named(finished: Path, tmp_path: Path):
    with small_disk(tmp_path / "disk") as disk:
        subprocess.run(["cp", "-r", str(finished), str(disk.place / "out")], check=True)
        before = hashes(disk.place)
        subprocess.run(["mount", "-o", "remount,ro", str(disk.place)], check=True)
        for folder, overrides in (("out", {"resume": True, "val_interval": 2}), ("out", {}), ("other", {})):
            with pytest.raises((OSError, ValueError, RuntimeError)) as caught:
                workflow(disk.place / folder, method="supervised", **overrides).run()
            assert str(disk.place) in str(root_cause(caught.value)) and "cannot be written to" in str(
                root_cause(caught.value)
            )
            assert hashes(disk.place) == before


@pytest.mark.parametrize(
    "overrides",
    [{"dataset_dir": "/nowhere/at/all"}, {"image_size": 31}, {"student_pretrained": "/nowhere.pt"}, {"epoch": 3}],
)
def test_a_start_that_fails_writes_nothing(tmp_path: Path, overrides: dict[str, Any]):
    with pytest.raises((RuntimeError, ValueError)):
        workflow(tmp_path / "new", method="supervised", **overrides).run()
    assert not hashes(tmp_path) or list(hashes(tmp_path)) == ["new/.run.lock"]
    assert output_folder(str(tmp_path)) == str(tmp_path / "output")


def test_a_diverging_training_keeps_nothing_of_itself(tmp_path: Path):
    made = workflow(tmp_path / "new", method="supervised", learning_rate=1e30, epochs=3)
    with pytest.raises(RuntimeError) as caught:
        made.run()
    assert "the training diverged: loss nan, supervised nan in epoch" in str(root_cause(caught.value))
    states = [torch.load(path, weights_only=True) for path in (tmp_path / "new" / "models").glob("model.pt")]
    assert all(bool(value.isfinite().all()) for state in states for value in state.values())
