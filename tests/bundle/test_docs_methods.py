"""The method and the loss of docs/methods.md, run as they stand there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from tests.bundle.bundle_runs import completed, history
from tests.bundle.seg_kd_runs import TINY

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


def blocks(language: str) -> dict[str, str]:
    """Name of a file -> the block that is to be saved as it."""
    found = re.findall(r"\(?`(my_\w+\.\w+)`\)?:?\n\n```" + language + r"\n(.*?)```", PAGE, flags=re.DOTALL)
    return dict(found)


def train(tmp_path: Path, overlay: str, **settings: object) -> ConfigWorkflow:
    (tmp_path / overlay).write_text(blocks("json")[overlay], encoding="utf-8")
    files = [str(ROOT / "bundles/seg_kd/train.json"), str(tmp_path / overlay)]
    made = ConfigWorkflow(files, workflow_type="train", output_dir=str(tmp_path / "out"), **{**TINY, **settings})
    made.initialize()
    return completed(made)


def test_a_method_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_method.py").write_text(blocks("python")["my_method.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    lines = [line for line in blocks("json")["my_method.json"].splitlines() if line.strip() not in "{}"]
    assert len(lines) == 1
    made = train(tmp_path, "my_method.json", w_sup=2)
    sys.modules.pop("my_method")
    assert made.trainer.state.weights == {"supervised": 2.0, "probabilities": 5.0}
    assert history(tmp_path / "out")[0]["terms"]["probabilities"] > 0


@pytest.mark.slow
def test_a_loss_needs_no_code(tmp_path: Path):
    made = train(tmp_path, "my_loss.json", method="kd")
    assert made.trainer.state.weights == {"supervised": 1.0, "soft_targets": 0.5, "soft_dice": 0.5, "tversky": 0.5}
    assert 0 < history(tmp_path / "out")[0]["terms"]["tversky"] < 1
    settings = json.loads((tmp_path / "out" / "settings.json").read_text(encoding="utf-8"))["settings"]
    assert settings["method"] == "kd"
