"""What the exporter writes can teach: ``--teacher_bundle`` on a bundle of this package."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ckdmed.data.brats.names import MODALITIES
from ckdmed.export import Export
from ckdmed.zoo_teacher import zoo_teacher


@pytest.mark.slow
@pytest.mark.bundle
def test_an_exported_bundle_teaches(exports: Callable[[str], Export]) -> None:
    folder = exports("brats_seg_teacher").folder
    teacher = zoo_teacher(folder, list(MODALITIES), (32, 32), trusted=True).eval()
    image = torch.randn(1, 4, 32, 32)
    # its channels, regions and scale are the student's own
    torch.testing.assert_close(teacher(image), teacher.network.eval()(image))
    assert set(teacher.decoder_taps) == {"d4", "d3", "d2", "d1"}
    assert all(".decoder." in path for path in teacher.decoder_taps.values())
