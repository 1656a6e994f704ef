from __future__ import annotations

import pytest
import torch
from monai.networks.nets import AttentionUnet, DynUNet, SegResNet, SwinUNETR
from monai.networks.nets import UNet as MonaiUNet

from ckdmed.networks import (
    SEGMENTATION_KINDS,
    SEGMENTATION_STUDENTS,
    SEGMENTATION_TEACHERS,
    AnySizeSegResNet,
    BackboneUNet,
    CascadedUNet,
    CnnViTUNet,
    CohraUNet,
    DeepMedic,
    EfficientNetLiteUNet,
    GroupedUNet,
    PyramidAttentionUNet,
    UNet,
    UNetPlusPlus,
    UNetViT,
    VGGViTUNet,
    middle_stage,
    segmentation_student,
    segmentation_student_taps,
    segmentation_teacher,
    segmentation_teacher_taps,
    usual_base,
)
from ckdmed.networks.taps import tap_shapes

CLASSES = {
    "unet_vit": UNetViT,
    "vgg_vit": VGGViTUNet,
    "unet": UNet,
    "attention_unet": AttentionUnet,
    "unet_plus_plus": UNetPlusPlus,
    "residual_unet": MonaiUNet,
    "flexible_unet": BackboneUNet,
    "segresnet": SegResNet,
    "dynunet": DynUNet,
    "swin_unetr": SwinUNETR,
    "cohra": CohraUNet,
    "pyramid_attention": PyramidAttentionUNet,
    "cnn_vit": CnnViTUNet,
    "deep_medic": DeepMedic,
    "grouped_unet": GroupedUNet,
    "cascaded_unet": CascadedUNet,
    "efficientnet_lite": EfficientNetLiteUNet,
}
SLOW = {("swin_unetr", 3), ("flexible_unet", 3)}
VIT = {"vit_img_size": 16, "vit_patch_size": 8, "vit_hidden": 8, "vit_layers": 1, "vit_heads": 2}


def teacher(kind: str, spatial_dims: int = 2, **kwargs) -> torch.nn.Module:
    # window 7 in three dimensions is a hundred times as slow as all the others
    options = {"swin_unetr": {"window_size": 2}, "flexible_unet": {"backbone": "resnet10"}}.get(kind)
    base = 12 if kind == "swin_unetr" else 2
    return segmentation_teacher(
        kind, **{"spatial_dims": spatial_dims, "base": base, "options": options, **VIT, **kwargs}
    )


def test_every_kind_is_covered() -> None:
    assert set(SEGMENTATION_TEACHERS) == set(CLASSES)


@pytest.mark.parametrize(
    ("kind", "spatial_dims"),
    [
        # at its least size, 64 voxels an axis, SwinUNETR takes as long as all the others together
        # so does, in three dimensions, an encoder whose widths are fixed
        pytest.param(kind, dims, marks=pytest.mark.slow if (kind, dims) in SLOW else ())
        for kind in SEGMENTATION_TEACHERS
        for dims in ((2,) if kind == "efficientnet_lite" else (2, 3))
    ],
)
def test_logits_and_gradients_of_every_kind(kind: str, spatial_dims: int) -> None:
    network = teacher(kind, spatial_dims).train()
    assert isinstance(network, CLASSES[kind])
    # a U-Net's levels must be halved; the others take any size
    size = (32,) * spatial_dims if kind in ("unet_vit", "unet") else (17, 22, 9)[:spatial_dims]
    logits = network(torch.rand(2, 4, *size))
    heads = {"unet_plus_plus": (4,), "cascaded_unet": (3,)}.get(kind, ())
    assert logits.shape == (2, *heads, 3, *size) and torch.isfinite(logits).all()
    logits.square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not without, without


@pytest.mark.parametrize("kind", SEGMENTATION_TEACHERS)
def test_taps_are_decoder_stages_from_an_eighth_to_the_whole_grid(kind: str) -> None:
    network = teacher(kind)
    logits, shapes = tap_shapes(network, segmentation_teacher_taps(kind), (1, 4, 64, 64))
    assert logits == (1, 3, 64, 64)
    stages = {"d4": (8, 8), "d3": (16, 16), "d2": (32, 32), "d1": (64, 64)}
    if kind == "deep_medic":
        stages = {"d1": (64, 64)}
    assert {name: shape[2:] for name, shape in shapes.items()} == stages
    assert middle_stage(segmentation_teacher_taps(kind)) == segmentation_teacher_taps(kind)[list(stages)[-2:][0]]


