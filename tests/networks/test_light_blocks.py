"""Coordinate attention, the block of EdgeViT and their fusion, against values worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.networks import CnnViTUNet, CoordinateAttention, EdgeViTBlock, PyramidAttentionUNet, UNet
from ckdmed.networks.fusion import AttentivePyramidFusion

dims = pytest.mark.parametrize("size", [(7, 6), (5, 4, 6)])


def zero(*modules: nn.Module) -> None:
    for module in modules:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)


@dims
def test_coordinate_attention_of_zeroed_gates_halves_once_an_axis(size: tuple[int, ...]) -> None:
    layer = CoordinateAttention(len(size), 3)
    zero(layer.gates)
    x = torch.rand(2, 3, *size)
    assert torch.allclose(layer(x), x / 2 ** len(size))


def test_a_gate_depends_on_its_own_coordinate_alone() -> None:
    layer = CoordinateAttention(2, 1)
    zero(layer)
    # hidden = hardswish(mean of the line) = m (m + 3) / 6; only the gate of rows reads it
    layer.shared.weight.data[0] = 1
    layer.gates[0].weight.data[0, 0] = 1
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    means = torch.tensor([1.5, 4.5])
    hidden = torch.tensor([1.5 * 4.5 / 6, 4.5])
    expected = x * torch.sigmoid(hidden).reshape(1, 1, 2, 1) * 0.5
    assert torch.allclose(layer(x), expected) and torch.allclose(x.mean(dim=3).flatten(), means)


@dims
def test_an_edgevit_block_of_zeroed_last_layers_is_the_identity(size: tuple[int, ...]) -> None:
    block = EdgeViTBlock(len(size), 8, rate=2, heads=2)
    zero(block.position, block.local[3], block.spread[1], block.mlp[1].linear2)
    x = torch.rand(2, 8, *size)
    assert torch.equal(block(x), x)
    block = EdgeViTBlock(len(size), 8, rate=4, heads=2)
    y = block(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in block.parameters())
    block.eval()
    assert torch.allclose(torch.jit.script(block)(x), block(x), atol=1e-5)


def test_attention_sees_every_rth_position_and_spreads_back_around_it() -> None:
    torch.manual_seed(0)
    block = EdgeViTBlock(2, 4, rate=3).eval()
    zero(block.position, block.local[3], block.mlp[1].linear2)
    x = torch.rand(1, 4, 6, 6)
    plain = block(x)
    # between the chosen positions (0 and 3 of an axis) a value is read by nobody else
    other = x.clone()
    other[0, :, 1, 2] += 1
    change = (block(other) - plain).abs().sum(dim=1)[0]
    assert change[1, 2] > 0 and int((change > 1e-5).sum()) == 1
    # a chosen one is read by all
    other = x.clone()
    other[0, :, 3, 3] *= torch.tensor([3.0, 0.2, 1.0, 2.0])
    assert bool(((block(other) - plain).abs().sum(dim=1) > 1e-7).all())


def test_bad_blocks() -> None:
    with pytest.raises(ValueError, match="heads must divide 6, got 2 and 4"):
        EdgeViTBlock(2, 6, 2, 4)
    with pytest.raises(ValueError, match="positive channels and ratio"):
        CoordinateAttention(2, 0)
    with pytest.raises(ValueError, match="channels 4 or more, got 2 and 3"):
        AttentivePyramidFusion(3)
    with pytest.raises(ValueError, match="five widths"):
        CnnViTUNet(features=(2, 4, 8))


def test_the_fusion_adds_what_a_zeroed_projection_silences() -> None:
    fusion = AttentivePyramidFusion(8)
    zero(fusion.project)
    first, second = torch.rand(2, 8, 6, 5), torch.rand(2, 8, 3, 3)
    assert torch.equal(fusion(first, second), first)


def test_pyramid_attention_with_open_gates_and_no_averages_is_a_u_net() -> None:
    network = PyramidAttentionUNet(features=(4, 8, 16)).eval()
    for gate in network.gates:
        # sigmoid of 40 is 1
        zero(*gate)
        gate[0].mlp[2].bias.data.fill_(20)
        gate[1].conv.conv.bias.data.fill_(40)
    project = network.pyramid[1]
    zero(project)
    project.weight.data[:, :16, 0, 0] = torch.eye(16)
    plain = UNet(features=(4, 8, 16)).eval()
    plain.load_state_dict(network.unet.state_dict())
    image = torch.rand(1, 1, 16, 24)
    assert torch.allclose(network(image), plain(image), atol=1e-5)
