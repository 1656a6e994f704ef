from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckdmed.networks import (
    VGG,
    EfficientNetLiteClassifier,
    ViTClassifier,
    classification_teacher,
    classification_teacher_taps,
    frozen_paths,
    last_convolution,
)

TINY = {
    "vgg_width": 0.03,
    "vgg_img_size": None,
    "vit_img_size": 32,
    "vit_patch": 16,
    "vit_hidden": 12,
    "vit_layers": 1,
    "vit_heads": 2,
}


@pytest.mark.parametrize("kind, branches", [("vgg_vit", (VGG, ViTClassifier)), ("vit_vit", (ViTClassifier,) * 2)])
def test_kinds(kind: str, branches: tuple[type, ...]) -> None:
    teacher = classification_teacher(kind, **TINY).eval()
    assert tuple(type(branch) for branch in teacher.branches) == branches
    assert teacher(torch.rand(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("vgg, path, channels", [("vgg19_bn", "features.51", 15), ("vgg19", "features.35", 15)])
def test_last_convolution_is_that_of_the_first_vgg(vgg: str, path: str, channels: int) -> None:
    teacher = classification_teacher("vgg_vgg", vgg=vgg, **TINY).eval()
    assert last_convolution(teacher) == f"branches.0.{path}"
    shapes = []
    teacher.get_submodule(f"branches.0.{path}").register_forward_hook(lambda *a: shapes.append(tuple(a[2].shape)))
    teacher(torch.rand(1, 3, 32, 32))
    assert shapes == [(1, channels, 2, 2)]
    assert last_convolution(classification_teacher("vit_vit", **TINY)) is None


def test_early_layers_of_every_vgg_are_frozen_for_good() -> None:
    teacher = classification_teacher("vgg_vgg", freeze="early", **TINY)
    teacher.train()
    for branch in teacher.branches:
        for index, layer in enumerate(branch.features):
            early = index <= 26
            assert all(parameter.requires_grad != early for parameter in layer.parameters())
            assert layer.training != early
    assert len(frozen_paths(teacher)) == 2 * 27


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kind": "vgg"}, "must be one of vgg_vit, .*efficientnet_lite_vit, msgff, got 'vgg'"),
        ({"vgg": "vgg16"}, "vgg must be one of vgg19_bn, vgg19, got 'vgg16'"),
        ({"kind": "vit_vit", "freeze": "early"}, "a vit_vit teacher has none"),
        ({"freeze": "late"}, "'none', 'early' or a list of paths, got 'late'"),
    ],
)
def test_refusals(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification_teacher(**{**TINY, **settings})


def test_efficientnet_lite_alone_and_as_a_branch(tmp_path: Path) -> None:
    alone = classification_teacher("efficientnet_lite", num_classes=4)
    assert isinstance(alone, EfficientNetLiteClassifier) and last_convolution(alone) == "_blocks.4"
    assert classification_teacher_taps(alone) == {"msgff": "_blocks.4"}
    path = tmp_path / "lite.pt"
    torch.save(alone.state_dict(), path)
    hybrid = classification_teacher("efficientnet_lite_vit", num_classes=4, lite_weights=str(path), **TINY)
    assert classification_teacher_taps(hybrid) == {
        "msgff": "branches.0._blocks.4",
        "tokens": "branches.1.vit.norm",
        "qkv": "branches.1.vit.blocks.0.attn.qkv",
    }
    assert torch.equal(hybrid.branches[0]._conv_stem.weight, alone._conv_stem.weight)
    size = TINY["vit_img_size"]
    assert hybrid(torch.rand(2, 3, size, size)).shape == (2, 4)
    frozen = classification_teacher("efficientnet_lite", freeze=["_blocks.0"])
    assert not any(p.requires_grad for p in frozen._blocks[0].parameters())
    assert all(p.requires_grad for p in frozen._blocks[1].parameters())
