from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ckdmed.networks import ChannelGate, GridTransformer, PreActivationUnit, SpatialGate
from ckdmed.networks.residual_unit import fitting_norm


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def through_gate() -> ChannelGate:
    """A gate of two channels whose perceptron is the identity on both, but for its leaky activation."""
    gate = ChannelGate(2)
    for parameter in gate.parameters():
        parameter.data.zero_()
    with torch.no_grad():
        gate.mlp[0].weight[:2] = torch.eye(2)
        gate.mlp[2].weight[:, :2] = torch.eye(2)
    return gate


def test_channel_gate_by_hand() -> None:
    # channel 0: mean 1, maximum 2; channel 1: mean -2, maximum -1, a hundredth of which passes the activation
    x = torch.tensor([[[0.0, 2.0], [-1.0, -3.0]]]).reshape(1, 2, 1, 2)
    first, second = sigmoid(1 + 2), sigmoid(0.01 * (-2 - 1))
    expected = torch.tensor([[0.0, 2 * first], [-second, -3 * second]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(through_gate()(x), expected)
    # a volume of one slice is the slice
    torch.testing.assert_close(through_gate()(x[:, :, None]), expected[:, :, None])


def test_channel_gate_sees_each_image_by_itself_and_no_positions() -> None:
    gate, x = ChannelGate(6), torch.randn(3, 6, 5, 4)
    torch.testing.assert_close(gate(x)[1:2], gate(x[1:2]))
    order = torch.randperm(20)
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    torch.testing.assert_close(gate(shuffled), gate(x).flatten(2)[..., order].reshape(x.shape))


@pytest.mark.parametrize(("channels", "ratio", "hidden"), [(64, 16, 4), (256, 16, 16), (8, 16, 4), (40, 4, 10)])
def test_width_of_the_hidden_layer(channels: int, ratio: int, hidden: int) -> None:
    assert ChannelGate(channels, ratio).mlp[0].out_features == hidden


def test_spatial_gate_by_hand() -> None:
    gate = SpatialGate(2, kernel_size=1)
    gate.conv.conv.weight.data = torch.tensor([2.0, 1.0]).reshape(1, 2, 1, 1)
    gate.conv.conv.bias.data = torch.tensor([-1.0])
    # position 0: channels 1 and 3, mean 2, maximum 3; position 1: channels 0 and -2, mean -1, maximum 0
    x = torch.tensor([[1.0, 0.0], [3.0, -2.0]]).reshape(1, 2, 1, 2)
    first, second = sigmoid(2 * 2 + 3 - 1), sigmoid(-2 + 0 - 1)
    expected = torch.tensor([[first, 0.0], [3 * first, -2 * second]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(gate(x), expected)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_reach_of_the_spatial_gate(spatial_dims: int) -> None:
    gate = SpatialGate(spatial_dims)
    gate.conv.conv.weight.data.fill_(1.0)
    x = torch.full((1, 1, *(11,) * spatial_dims), 1e-3)
    moved = x.clone()
    moved[(0, 0, *(5,) * spatial_dims)] = 0.0
    changed = (gate(moved) / x != gate(x) / x).nonzero()[:, 2:]
    assert changed.min() == 2 and changed.max() == 8 and len(changed) == 7**spatial_dims


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_zeroed_gate_halves(spatial_dims: int) -> None:
    x = torch.randn(2, 5, *(4, 3, 6)[:spatial_dims])
    for gate in (ChannelGate(5), SpatialGate(spatial_dims)):
        for parameter in gate.parameters():
            parameter.data.zero_()
        assert torch.equal(gate(x), x / 2)


def zeroed(transformer: GridTransformer) -> GridTransformer:
    for block in transformer.blocks:
        for layer in (block.attn.out_proj, block.mlp.linear2):
            layer.weight.data.zero_()
            layer.bias.data.zero_()
    return transformer


def test_transformer_against_its_formula() -> None:
    """One block in float64, written out."""
    torch.manual_seed(0)
    network = GridTransformer(2, 6, heads=2, mlp_ratio=1.5, position_grid=(2, 3)).double()
    x = torch.randn(2, 6, 2, 3, dtype=torch.float64)
    tokens = (x + network.positions).flatten(2).transpose(1, 2)
    block = network.blocks[0]
    normed = functional.layer_norm(tokens, (6,), block.norm1.weight, block.norm1.bias)
    query, key, value = (normed @ block.attn.qkv.weight.T).split(6, dim=2)
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = torch.softmax(query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(3), dim=2)
        heads.append(weights @ value[..., part])
    tokens = tokens + functional.linear(torch.cat(heads, 2), block.attn.out_proj.weight, block.attn.out_proj.bias)
    normed = functional.layer_norm(tokens, (6,), block.norm2.weight, block.norm2.bias)
    hidden = functional.gelu(functional.linear(normed, block.mlp.linear1.weight, block.mlp.linear1.bias))
    assert hidden.shape[2] == 9
    tokens = tokens + functional.linear(hidden, block.mlp.linear2.weight, block.mlp.linear2.bias)
    torch.testing.assert_close(network(x), tokens.transpose(1, 2).reshape(x.shape))


def test_fused_attention_is_the_plain_one() -> None:
    torch.manual_seed(0)
    fused, plain = GridTransformer(3, 8, heads=4), GridTransformer(3, 8, heads=4, dropout=0.5).eval()
    plain.load_state_dict(fused.state_dict())
    x = torch.randn(1, 8, 3, 2, 4)
    torch.testing.assert_close(fused(x), plain(x))
    assert not torch.equal(plain.train()(x), plain(x))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_positions_on_their_grid_and_on_others(spatial_dims: int) -> None:
    grid, other = (4, 3, 2)[:spatial_dims], (8, 5, 3)[:spatial_dims]
    network = zeroed(GridTransformer(spatial_dims, 4, heads=2, position_grid=grid))
    mode = "bilinear" if spatial_dims == 2 else "trilinear"
    assert torch.equal(network(torch.zeros(1, 4, *grid)), network.positions)
    resized = functional.interpolate(network.positions, size=other, mode=mode, align_corners=False)
    torch.testing.assert_close(network(torch.zeros(2, 4, *other)), resized.expand(2, *resized.shape[1:]))
    network.positions.data.fill_(0.7)
    for size in ((1, 1, 1), (9, 2, 7)):
        torch.testing.assert_close(
            network(torch.zeros(1, 4, *size[:spatial_dims])), torch.full((1, 4, *size[:spatial_dims]), 0.7)
        )


def test_only_the_positions_tell_places_apart() -> None:
    torch.manual_seed(0)
    network, x = GridTransformer(2, 8, heads=2, position_grid=4), torch.randn(1, 8, 4, 4)
    assert not torch.allclose(network(x.flip(2)), network(x).flip(2), atol=1e-3)
    network.positions.data.zero_()
    torch.testing.assert_close(network(x.flip(2)), network(x).flip(2))


def test_zeroed_transformer_passes_the_map() -> None:
    network, x = zeroed(GridTransformer(2, 8, heads=2, layers=2)), torch.randn(2, 8, 3, 5)
    network.positions.data.zero_()
    assert torch.equal(network(x), x)


@pytest.mark.parametrize(("norm", "channels", "groups"), [("group", 12, 4), ("GROUP", 7, 1), ("group", 64, 8)])
def test_groups_divide_the_channels(norm: str, channels: int, groups: int) -> None:
    assert fitting_norm(norm, channels) == ("group", {"num_groups": groups})


def test_other_norms_stay() -> None:
    assert fitting_norm(("group", {"num_groups": 6, "eps": 0.1}), 16) == ("group", {"num_groups": 2, "eps": 0.1})
    for norm in ("batch", ("instance", {"affine": True}), None):
        assert fitting_norm(norm, 7) == norm
    with pytest.raises(ValueError, match="at least one group, got 0"):
        fitting_norm(("group", {"num_groups": 0}), 4)


def test_residual_unit_by_hand() -> None:
    unit = PreActivationUnit(2, 1, 1, norm=None, act="relu")
    for number, weight, bias in ((1, 3.0, 1.0), (2, -1.0, 0.5)):
        conv = unit.residual.get_submodule(f"conv{number}.conv")
        conv.weight.data.zero_()
        conv.weight.data[0, 0, 1, 1], conv.bias.data[0] = weight, bias
    # 2 -> 3*2+1 = 7 -> -7+0.5 = -6.5, plus 2; -2 -> relu 0 -> 1 -> -0.5, plus -2
    assert unit(torch.tensor([[[[2.0, -2.0]]]])).flatten().tolist() == [-4.5, -2.5]


def test_residual_unit_without_its_residual_is_the_shortcut() -> None:
    x = torch.randn(2, 6, 5, 4)
    for unit in (PreActivationUnit(2, 6, 6), PreActivationUnit(2, 6, 10, stride=2)):
        unit.residual.get_submodule("conv2.conv").weight.data.zero_()
        assert torch.equal(unit(x), unit.shortcut(x))
    assert torch.equal(PreActivationUnit(2, 6, 6).shortcut(x), x)
    # stride 2 keeps every second position; GroupNorm's gcd(8, 10) is 2 groups
    assert unit(x).shape == (2, 10, 3, 2) and unit.shortcut.adn.N.num_groups == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChannelGate(0), "positive channels and ratio, got 0 and 16"),
        (lambda: ChannelGate(4, ratio=0), "got 4 and 0"),
        (lambda: SpatialGate(2, kernel_size=4), "odd number, got 4"),
        (lambda: GridTransformer(2, 12, heads=8), "12 channels cannot have 8 heads"),
        (lambda: GridTransformer(2, 8, position_grid=(4, 0)), r"got 8, 1, 4.0 and \(4, 0\)"),
        (lambda: GridTransformer(3, 8, layers=0), "must be positive, got 8, 0"),
        (lambda: GridTransformer(2, 8, dropout=1.0), r"\[0, 1\), got 1.0"),
    ],
)
def test_bad_settings(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
