"""Distances in a process that flushes denormal numbers, where SciPy's KD-tree would bring it down."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ckdmed.metrics.denormals import with_denormals

# a prediction that fills the volume to its border, where half of the surface's points have a coordinate 0
SCRIPT = """
import numpy as np, torch
from ckdmed.metrics import lesionwise_scores, segmentation_scores
torch.set_flush_denormal(True)
full, truth = np.ones((40, 36, 19), bool), np.zeros((40, 36, 19), bool)
truth[15:19, 8:12, 11:15] = True
print(lesionwise_scores(full, truth, (6, 6.6666665, 7.75))["n_found"])
print(segmentation_scores(np.ones((80, 300), bool), np.pad(np.ones((4, 4), bool), ((0, 76), (0, 296))))["hd95"] > 0)
"""


@pytest.mark.slow
def test_a_mask_at_the_border_of_the_volume():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-500:]}"
    assert done.stdout.split() == ["1", "True"]


def denormal() -> float:
    return float(torch.tensor([torch.finfo(torch.float64).tiny], dtype=torch.float64).mul(0.5))


def test_the_setting_comes_back():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormal numbers")
    assert denormal() == 0
    with pytest.raises(KeyError), with_denormals():
        assert denormal() > 0
        raise KeyError
    assert denormal() == 0
    try:
        torch.set_flush_denormal(False)
        with with_denormals():
            assert denormal() > 0
        assert denormal() > 0
    finally:
        torch.set_flush_denormal(True)
