"""Each extra's commands, in an environment with that extra and nothing else; its packages come from a package index."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.demo.serving import served
from tests.dicom_results.mr_series import write_mr_series
from tests.export.tiny import write_checkpoint
from tests.install.environments import ROOT, environment_of, run
from tests.install.test_wheel import TINY

# these bring what developers use; the checks run in them
OF_DEVELOPERS = {"dev", "test"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A package index that answers."""
    folder = str(tmp_path_factory.mktemp("index"))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--dest", folder]
    if subprocess.run([*pip, "iniconfig"], capture_output=True).returncode:
        pytest.skip("no package index answers: the packages of an extra cannot be had")


def dicom(ckdmed: str, folder: Path) -> None:
    volume = np.random.default_rng(0).integers(100, 400, (64, 64, 3)).astype(np.int16)
    write_mr_series(folder / "scans" / "one", volume)
    run([ckdmed, "segment", "scans", "-o", "results", "--no-tta"], folder)
    assert len(list((folder / "results").rglob("*.dcm"))) >= 2
    assert "--port" in run([ckdmed, "serve-dicom", "--help"], folder)


def deploy(ckdmed: str, folder: Path) -> None:
    run([ckdmed, "phantoms", "figshare", "slices", "--patients", "8", "--size", "48", "--quiet"], folder)
    checkpoint = write_checkpoint(folder / "model.pt", "seg_kd")
    words = ["--dataset_dir", "slices", "--calibration", "2", "--held_out", "1", "--no_timing", "--force"]
    formats = ["onnx", "onnx-int8", "openvino", "openvino-int8"]
    words += ["--checkpoint", str(checkpoint), "--formats", *formats, "--output_dir", "deployed"]
    run([ckdmed, "deploy", "seg_kd", *words], folder)
    assert len(list((folder / "deployed").glob("model*.onnx"))) == len(list(folder.glob("deployed/model*.xml"))) == 2


def prune(ckdmed: str, folder: Path) -> None:
    write_checkpoint(folder / "run/models/model.pt", "seg_kd")
    words = ["--checkpoint", "run/models/model.pt", "--ratio", "0.25", "--images", "2", "--output_dir", "pruned"]
    run([ckdmed, "prune", "seg_kd", *words, "--quiet"], folder)
    assert (folder / "pruned/model.pt").is_file()


def tracking(ckdmed: str, folder: Path) -> None:
    run([ckdmed, "run", "seg_kd", "train", *TINY.split(), "--tracking", "mlflow", "--output_dir", "out"], folder)
    assert (folder / "out/mlruns.db").is_file()


def demo(ckdmed: str, folder: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    with served([ckdmed, "demo"], {**variables, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}):
        pass


def cluster(ckdmed: str, folder: Path) -> None:
    words = ["--profile", "tiny", "--arms", "alone", "--label_fractions", "0.5", "--seeds", "0", "--output_dir", "out"]
    words += ["--phantom_patients", "12", "--phantom_size", "48", "--executor", "local"]
    run([ckdmed, "experiment", "compare", *words], folder)
    assert list(folder.glob("out/jobs/*_log.out"))


def completion(ckdmed: str, folder: Path) -> None:
    assert "ckdmed" in run([str(Path(ckdmed).with_name("register-python-argcomplete")), "ckdmed"], folder)
    line = "ckdmed depl"
    variables = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(folder / "answer"), "COMP_LINE": line}
    run([ckdmed], folder, COMP_POINT=str(len(line)), COMP_TYPE="9", _ARGCOMPLETE_COMP_WORDBREAKS=" ", **variables)
    assert (folder / "answer").read_text().strip() == "deploy"


def docs(ckdmed: str, folder: Path) -> None:
    build = [str(Path(ckdmed).with_name("mkdocs")), "build", "--strict", "--quiet", "--site-dir", str(folder / "site")]
    run(build, ROOT)
    assert (folder / "site/deploy.html").is_file()


COMMANDS: dict[str, Callable[[str, Path], None]] = {
    command.__name__: command for command in (dicom, deploy, prune, tracking, demo, cluster, completion, docs)
}


def test_every_extra_has_its_commands():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert set(config["options.extras_require"]) == {*COMMANDS, *OF_DEVELOPERS}


@pytest.mark.slow
@pytest.mark.parametrize("extra", COMMANDS)
def test_an_extra_brings_what_its_commands_need(
    extra: str, index: None, checkout: Path, plain_packages: set[str], tmp_path: Path
):
    python = environment_of(tmp_path / "environment", plain_packages, own_files=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-build-isolation"]
    run([*pip, "--constraint", str(ROOT / "constraints.txt"), f"{checkout}[{extra}]"], tmp_path)
    (tmp_path / "work").mkdir()
    COMMANDS[extra](str(python.with_name("ckdmed")), tmp_path / "work")
