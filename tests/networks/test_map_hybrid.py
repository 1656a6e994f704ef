from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckdmed.networks import (
    HybridClassifier,
    MapHybridClassifier,
    classification_teacher,
    classification_teacher_taps,
    frozen_paths,
    last_convolution,
)
from ckdmed.networks.map_branches import VGGMaps, ViTMaps
from ckdmed.networks.taps import Taps
from ckdmed.networks.vgg import vgg_tiny
from ckdmed.networks.vit import build_vit

TINY: dict[str, Any] = {
    "vgg_width": 0.03,
    "vgg_img_size": None,
    "vit_img_size": 32,
    "vit_patch": 16,
    "vit_hidden": 12,
    "vit_layers": 1,
    "vit_heads": 2,
    "fuse_channels": 8,
}


def teacher(kind: str = "vgg_vit", **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return classification_teacher(kind, **{**TINY, **settings})


@pytest.mark.parametrize(
    ("kind", "fuse", "resolutions"),
    [
        ("vgg_vit", "attention", None),
        ("vgg_vit", "stn", None),
        ("vgg_vgg", "deformable", None),
        ("efficientnet_lite_vit", "graph", None),
        ("vgg_vit", "geometric", [32, 48]),
        ("vgg_vit", "graph", [32, 48]),
        ("vgg_vit", "logits", [32, 48]),
        ("msgff", "logits", None),
        ("msgff", "stn", None),
    ],
)
def test_every_way_gives_logits_gradients_and_a_script(kind: str, fuse: str, resolutions: list[int] | None) -> None:
    network = teacher(kind, fuse=fuse, resolutions=resolutions).eval()
    x = torch.rand(2, 3, 32, 32)
    logits = network(x)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(torch.jit.script(network)(x), logits)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    for module in network.modules():
        if hasattr(module, "output_penalty"):
            nn.init.normal_(module.weight, std=0.1)
    network.train()
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    idle = [key for key, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not idle


def test_levels_of_the_msgff_teacher_are_weighed_by_hand() -> None:
    network = teacher("msgff").eval()
    assert isinstance(network, MapHybridClassifier) and network.weighted.maps == 6
    x = torch.rand(2, 3, 32, 32)
    parts = []
    for level in range(3):
        for branch, projections in zip(network.branches, network.projections):
            parts.append(
                F.interpolate(projections.levels[level](branch(x)[level]), (2, 2), mode="bilinear", antialias=True)
            )
    with torch.no_grad():
        network.weighted.logits.copy_(torch.arange(6.0))
    weights = torch.softmax(torch.arange(6.0), dim=0)
    fused = sum(weight * part for weight, part in zip(weights, parts))
    torch.testing.assert_close(network(x), network.classifier(fused.mean(dim=(2, 3))))


def test_logits_of_several_resolutions_are_averaged() -> None:
    network = teacher(resolutions=[32, 64]).eval()
    assert isinstance(network, HybridClassifier)
    x = torch.rand(2, 3, 32, 32)
    larger = F.interpolate(x, (64, 64), mode="bilinear", antialias=True)
    expected = (network.classifier(torch.cat(network.branch_outputs(x), 1)) + network.classifier(
        torch.cat(network.branch_outputs(larger), 1)
    )) / 2  # fmt: skip
    torch.testing.assert_close(network(x), expected)


def test_vgg_maps_are_those_before_the_poolings() -> None:
    vgg = vgg_tiny().eval()
    maps = VGGMaps(vgg)
    x = torch.rand(1, 3, 16, 16)
    fine, middle, coarse = maps(x)
    assert [m.shape[1] for m in (fine, middle, coarse)] == maps.channels == [8, 16, 32]
    torch.testing.assert_close(fine, vgg.features[:3](x))
    torch.testing.assert_close(coarse, vgg.features[:-1](x))


def test_vit_maps_and_their_positions() -> None:
    torch.manual_seed(0)
    maps = ViTMaps(3, 32, 8, 12, 6, 3).eval()
    assert maps.blocks == [1, 3]
    x = torch.rand(1, 3, 32, 32)
    tokens, after = maps.vit(x)
    first, _, last = maps(x)
    assert torch.equal(first[0, :, 1, 2], after[1][0, 1 + 4 + 2]) and torch.equal(last[0, :, 3, 3], tokens[0, -1])
    assert maps(torch.rand(1, 3, 48, 64))[0].shape == (1, 12, 6, 8)
    with pytest.raises(ValueError, match=r"spatial size \[20, 32\]; its patches are \[8, 8\]"):
        maps(torch.rand(1, 3, 20, 32))


def test_a_vit_of_any_size_is_the_same_at_its_own() -> None:
    torch.manual_seed(0)
    fixed = build_vit(3, 32, 8, 12, 20, 1, 3).eval()
    free = build_vit(3, 32, 8, 12, 20, 1, 3, any_size=True).eval()
    free.load_state_dict(fixed.state_dict(), strict=True)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(free(x)[0], fixed(x)[0])


def test_paths_of_taps_fire_once() -> None:
    x = torch.rand(1, 3, 32, 32)
    for settings in ({"fuse": "stn"}, {"fuse": "graph", "resolutions": [32, 48]}, {"kind": "msgff"}):
        network = teacher(**settings).eval()
        paths = classification_teacher_taps(network)
        taps = Taps(network, paths)
        with taps:
            network(x)
        found = taps.collect()
        assert found["msgff"].dim() == 4 and last_convolution(network) == paths["msgff"]
        assert ("tokens" in found) == ("resolutions" not in settings)
    assert classification_teacher_taps(teacher(resolutions=[32, 48])) == {}


def test_half_precision() -> None:
    network = teacher("msgff", fuse="geometric").eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(torch.rand(2, 3, 32, 32)).isfinite().all()


def test_pretrained_and_frozen_branches(tmp_path: Path) -> None:
    plain = classification_teacher("vgg_vit", **TINY)
    torch.save(plain.branches[0].state_dict(), tmp_path / "vgg.pt")
    network = teacher(fuse="stn", vgg_weights=str(tmp_path / "vgg.pt"), freeze="early")
    assert torch.equal(network.branches[0].features[0].weight, plain.branches[0].features[0].weight)
    assert len(frozen_paths(network)) == 27


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fuse": "sum"}, "logits, features, attention, stn, deformable, graph, geometric, pyramid, got 'sum'"),
        ({"kind": "efficientnet_lite", "fuse": "stn"}, "fuse='stn' joins the branches of a hybrid"),
        ({"kind": "efficientnet_lite", "resolutions": [32]}, r"resolutions=\[32\] joins the branches"),
        ({"kind": "msgff", "fuse": "features"}, "fuse must be logits or one of attention"),
        ({"fuse": "stn", "resolutions": [32, 32]}, r"different positive edges, got \[32, 32\]"),
        ({"fuse": "stn", "resolutions": [32, 48], "map_weights": "mean"}, "global, gated, got 'mean'"),
    ],
)
def test_refusals(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        teacher(**settings)
