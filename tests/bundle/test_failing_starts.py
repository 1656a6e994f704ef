"""A start that fails leaves the run of before as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.bundle import output_folder
from ckdmed.bundle.errors import root_cause
from tests.bundle.seg_kd_runs import run, workflow

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "out"
    run(folder, method="supervised")
    return folder


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "holds an earlier run"),
        ({"dataset_dir": "/nowhere/at/all"}, "holds an earlier run"),
        ({"dataset_dir": "/nowhere/at/all", "resume": True}, "began with other settings"),
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
    after = hashes(finished)
    # a resumed run may note that it went on, but not touch a result
    assert {name: after.get(name) for name in before if name != "settings.json"} == {
        name: value for name, value in before.items() if name != "settings.json"
    }


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
