"""The names of `ckdmed.data`, which are imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ckdmed.data


def test_every_name_and_every_module_is_reached():
    assert {getattr(ckdmed.data, name).__name__ for name in ckdmed.data.__all__} == set(ckdmed.data.__all__)
    # as configurations write it, in a process in which nothing else has imported the module
    program = "import ckdmed; print(ckdmed.data.load_slices.region_names(None), ckdmed.data.brats.MODALITIES)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['tumour']") or done.stdout.startswith("('tumour',)")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(ckdmed.data, "nothing")
