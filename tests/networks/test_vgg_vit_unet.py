from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckdmed.networks import UNetViT, VGGViTUNet, frozen_paths, vgg19_bn

VIT = {"vit_img_size": 16, "vit_patch_size": 8, "vit_hidden": 8, "vit_mlp": 16, "vit_layers": 1, "vit_heads": 2}


def network(**settings) -> VGGViTUNet:
    torch.manual_seed(0)
    return VGGViTUNet(**{"base": 2, **VIT, **settings})


def test_skips_are_the_maps_before_the_poolings() -> None:
    net = VGGViTUNet(**VIT)
    # those of torchvision's vgg19_bn
    assert net.poolings == [6, 13, 26, 39] and len(net.features) == 52
    assert net.bridge.in_channels == 512 and net.bridge.out_channels == 1024
    assert [net.decoder[f"d{i}"].convs.conv1.conv.in_channels for i in (1, 2, 3, 4)] == [128, 256, 512, 1024]


@pytest.mark.parametrize("fusion", ["class_token", "tokens"])
def test_a_zeroed_fusion_leaves_vggs_unet_alone(fusion: str) -> None:
    net = network(fusion=fusion).eval()
    for parameter in net.fuse.parameters():
        torch.nn.init.zeros_(parameter)
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        before = net(image)
        for parameter in net.vit.parameters():
            parameter.add_(1.0)
        assert torch.equal(net(image), before)


def test_the_vits_view_reaches_the_logits_and_odd_sizes_pass() -> None:
    net = network().eval()
    image = torch.rand(2, 1, 37, 50)
    with torch.no_grad():
        before = net(image)
        assert before.shape == image.shape
        net.fuse.linear.weight.mul_(-50.0)
        assert not torch.equal(net(image), before)


def test_early_stages_are_frozen_with_their_statistics(tmp_path: Path) -> None:
    vgg = vgg19_bn(in_channels=3, width=2 / 64)
    torch.save(vgg.state_dict(), tmp_path / "vgg.pth")
    net = network(in_channels=3, vgg_weights=str(tmp_path / "vgg.pth"), freeze="early").train()
    for name, value in net.features.state_dict().items():
        assert torch.equal(value, vgg.features.state_dict()[name])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert frozen_paths(net)[-1] == "features.26"
    learned = {name for name, p in net.named_parameters() if p.grad is not None}
    assert not any(name.startswith("features.") and int(name.split(".")[1]) <= 26 for name in learned)
    assert "features.27.weight" in learned
    for name, value in net.state_dict().items():
        if name.startswith("features.") and int(name.split(".")[1]) <= 26:
            assert torch.equal(value, before[name]), name


def test_it_is_another_network_than_the_unet_with_a_vit() -> None:
    assert not isinstance(network(), UNetViT)
    with pytest.raises(ValueError, match="freeze must be one of none, early, got 'all'"):
        network(freeze="all")
    with pytest.raises(ValueError, match="fusion must be one of"):
        network(fusion="sum")


@pytest.mark.slow
def test_torchscript() -> None:
    net, image = network().eval(), torch.rand(1, 1, 37, 50)
    with torch.no_grad():
        assert torch.allclose(torch.jit.script(net)(image), net(image), atol=1e-5)
