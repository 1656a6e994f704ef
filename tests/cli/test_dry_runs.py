"""What is only listed, or cannot run, leaves nothing in the output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.cli import main


@pytest.mark.parametrize("command", ["compare", "ablation", "unimodal"])
def test_a_dry_run_writes_nothing(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([command, "--output_dir", str(tmp_path / "out"), "--preset", "tiny", "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["epoch=3", "epochs=abc", "batch_size=0"])
@pytest.mark.parametrize("command", ["compare", "ablation", "unimodal"])
def test_wrong_settings_are_refused_before_phantoms_are_drawn(
    command: str, setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([command, "--output_dir", str(tmp_path / "out"), "--preset", "tiny", "--set", setting]) == 2
    assert setting.split("=")[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
