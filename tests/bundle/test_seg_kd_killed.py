"""The command in a user's hands: killed and resumed, and mistyped."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bundle.seg_kd_runs import BUNDLE, command, environment

pytestmark = [pytest.mark.slow, pytest.mark.bundle]

SETTINGS: dict[str, Any] = {"epochs": 6, "teacher_epochs": 2, "phantom_patients": 15, "batch_size": 4}


def start(folder: Path, **overrides: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, **SETTINGS, **overrides),
        cwd=BUNDLE,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def finish(process: subprocess.Popen[str]) -> str:
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed[-3000:]
    return printed


def kill_when(process: subprocess.Popen[str], sign: Path) -> None:
    """SIGKILL as soon as ``sign`` is there."""
    deadline = time.monotonic() + 300
    while not sign.exists():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[dict]]:
    last = torch.load(folder / "models" / "resume_epoch=0006.pt", weights_only=True)["student"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]
    return last, torch.load(folder / "models" / "model.pt", weights_only=True), rows


def test_killed_in_teacher_and_student_and_resumed_equals_unbroken(tmp_path: Path):
    finish(start(tmp_path / "unbroken"))
    folder = tmp_path / "killed"
    kill_when(start(folder), folder / "teacher" / "teacher_resume" / "resume_epoch=0001.pt")
    # in the fourth epoch of the student
    kill_when(start(folder, resume="true"), folder / "models" / "resume_epoch=0003.pt")
    assert not (folder / "models" / "resume_epoch=0006.pt").exists()
    printed = finish(start(folder, resume="true"))
    assert "resuming after epoch" in printed and "trained before" in printed
    expected, found = outcome(tmp_path / "unbroken"), outcome(folder)
    for one, other in zip(expected[:2], found[:2]):
        assert list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())
    assert expected[2] == found[2] and len(found[2]) == 6
    assert not [p for p in folder.rglob(".resume*")]


def test_a_mistyped_setting_ends_with_the_nearest(tmp_path: Path):
    process = start(tmp_path / "out", epoch=1)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode != 0 and not (tmp_path / "out").exists()
    last = [line for line in printed.splitlines() if line.strip()][-1]
    assert last.startswith("error: 'epoch' is not a setting of this bundle; did you mean 'epochs'?")
    assert "Traceback" not in printed
