from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus

from ckdmed.networks import UNetPlusPlus, head_weights
from ckdmed.networks.unet_plus_plus import depth_taps

WIDTHS = (2, 4, 6, 8, 10, 3)


def network(**settings) -> UNetPlusPlus:
    torch.manual_seed(0)
    return UNetPlusPlus(features=WIDTHS, **settings)


def monai_heads(source: UNetPlusPlus, image: torch.Tensor) -> list[torch.Tensor]:
    plain = BasicUNetPlusPlus(spatial_dims=2, in_channels=1, out_channels=1, features=WIDTHS, deep_supervision=True)
    plain.load_state_dict(source.state_dict())
    with torch.no_grad():
        return plain.train(source.training)(image)


def test_it_is_monais_network_and_the_heads_come_deepest_first() -> None:
    image = torch.rand(2, 1, 32, 48)
    net = network()
    heads = monai_heads(net, image)
    with torch.no_grad():
        assert torch.equal(net(image), torch.stack(heads[::-1], dim=1))
        assert torch.equal(net.eval()(image), heads[3])
    assert head_weights(net) == [0.25] * 4


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_pruned_equals_its_head_bit_for_bit_and_is_smaller(depth: int) -> None:
    # a size that is padded to the same grid for every depth
    image = torch.rand(2, 1, 32, 48)
    net = network().eval()
    small = net.pruned(depth)
    with torch.no_grad():
        assert torch.equal(small(image), monai_heads(net, image)[depth - 1])
    assert head_weights(small) == [] and small.depth == depth
    names = {name.rsplit(".", 1)[0].split(".")[0] for name in small.state_dict()}
    nodes = {f"conv_{i}_0" for i in range(depth + 1)}
    nodes |= {f"upcat_{i}_{k}" for i in range(4) for k in range(1, 5) if i + k <= depth}
    assert names == nodes | {f"final_conv_0_{depth}"}
    if depth == 4:
        assert not any(name.startswith("final_conv_0_1") for name in small.state_dict())
    # it can be built from its settings and reloads strictly
    again = UNetPlusPlus(features=WIDTHS, depth=depth, deep_supervision=False)
    again.load_state_dict(small.state_dict(), strict=True)
    assert small.train()(image).shape == (2, 1, 32, 48)


def test_an_ensemble_is_the_mean_of_the_heads() -> None:
    image = torch.rand(1, 1, 32, 32)
    net = network(ensemble=True).eval()
    with torch.no_grad():
        assert torch.allclose(net(image), torch.stack(monai_heads(net, image)).mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"depth": 2}, {"deep_supervision": False}, {"ensemble": True}])
def test_odd_sizes_and_gradients(settings: dict) -> None:
    net = network(**settings)
    image = torch.rand(2, 1, 19, 38)
    net(image).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net.eval()(image).shape == (2, 1, 19, 38)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"depth": 2}, {"ensemble": True}])
def test_torchscript(settings: dict) -> None:
    net, image = network(**settings).eval(), torch.rand(2, 1, 19, 38)
    with torch.no_grad():
        assert torch.allclose(torch.jit.script(net)(image), net(image), atol=1e-6)


def test_volumes() -> None:
    net = network(spatial_dims=3, depth=2)
    assert net(torch.rand(1, 1, 9, 8, 10)).shape == (1, 2, 1, 9, 8, 10)


def test_taps_of_a_pruned_network() -> None:
    assert depth_taps(4) == {"d4": "upcat_3_1", "d3": "upcat_2_2", "d2": "upcat_1_3", "d1": "upcat_0_4"}
    assert depth_taps(2) == {"d2": "upcat_1_1", "d1": "upcat_0_2"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 0}, "depth of a UNet.. must be one of 1, 2, 3, 4, got 0"),
        ({"ensemble": True, "deep_supervision": False}, "only deep_supervision trains"),
        ({"features": (1, 2)}, r"six widths, .* got \(1, 2\)"),
    ],
)
def test_refusals(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetPlusPlus(**settings)


def test_what_was_not_trained_is_not_pruned_to() -> None:
    with pytest.raises(ValueError, match="without deep supervision"):
        network(deep_supervision=False).pruned(2)
    with pytest.raises(ValueError, match="pruned to a depth of 1 to 2, got 3"):
        network(depth=2).pruned(3)
