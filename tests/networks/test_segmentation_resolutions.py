"""Segmentation teachers of two networks that see each image at several resolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.networks import UNetViT, VGGViTUNet, segmentation_teacher, segmentation_teacher_taps
from ckdmed.networks.bridge_fusion import BRIDGE_FUSIONS, BridgesOfResolutions

VIT = {"vit_img_size": 16, "vit_patch_size": 8, "vit_hidden": 12, "vit_mlp": 16, "vit_layers": 3, "vit_heads": 3}


def unet_vit(spatial_dims: int = 2, fusion: str = "tokens", **settings) -> UNetViT:
    torch.manual_seed(0)
    return UNetViT(spatial_dims, fusion=fusion, **{"features": (4, 6, 8), **VIT, **settings}).eval()


def vgg_vit(spatial_dims: int = 2, fusion: str = "tokens", **settings) -> VGGViTUNet:
    torch.manual_seed(0)
    return VGGViTUNet(spatial_dims, fusion=fusion, **{"base": 2, **VIT, **settings}).eval()


def ways() -> list:
    """All of the one teacher; of the other, which fuses by the same modules, two by default."""
    slow = [fusion for fusion in BRIDGE_FUSIONS[:-1] if fusion not in ("tokens", "deformable")]
    return (
        [(unet_vit, fusion) for fusion in BRIDGE_FUSIONS]
        + [(vgg_vit, fusion) for fusion in ("tokens", "deformable")]
        + [pytest.param(vgg_vit, fusion, marks=pytest.mark.slow) for fusion in slow]
    )


@pytest.mark.parametrize(("make", "fusion"), ways())
def test_every_way_gives_logits_gradients_and_a_script(make, fusion: str) -> None:
    network = make(fusion=fusion, resolutions=[16, 32], map_weights="gated")
    image = torch.rand(2, 1, 32, 32)
    logits = network(image)
    assert logits.shape == (2, 1, 32, 32)
    torch.testing.assert_close(torch.jit.script(network)(image), logits, rtol=0, atol=1e-5)
    for module in (network.fuse, network.over_resolutions):
        for parameter in module.parameters():
            # what starts as the identity has zeros, behind which nothing learns in the first step
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    if fusion == "stn":
        nn.init.normal_(network.fuse.join.theta.weight, std=0.1)
    network.train()(image).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("make", "fusion"), ways())
def test_the_images_own_size_alone_is_the_network_without_resolutions(make, fusion: str) -> None:
    plain, one = (make(fusion=fusion, vit_img_size=32, resolutions=sizes) for sizes in (None, [32]))
    one.load_state_dict(plain.state_dict(), strict=True)
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(one(image), plain(image))
    # another size is another view of it
    other = make(fusion=fusion, vit_img_size=32, resolutions=[16])
    other.load_state_dict(plain.state_dict(), strict=True)
    assert not torch.equal(other(image), plain(image))


def test_weights_are_equal_at_the_start_and_count() -> None:
    network = unet_vit(resolutions=[16, 32])
    image = torch.rand(1, 1, 32, 32)
    maps: list[torch.Tensor] = []
    network.fuse.register_forward_hook(lambda _m, _i, output: maps.append(output))
    seen: dict[str, torch.Tensor] = {}
    network.over_resolutions.register_forward_hook(lambda _m, _i, output: seen.update(joined=output))
    network(image)
    assert [tuple(one.shape[2:]) for one in maps] == [(4, 4), (8, 8)]
    large = nn.functional.interpolate(maps[0], size=(8, 8), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(seen["joined"], (large + maps[1]) / 2)
    with torch.no_grad():
        network.over_resolutions.weighted.logits[1] = 100.0
    before = maps[1]
    network(image)
    torch.testing.assert_close(seen["joined"], before)


def test_volumes_and_images_that_are_not_square() -> None:
    volume = torch.rand(1, 2, 16, 16, 16)
    assert unet_vit(3, "graph", in_channels=2, resolutions=[8, 16])(volume).shape == (1, 1, 16, 16, 16)
    assert vgg_vit(resolutions=[16, 32])(torch.rand(1, 1, 30, 50)).shape == (1, 1, 30, 50)


def test_a_graph_joins_the_cells_of_all() -> None:
    network = unet_vit(fusion="graph", resolutions=[16, 32])
    assert network.fuse.join.maps == 4 and isinstance(network.over_resolutions.weighted, nn.Identity)


def test_what_cannot_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match=r"resolutions \[20\] are not multiples of 8"):
        unet_vit(resolutions=[16, 20])
    with pytest.raises(ValueError, match="different positive edges"):
        BridgesOfResolutions([16, 16], 8, "tokens")
    with pytest.raises(ValueError, match="weights must be one of global, gated, got 'local'"):
        unet_vit(resolutions=[16, 32], map_weights="local")
    with pytest.raises(ValueError, match=r"resolutions=\[16\] are for a U-Net with a ViT; a segresnet teacher is one"):
        segmentation_teacher("segresnet", resolutions=[16])


def test_taps_are_those_that_are_passed_once() -> None:
    sizes = {"base": 2, "vit_img_size": 32, "vit_hidden": 12, "vit_layers": 3, "vit_heads": 3}
    plain, several = (segmentation_teacher("unet_vit", resolutions=r, **sizes) for r in (None, [16, 32]))
    assert set(segmentation_teacher_taps("unet_vit", network=plain)) == {"d4", "d3", "d2", "d1", "tokens", "qkv"}
    assert set(segmentation_teacher_taps("unet_vit", network=several)) == {"d4", "d3", "d2", "d1"}
