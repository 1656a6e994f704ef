from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from ckdmed.bundle.stopping import stopped_line
from tests.bundle.seg_kd_runs import BUNDLE, command, environment


def test_the_last_line_names_the_checkpoint_and_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ckdmed.bundle.stopping.typed_command", lambda: ["train", "--output_dir", "x", "--epochs", "3"])
    line = stopped_line(tmp_path, "SIGTERM")
    assert line == (
        "stopped by SIGTERM; no epoch was finished. To continue: "
        f"train --epochs 3 --output_dir {tmp_path} --resume true"
    )
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "resume_epoch=0002.pt").write_text("x")
    assert "its last checkpoint is" in stopped_line(tmp_path, "Ctrl-C")
    assert "resume_epoch=0002.pt. To continue" in stopped_line(tmp_path, "Ctrl-C")


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_stopped_run_says_how_to_go_on(tmp_path: Path, number: signal.Signals, name: str):
    out = tmp_path / "out"
    words = command(out, method="supervised", epochs=500)
    process = subprocess.Popen(words, cwd=BUNDLE, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "predictions.png").is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    last = errors.strip().splitlines()[-1]
    assert process.returncode != 0
    assert last.startswith(f"stopped by {name}; its last checkpoint is {out}/models/resume_epoch=")
    assert last.endswith(f"--output_dir {out} --resume true") and "--method supervised" in last
    assert (out / "curves.png").is_file() and not (out / ".run.lock").exists()
    assert not list(out.rglob(".writing-*"))
