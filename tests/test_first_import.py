"""Every module can be the first of the package that is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ckdmed

# What the package is built on is imported once; each module is then imported first in a fork of its own.
_PROGRAM = """
import os, pkgutil, sys, traceback
import torch, monai, monai.bundle, ignite.engine, nibabel, h5py, skimage.exposure, skimage.draw, scipy.ndimage
import matplotlib.pyplot, PIL.Image, monai.networks.nets, monai.engines, monai.handlers, monai.apps
def names(folder, prefix):
    for module in pkgutil.iter_modules([folder]):
        yield prefix + module.name
        if module.ispkg:
            yield from names(os.path.join(folder, module.name), prefix + module.name + ".")
failed = 0
found = sys.argv[2:] or [name for name in names(sys.argv[1], "ckdmed.") if not name.endswith("__main__")]
for name in found:
    child = os.fork()
    if not child:
        try:
            __import__(name)
        except BaseException:
            print(name, traceback.format_exc(limit=-1), flush=True)
            os._exit(1)
        os._exit(0)
    failed += os.waitpid(child, 0)[1] != 0
print(len(found), "modules,", failed, "failed")
sys.exit(bool(failed))
"""


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def first_imports(*names: str) -> int:
    """How many modules were imported first, each in its own process; all of the package where none is named."""
    folder = Path(ckdmed.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder), *names], capture_output=True, text=True, cwd=folder.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return int(done.stdout.split()[-4])


@needs_fork
def test_readers_can_be_imported_first() -> None:
    assert first_imports("ckdmed.data.volume_reader", "ckdmed.data.case_reader", "ckdmed.data.brats.headers") == 3


@needs_fork
@pytest.mark.slow
def test_every_module_can_be_imported_first() -> None:
    assert first_imports() > 150
