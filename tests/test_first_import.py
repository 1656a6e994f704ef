"""What the first import of a part of the package reaches, in a process in which nothing of the package was imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import ckdmed

# What the package is built on is imported once; each program then runs in a fork of its own.
_FORKS = """
import contextlib, io, json, os, sys, traceback
import torch, monai, monai.bundle, ignite.engine, nibabel, h5py, skimage.exposure, skimage.draw, scipy.ndimage
import matplotlib.pyplot, PIL.Image, monai.networks.nets, monai.engines, monai.handlers, monai.apps
assert not [name for name in sys.modules if name.startswith("ckdmed")]
said = {}
for name, program in json.load(sys.stdin).items():
    out, into = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                exec(program, {})
            except BaseException:
                traceback.print_exc(limit=-1, file=printed)
        os.write(into, printed.getvalue().encode()[:60000])
        os._exit(0)
    os.close(into)
    with open(out, "rb") as stream:
        said[name] = stream.read().decode()
    if status := os.waitpid(child, 0)[1]:
        said[name] += f"ended with status {status}"
print(json.dumps(said))
"""
_PROGRAMS = {
    "readers": "import ckdmed.data.volume_reader",
    "case reader": "import ckdmed.data.case_reader",
    "headers": "import ckdmed.data.brats.headers",
    "inference": (
        "import sys, ckdmed.recipes, ckdmed.inference\n"
        "parts = ('ckdmed.engines', 'ckdmed.losses', 'ckdmed.export')\n"
        "print([name for name in sys.modules if name.startswith(parts)])"
    ),
    # which name was asked for first decides
    "names": (
        "import ckdmed.metrics, ckdmed.metrics.mask_reliability, ckdmed.metrics.class_intervals\n"
        "from ckdmed.metrics import NEAR, classification_intervals, mask_calibration\n"
        "print(callable(mask_calibration) and callable(classification_intervals))"
    ),
    "an error": "import ckdmed.nothing",
    "an end": "import os; os._exit(3)",
    # as configurations write it
    "data": "import ckdmed\nprint(list(ckdmed.data.load_slices.region_names(None)), ckdmed.data.brats.MODALITIES[0])",
}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_forks(programs: Mapping[str, str]) -> dict[str, str]:
    """What each program printed, the error that ended it included."""
    folder = Path(ckdmed.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _FORKS], input=json.dumps(programs), capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    return in_forks(_PROGRAMS)


def test_readers_can_be_imported_first(said: dict[str, str]) -> None:
    assert [said[name] for name in ("readers", "case reader", "headers")] == ["", "", ""]


def test_what_an_inference_imports_brings_no_training_code(said: dict[str, str]) -> None:
    assert said["inference"] == "[]\n"


def test_names_stay_what_they_are_after_their_modules_are_imported(said: dict[str, str]) -> None:
    assert said["names"] == "True\n"


def test_parts_are_reached_by_their_dotted_names(said: dict[str, str]) -> None:
    assert said["data"] == "['tumour'] t1n\n"


def test_an_error_of_a_program_is_told(said: dict[str, str]) -> None:
    assert "No module named 'ckdmed.nothing'" in said["an error"]
    assert said["an end"] == f"ended with status {3 << 8}"


@pytest.mark.slow
def test_every_module_can_be_imported_first() -> None:
    root = Path(ckdmed.__file__).parent
    files = [path.relative_to(root.parent).with_suffix("") for path in root.rglob("*.py")]
    names = {".".join(file.parts).removesuffix(".__init__") for file in files if file.stem != "__main__"}
    assert len(names) > 150
    failed = {name: text for name, text in in_forks({name: f"import {name}" for name in names}).items() if text}
    assert not failed
