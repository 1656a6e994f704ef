"""What a bundle is made of, copies of one, and where the runs of an installed one write."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from ckdmed import bundle_files as places
from ckdmed import cli
from ckdmed.bundle import inference_folder, output_folder
from ckdmed.cli.bundle import copy_bundle

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundles" / "seg_kd"
    for name in ("train.json", "metadata.json", "logging.conf", "LICENSE", "models/model.pt", "output/models/model.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "docs").mkdir()
    (folder / "docs/README.md").write_text("run --config_file bundles/seg_kd/train.json, as bundles/seg_teacher does")
    return folder


def test_weights_belong_to_a_bundle_by_their_record(bundle: Path):
    own = {Path(name) for name in ("train.json", "metadata.json", "logging.conf", "LICENSE", "docs/README.md")}
    assert set(places.bundle_files(bundle)) == own
    (bundle / "models/model.json").write_text("{}")
    own |= {Path("models/model.json"), Path("models/model.pt")}
    assert set(places.bundle_files(bundle)) == own
    for name in ("mine.pt", "small.pt", "small.json", "small.inputs.json", "other.json"):
        (bundle / "models" / name).write_text("{}")
    small = {Path("models/small.pt"), Path("models/small.json"), Path("models/small.inputs.json")}
    assert set(places.bundle_files(bundle)) == own | small


def test_a_copy_names_itself_in_its_commands_and_replaces_nothing(bundle: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    written = copy_bundle(bundle, Path("mine"))
    assert all(path.is_file() for path in written) and Path("mine/train.json") in written
    assert Path("mine/docs/README.md").read_text() == "run --config_file mine/train.json, as bundles/seg_teacher does"
    Path("mine/train.json").write_text("changed")
    with pytest.raises(ValueError, match="mine is not replaced: it holds files already"):
        copy_bundle(bundle, Path("mine"))
    assert Path("mine/train.json").read_text() == "changed"


def test_the_command_lists_names_and_writes(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bundle"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed == {path.name: str(path) for path in (ROOT / "bundles").iterdir() if (path / "train.json").is_file()}
    assert cli.main(["bundle", "seg_kd"]) == 0
    assert capsys.readouterr().out == f"{ROOT / 'bundles' / 'seg_kd'}\n"
    assert cli.main(["bundle", "seg_kt"]) == 2
    assert "there is no bundle 'seg_kt'" in (refusal := capsys.readouterr().err) and "seg_kd" in refusal
    assert cli.main(["bundle", "cls_teacher", "mine"]) == 0
    assert json.loads(Path("mine/train.json").read_text()) == json.loads(
        (ROOT / "bundles/cls_teacher/train.json").read_text()
    )


def test_the_command_needs_nothing_that_is_slow_to_import():
    program = "import sys; from ckdmed.cli import main; main(['bundle']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT).returncode == 0


def test_setup_reads_the_file_without_the_package():
    found = runpy.run_path(str(ROOT / "ckdmed/bundle_files.py"))
    assert found["bundle_names"](ROOT / "bundles") == places.bundle_names(ROOT / "bundles")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed bundles; the working directory is another folder."""
    folder = tmp_path / "site-packages/ckdmed" / places.INSTALLED
    (folder / "seg_kd").mkdir(parents=True)
    monkeypatch.setattr(places, "_PACKAGE", folder.parent)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_an_installed_bundle_writes_into_the_working_directory(installed: Path, tmp_path: Path):
    assert places.bundles_folder() == installed
    assert output_folder(str(installed / "seg_kd")) == "output"
    assert inference_folder(str(installed / "seg_kd")) == str(Path("output", "inference"))
    own = tmp_path / "mine"
    assert output_folder(str(own)) == str(own / "output")
    assert inference_folder(str(own)) == str(own / "output" / "inference")


def test_the_latest_run_of_an_installed_bundle_is_its_own(installed: Path):
    for name, bundle in (("output", "seg_kd"), ("output-2", "cls_kd")):
        Path(name).mkdir()
        Path(name, "metrics.jsonl").write_text("{}")
        Path(name, "settings.json").write_text(json.dumps({"settings": {"bundle_root": str(installed / bundle)}}))
    assert output_folder(str(installed / "seg_kd"), resume=True) == "output"
    assert output_folder(str(installed / "cls_kd"), resume=True) == "output-2"
    assert output_folder(str(installed / "seg_kd")) == "output-3"


def test_the_layout_of_the_zoo_has_its_configuration_below(tmp_path: Path):
    zoo = tmp_path / "some_bundle"
    (zoo / "configs").mkdir(parents=True)
    (zoo / "configs" / "train.json").write_text("{}", encoding="utf-8")
    assert places.bundle_configs(str(zoo)) == zoo / "configs" and places.bundle_root(zoo / "configs") == zoo
    own = places.bundle_folder("seg_kd")
    assert places.bundle_configs(str(own)) == places.bundle_configs("seg_kd") == own == places.bundle_root(own)
