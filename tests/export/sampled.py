"""Which bundles are exported in the default tests; apart from the sizes, which tools read where there is no pytest."""

from __future__ import annotations

import pytest

from tests.export.tiny import BUNDLES

#: A bundle of slices and one of cases for every run of the tests, the others for those of the slow ones.
SAMPLED = [
    name if name in ("seg_kd", "brats_seg_kd") else pytest.param(name, marks=pytest.mark.slow) for name in BUNDLES
]
