"""An evaluation goes to the run of its checkpoint and replaces no other evaluation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ckdmed.bundle import evaluation_folder


@pytest.fixture()
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, `output` and `output-2`, and a bundle whose output_dir is not given."""
    for name in ("output", "output-2"):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models/model.pt").write_bytes(name.encode())
        (tmp_path / name / "settings.json").write_text("{}")
    parser = SimpleNamespace(get=lambda name: "$ckdmed.bundle.output_folder(@bundle_root, resume=True)")
    monkeypatch.setitem(evaluation_folder.__globals__, "running_workflow", lambda: SimpleNamespace(parser=parser))
    return tmp_path


def folder(runs: Path, checkpoint: str, **settings) -> str:
    found = Path(evaluation_folder(str(runs / "output-2"), str(runs / checkpoint), **settings))
    return found.relative_to(runs).as_posix()


def evaluated(runs: Path, place: str, checkpoint: str, **settings) -> None:
    digest = hashlib.sha256((runs / checkpoint).read_bytes()).hexdigest()
    (runs / place).mkdir()
    record = {"checkpoint_sha256": digest, "section": settings.pop("section", "test"), "settings": settings}
    (runs / place / "summary.json").write_text(json.dumps({"settings": record}))


def test_the_run_of_the_checkpoint_and_not_the_latest(runs: Path) -> None:
    assert folder(runs, "output/models/model.pt") == "output/evaluation"
    assert folder(runs, "output-2/models/model.pt") == "output-2/evaluation"


def test_weights_of_no_run(runs: Path) -> None:
    (runs / "models").mkdir()
    (runs / "models/shipped.pt").write_bytes(b"x")
    assert folder(runs, "models/shipped.pt") == "evaluation-shipped"


def test_a_given_output_dir_goes_first(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(evaluation_folder.__globals__, "running_workflow", lambda: None)
    assert folder(runs, "output/models/model.pt") == "output-2/evaluation"


def test_no_other_evaluation_is_replaced(runs: Path) -> None:
    name = "output/models/model.pt"
    evaluated(runs, "output/evaluation", name, section="test", tta=False)
    assert folder(runs, name, section="test", tta=False) == "output/evaluation"
    assert folder(runs, name, section="test", tta=True) == "output/evaluation-2"
    assert folder(runs, name, section="validation", tta=False) == "output/evaluation-2"
    evaluated(runs, "output/evaluation-2", name, section="validation", tta=False)
    assert folder(runs, name, section="validation", tta=False) == "output/evaluation-2"
    (runs / name).write_bytes(b"trained further")
    assert folder(runs, name, section="test", tta=False) == "output/evaluation-3"


def test_one_that_was_stopped_is_made_again_and_a_strangers_is_not_replaced(runs: Path) -> None:
    (runs / "output/evaluation").mkdir()
    (runs / "output/evaluation/scores.csv").write_text("")
    assert folder(runs, "output/models/model.pt") == "output/evaluation"
    (runs / "output/evaluation/summary.json").write_text("[]")
    assert folder(runs, "output/models/model.pt") == "output/evaluation-2"
