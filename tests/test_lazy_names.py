from __future__ import annotations

import subprocess
import sys

import pytest

from ckdmed.lazy_names import lazy_names


def test_a_name_is_never_that_of_its_module():
    with pytest.raises(ValueError, match="p offers thing of a module of the same name; rename the module"):
        lazy_names("p", {"thing": ("thing", "other")})


def test_names_stay_what_they_are_after_their_modules_are_imported():
    # in a process of its own: which name was asked for first decides
    script = (
        "import ckdmed.metrics, ckdmed.metrics.mask_reliability, ckdmed.metrics.class_intervals\n"
        "from ckdmed.metrics import NEAR, classification_intervals, mask_calibration\n"
        "assert callable(mask_calibration) and callable(classification_intervals)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
