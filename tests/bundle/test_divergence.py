"""A training that diverges stops, says where, and leaves no weights that are not finite, in every kind of bundle."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.bundle.errors import root_cause
from ckdmed.files import load_weights
from ckdmed.handlers import DivergedError
from tests.bundle import cls_runs, seg_kd_runs
from tests.bundle.bundle_runs import completed, opened

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

CPU = "$torch.device('cpu')"
CASES: dict[str, Any] = {
    "device": CPU,
    "phantom_cases": 6,
    "sections#phantom_shape": [24, 24, 16],
    "slices_per_epoch": 16,
    "batch_size": 8,
    "image_size": 16,
    "student_base": 2,
    "teacher_kind": "segresnet",
    "teacher_base": 2,
    "teacher_epochs": 1,
}
TEACHER = {name: value for name, value in seg_kd_runs.TINY.items() if name not in ("student_base", "teacher_epochs")}
# bundle, its settings, a term that the message names
RUNS: dict[str, tuple[str, dict[str, Any], str]] = {
    "seg_teacher": ("seg_teacher", {**TEACHER, "device": CPU}, "loss"),
    "cls_kd": ("cls_kd", {**cls_runs.TINY, **cls_runs.STUDENT}, "supervised"),
    "brats_seg_kd": ("brats_seg_kd", CASES, "supervised"),
    "brats_unimodal_kd": (
        "brats_unimodal_kd",
        {**CASES, "teachers": [["t1n", "t1c", "t2w", "t2f"], ["t2f"]]},
        "supervised",
    ),
    # all teachers learn along, by an optimiser of their own
    "brats_unimodal_kd online": (
        "brats_unimodal_kd",
        {**CASES, "teachers": [["t1n", "t1c", "t2w", "t2f"], ["t2f"]], "teacher_mode": "online", "method": "mtcm"},
        "supervised",
    ),
    # the message names their rate, not only the student's
    "brats_unimodal_kd online teachers": (
        "brats_unimodal_kd",
        {
            **CASES,
            "teachers": [["t1n", "t1c", "t2w", "t2f"], ["t2f"]],
            "teacher_mode": "online",
            "method": "mtcm",
            "learning_rate": 1e-3,
            "teacher_learning_rate": 1e30,
        },
        r"cooperative .*\(\d\.\d+e\+\d\d for the teachers\)",
    ),
    # a teacher that diverges teaches nobody
    "seg_kd teacher": (
        "seg_kd",
        {**seg_kd_runs.TINY, "device": CPU, "learning_rate": 1e-3, "teacher_learning_rate": 1e30, "teacher_epochs": 3},
        "loss",
    ),
}


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from tensors(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from tensors(entry)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "seg_teacher" else pytest.mark.slow) for name in RUNS]
)
def test_the_run_stops_and_keeps_nothing_that_is_not_finite(name: str, tmp_path: Path) -> None:
    bundle, settings, term = RUNS[name]
    settings = {"learning_rate": 1e30, **settings}
    out = tmp_path / "out"
    with pytest.raises(RuntimeError) as caught:
        completed(opened(bundle, **{**settings, "output_dir": str(out), "epochs": 3}))
    cause = root_cause(caught.value)
    assert isinstance(cause, DivergedError), cause
    assert re.match(r"the training diverged: .* in epoch \d of 3, step \d+, at learning rate \S+", str(cause))
    assert re.search(term, str(cause)), cause
    kept = [path for path in out.rglob("*.pt") if "cache" not in path.relative_to(out).parts]
    for path in kept:
        assert all(bool(value.isfinite().all()) for value in tensors(load_weights(path))), path


@pytest.mark.slow
def test_a_command_that_diverges_exits_with_an_error(tmp_path: Path) -> None:
    words = seg_kd_runs.command(tmp_path / "out", method="supervised", learning_rate=1e30, epochs=3)
    done = subprocess.run(
        words, cwd=seg_kd_runs.BUNDLE, env=seg_kd_runs.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: the training diverged: loss nan, supervised nan in")
