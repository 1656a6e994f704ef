"""Teachers of several kinds."""

from __future__ import annotations

import pytest

from ckdmed.engines import teacher_ensemble
from ckdmed.networks import UNetViT

SIZES = {"base": 2, "vit_img_size": 16, "vit_hidden": 12, "vit_layers": 3, "vit_heads": 3}


def test_what_joins_two_networks_is_for_the_kinds_that_have_two() -> None:
    views = {"a": [0, 1], "b": [1]}
    joined = {"fuse": "stn", "resolutions": [16, 32]}
    both = teacher_ensemble(views, ["unet_vit", "segresnet"], **SIZES, **joined)
    assert isinstance(both.networks["a"], UNetViT) and both.networks["a"].resolutions == [16, 32]
    with pytest.raises(ValueError, match="a segresnet teacher is one network"):
        teacher_ensemble(views, "segresnet", **SIZES, **joined)
