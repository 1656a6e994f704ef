from __future__ import annotations

from monai.inferers import SimpleInferer, SliceInferer

from ckdmed.inferers.autocast import AutocastInferer
from ckdmed.inferers.flips import FlipAverageInferer
from ckdmed.inferers.progress import show_progress


def test_the_innermost_inferer_shows_its_bar():
    inner = SliceInferer(2, roi_size=(8, 8))
    assert not inner.progress
    show_progress(FlipAverageInferer(AutocastInferer(inner)))
    assert inner.progress


def test_an_inferer_without_a_bar_is_left_alone():
    inner = SimpleInferer()
    show_progress(FlipAverageInferer(inner))
    assert not hasattr(inner, "progress")
