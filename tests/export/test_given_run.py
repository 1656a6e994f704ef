"""What `ckdmed export` is given: a run, as `deploy` and `prune` are, or a bundle with weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ckdmed.bundle_files import bundle_folder
from ckdmed.cli import main


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "models").mkdir(parents=True)
    (folder / "models/model.pt").touch()
    settings = {"bundle_root": str(bundle_folder("seg_kd")), "output_dir": str(folder), "epochs": 1}
    (folder / "settings.json").write_text(json.dumps({"settings": settings}))
    return folder


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path]]:
    """The bundle and the weights of each export."""
    calls: list[tuple[Path, Path]] = []

    def export(bundle: Path, checkpoint: Path, output: Path, **_: object) -> SimpleNamespace:
        calls.append((Path(bundle).resolve(), Path(checkpoint)))
        checks = [SimpleNamespace(name="files", passed=True, detail="all there")]
        return SimpleNamespace(checks=checks, passed=True, folder=output, large_files=())

    monkeypatch.setattr("ckdmed.export.export_bundle", export)
    return calls


def test_a_run_brings_its_bundle_and_its_weights(tmp_path: Path, run: Path, exported: list[tuple[Path, Path]]) -> None:
    bundle, weights = bundle_folder("seg_kd").resolve(), run / "models/model.pt"
    other = tmp_path / "other.pt"
    other.touch()
    out = ["--output_dir", str(tmp_path / "brain_tumour"), "--quiet"]
    for given in (
        [str(run)],
        ["--bundle", "seg_kd", "--checkpoint", str(weights)],
        [str(run), "--checkpoint", str(other)],
    ):
        assert main(["export", *given, *out]) == 0
    assert exported == [(bundle, weights), (bundle, weights), (bundle, other)]


def test_one_of_both_is_given(
    tmp_path: Path, run: Path, exported: list[tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output_dir", str(tmp_path / "brain_tumour")]
    zoo = tmp_path / "zoo"
    for file in ("configs/inference.json", "configs/train.json", "models/model.pt"):
        (zoo / file).parent.mkdir(parents=True, exist_ok=True)
        (zoo / file).touch()
    for given, said in (
        ([], "give a run, or a bundle"),
        ([str(run), "--bundle", "seg_kd"], "give a run, or a bundle"),
        (["--bundle", "seg_kd"], "--bundle says whose configurations are written, and --checkpoint which weights"),
        ([str(zoo)], "zoo: is already exported"),
        ([str(run), "--checkpoint", str(tmp_path / "none.pt")], "there are no weights"),
    ):
        assert main(["export", *given, *out]) == 2
        assert said in capsys.readouterr().err
    assert not exported
