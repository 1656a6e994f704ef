from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.networks.nets.efficientnet import EfficientNet

from ckdmed.networks import (
    VGG,
    EfficientNetLiteClassifier,
    ViTClassifier,
    classification_student,
    classification_student_taps,
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
    assert classification_teacher_taps(alone) == {
        "msgff": "_blocks.4",
        "s16": "_blocks.4",
        "s8": "_blocks.2",
        "s4": "_blocks.1",
    }
    path = tmp_path / "lite.pt"
    torch.save(alone.state_dict(), path)
    hybrid = classification_teacher("efficientnet_lite_vit", num_classes=4, lite_weights=str(path), **TINY)
    assert classification_teacher_taps(hybrid) == {
        "msgff": "branches.0._blocks.4",
        "s16": "branches.0._blocks.4",
        "s8": "branches.0._blocks.2",
        "s4": "branches.0._blocks.1",
        "tokens": "branches.1.vit.norm",
        "qkv": "branches.1.vit.blocks.0.attn.qkv",
    }
    assert torch.equal(hybrid.branches[0]._conv_stem.weight, alone._conv_stem.weight)
    size = TINY["vit_img_size"]
    assert hybrid(torch.rand(2, 3, size, size)).shape == (2, 4)
    frozen = classification_teacher("efficientnet_lite", freeze=["_blocks.0"])
    assert not any(p.requires_grad for p in frozen._blocks[0].parameters())
    assert all(p.requires_grad for p in frozen._blocks[1].parameters())


def test_features_of_efficientnet_lite_are_what_its_last_layer_sees() -> None:
    network = EfficientNetLiteClassifier(num_classes=4)
    x = torch.rand(3, 3, 64, 64)
    network(x)  # moves the running statistics of the normalisation from where they start
    network.eval()
    features = network.forward_features(x)
    assert features.shape == (3, network.feature_size)
    # MONAI's own pass from image to logits
    torch.testing.assert_close(network(x), EfficientNet.forward(network, x))
    torch.testing.assert_close(network.get_submodule(network.last_layer)(features), network(x))


def test_features_of_efficientnet_lite_are_fused_with_those_of_a_transformer() -> None:
    teacher = classification_teacher("efficientnet_lite_vit", num_classes=4, fuse="features", **TINY).eval()
    lite, vit = teacher.branches
    x = torch.rand(2, 3, TINY["vit_img_size"], TINY["vit_img_size"])
    vectors = torch.cat([lite.forward_features(x), vit.forward_features(x)], dim=1)
    torch.testing.assert_close(teacher(x), teacher.classifier(vectors))
    teacher(x).sum().backward()
    assert not lite._fc.weight.requires_grad and lite._conv_stem.weight.grad.abs().sum() > 0
    torch.testing.assert_close(torch.jit.script(teacher)(x), teacher(x))


def _grids(network: torch.nn.Module, taps: dict[str, str]) -> dict[str, int]:
    """The edge of each tapped level for an image of 64 pixels."""
    found: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: found.update({name: output.shape[-1]})

    for name in LEVELS:
        network.get_submodule(taps[name]).register_forward_hook(note(name))
    network.eval()(torch.rand(1, 3, 64, 64))
    return found


LEVELS = {"s16": 4, "s8": 8, "s4": 16}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("vgg_vit", {}),
        ("vgg_vgg", {"vgg": "vgg19"}),
        ("vgg_vit", {"fuse": "attention"}),
        ("msgff", {}),
        ("efficientnet_lite", {}),
        ("efficientnet_lite_vit", {}),
        ("efficientnet_lite_vit", {"fuse": "attention"}),
    ],
)
def test_levels_lie_on_the_grids_that_their_names_say(kind: str, settings: dict[str, str]) -> None:
    teacher = classification_teacher(kind, **{**TINY, "vit_img_size": 64, **settings})
    assert _grids(teacher, classification_teacher_taps(teacher)) == LEVELS


@pytest.mark.parametrize("kind", ["efficientnet_b0", "efficientnet_lite", "plain_cnn"])
def test_so_do_those_of_students(kind: str) -> None:
    student = classification_student(kind)
    assert _grids(student, classification_student_taps(student)) == LEVELS


def test_levels_of_vgg19_are_its_stages_behind_their_poolings_and_others_have_none() -> None:
    taps = classification_teacher_taps(classification_teacher("vgg_vit", **TINY))
    assert [taps[name] for name in LEVELS] == [f"branches.0.features.{index}" for index in (39, 26, 13)]
    several = classification_teacher("vgg_vit", resolutions=[32, 64], **TINY)
    for other in (classification_teacher("vit_vit", **TINY), several):
        assert not set(LEVELS) & set(classification_teacher_taps(other))
    assert not set(LEVELS) & set(classification_student_taps(classification_student("vit")))
