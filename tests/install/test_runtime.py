"""`ckdmed-runtime` built, installed where there is no PyTorch, and run on original slices."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from ckdmed.deploy.float_forms import write_onnx
from ckdmed.deploy.source import find_source
from tests.bundle.bundle_runs import completed, opened
from tests.install.environments import environment_of, install, needed_by, run

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")

ORIGINALS = 20


@pytest.fixture(scope="module")
def python(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtime")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run([*pip, "./runtime", "--wheel-dir", str(folder)], checkout)
    config = configparser.ConfigParser()
    config.read(checkout / "runtime" / "setup.cfg", encoding="utf-8")
    lines = [line for line in config["options"]["install_requires"].splitlines() if line and line[0] != "#"]
    python = environment_of(folder / "environment", needed_by(map(Requirement, lines)))
    install(python, *map(str, folder.glob("*.whl")))
    return python


def test_nothing_of_pytorch_is_there(python: Path):
    program = "import ckdmed_runtime; print(ckdmed_runtime.__version__, ckdmed_runtime.Predictor.__module__)"
    assert "ckdmed_runtime.runtime.predict" in run([str(python), "-c", program], python.parent)
    for name in ("torch", "monai", "ckdmed"):
        command = [str(python), "-c", f"import {name}"]
        failed = subprocess.run(command, cwd=python.parent, capture_output=True, text=True)
        assert f"No module named '{name}'" in failed.stderr


@pytest.mark.usefixtures("process_as_it_was")
def test_masks_of_originals_are_those_of_the_bundles_inference(python: Path, figshare_mat_dir: Path, tmp_path: Path):
    slices = tmp_path / "slices"
    slices.mkdir()
    files = sorted(figshare_mat_dir.glob("*.mat"))
    for file in files[:: len(files) // ORIGINALS][:ORIGINALS]:
        (slices / file.name).symlink_to(file)
    source = find_source("seg_kd")
    write_onnx(source.network, source.description, tmp_path / "model.onnx")
    out, expected = tmp_path / "out", tmp_path / "expected"
    run([str(python.with_name("ckdmed-runtime")), "model.onnx", "slices", "--output_dir", str(out)], tmp_path)
    # in this process, which has PyTorch loaded
    completed(opened("seg_kd", "inference.json", dataset_dir=str(slices), output_dir=str(expected)))
    masks = sorted(path.name for path in expected.glob("*_mask.png"))
    assert len(masks) == ORIGINALS
    assert [name for name in masks if not np.array_equal(*(_read(folder / name) for folder in (out, expected)))] == []
    assert sum(int(_read(out / name).any()) for name in masks) > ORIGINALS / 2


def _read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))
