from __future__ import annotations

import numpy as np

from ckdmed.metrics.region_volumes import volumes_ml


def test_volumes_are_voxels_times_their_size_whatever_the_orientation() -> None:
    core, whole = np.zeros((6, 5, 4), np.uint8), np.zeros((6, 5, 4), bool)
    core[1:3, 1:3, 1:3] = 1
    whole[:5] = True
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 5.0, 30], [0, 0, 0, 1]])
    assert volumes_ml({"core": core, "whole": whole, "none": 0 * core}, affine) == {
        "core": 0.12,  # 8 x 15 mm3
        "whole": 1.5,
        "none": 0.0,
    }