def test_a_kind_is_the_same_network_as_student_and_as_teacher() -> None:
    assert SEGMENTATION_STUDENTS == tuple(SEGMENTATION_KINDS) == SEGMENTATION_TEACHERS[2:]
    for kind in ("unet", "unet_plus_plus"):
        names = list(segmentation_student(kind, in_channels=4, out_channels=3, base=2).state_dict())
        assert names == list(teacher(kind).state_dict())
        assert segmentation_student_taps(kind) == segmentation_teacher_taps(kind)


def test_padding_leaves_a_fitting_size_alone_and_crops_another() -> None:
    torch.manual_seed(0)
    padded = teacher("segresnet").eval()
    plain = SegResNet(
        spatial_dims=2, init_filters=2, in_channels=4, out_channels=3, norm=("GROUP", {"num_groups": 2})
    ).eval()
    # MONAI's own weights fit, name for name
    plain.load_state_dict(padded.state_dict())
    image = torch.rand(1, 4, 32, 32)
    with torch.no_grad():
        assert torch.allclose(padded(image), plain(image), atol=1e-6)
        cut = image[..., :27, :30]
        zeros = torch.zeros(1, 4, 32, 32)
        zeros[..., :27, :30] = cut
        assert torch.allclose(padded(cut), plain(zeros)[..., :27, :30], atol=1e-6)


def test_a_tapped_tensor_stays_what_it_was() -> None:
    network = teacher("segresnet")
    assert isinstance(network, AnySizeSegResNet)
    inplace = [m for kind in ("segresnet", "dynunet") for m in teacher(kind).modules() if getattr(m, "inplace", False)]
    assert not inplace


def test_deep_medic_of_base_30_has_the_published_widths_and_loads_its_own_weights() -> None:
    network = teacher("deep_medic", base=30)
    widths = [layer.conv.out_channels for layer in network.fine.layers]
    assert widths == [30, 30, 40, 40, 40, 40, 50, 50] and network.classifier.in_channels == 150
    small, again = teacher("deep_medic").eval(), teacher("deep_medic").eval()
    again.load_state_dict(small.state_dict(), strict=True)
    image = torch.rand(1, 4, 13, 20)
    assert torch.equal(small(image), again(image)) and usual_base("deep_medic", 3) == 30


def test_usual_widths() -> None:
    usual = {kind: usual_base(kind, 3) for kind in SEGMENTATION_TEACHERS}
    assert {kind: base for kind, base in usual.items() if base != 32} == {
        "swin_unetr": 48,
        "deep_medic": 30,
        "grouped_unet": 16,
        "cascaded_unet": 8,
    }
    assert usual_base("unet_vit", 2) == usual_base("vgg_vit", 2) == 64 and usual_base(["unet", "deep_medic"], 2) == 32


def test_options_go_before_the_settings() -> None:
    assert teacher("cohra", options={"features": [2, 4, 8], "heads": 2}).divisor == 4
    with pytest.raises(TypeError, match="no_such_option"):
        teacher("segresnet", options={"no_such_option": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kind": "u_net"},
            "must be one of unet_vit, vgg_vit, unet, .*, cohra, .*, grouped_unet, cascaded_unet, got 'u_net'",
        ),
        ({"kind": "attention_unet", "base": 3}, "base of a attention_unet teacher must be a multiple of 2, got 3"),
        (
            {"kind": "flexible_unet", "spatial_dims": 3, "options": {"backbone": "efficientnet-lite0"}},
            "2D network: spatial_dims must be 2, got 3",
        ),
        ({"kind": "flexible_unet", "options": {"backbone": "vgg"}}, "backbone must be one of .*, got 'vgg'"),
        ({"kind": "unet_plus_plus", "options": {"depth": 5}}, "depth of a UNet\\+\\+ must be one of 1, 2, 3, 4, got 5"),
        ({"kind": "swin_unetr", "base": 16}, "base of a swin_unetr teacher must be a multiple of 12, got 16"),
        ({"kind": "dynunet", "base": 0}, "base of a dynunet teacher must be at least 1, got 0"),
        ({"kind": "efficientnet_lite", "spatial_dims": 3}, "2D network: spatial_dims must be 2, got 3"),
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3, got 4"),
        ({"kind": "cohra", "options": {"deep_supervision": 1}}, "further heads of a cohra teacher .* leave deep_super"),
    ],
)
def test_refusals(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation_teacher(**settings)
    if settings.get("kind") == "u_net":
        with pytest.raises(ValueError, match=message):
            segmentation_teacher_taps("u_net")


def test_a_unet_vit_names_sizes_that_it_cannot_halve() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        teacher("unet_vit")(torch.rand(1, 4, 40, 32))
