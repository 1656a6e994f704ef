from __future__ import annotations

import pytest
import torch
from monai.networks.blocks.squeeze_and_excitation import SEBlock
from torch import nn

from ckdmed.networks import UNET_BLOCKS, DoubleConv, GroupedUNet, PreActivationUnit, segmentation_teacher, unet_block

BLOCKS = {"plain": DoubleConv, "residual": PreActivationUnit, "resnext": SEBlock}
SMALL = (4, 6, 8)


def network(**settings) -> GroupedUNet:
    torch.manual_seed(0)
    return GroupedUNet(**{"spatial_dims": 2, "features": SMALL, **settings})


@pytest.mark.parametrize("block", UNET_BLOCKS)
@pytest.mark.parametrize("size", [(17, 22), (9, 12, 5)])
def test_any_size_gradients_everywhere_and_a_strict_reload(block: str, size: tuple[int, ...]) -> None:
    settings = {"spatial_dims": len(size), "features": (16, 16, 16), "block": block}
    net, image = network(**settings), torch.rand(2, 4, *size)
    logits = net(image)
    assert logits.shape == (2, 3, *size)
    (logits * torch.rand_like(logits)).sum().backward()
    without = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert not without, without
    assert {type(module) for module in net.modules()} & set(BLOCKS.values()) == {BLOCKS[block]}
    again = network(**settings).requires_grad_(False)
    for value in again.parameters():
        value.zero_()
    again.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(again.eval()(image), net.eval()(image))


@pytest.mark.parametrize("first", [4, 8, 6])
def test_the_first_features_of_a_sequence_depend_on_it_alone(first: int) -> None:
    """Of 6 channels for 4 sequences the stem has 8, and the first block brings them to 6."""
    net = network(features=(first, 6, 8))
    image = torch.randn(1, 4, 8, 8)
    maps = net.stem(image)
    width = maps.shape[1] // 4
    assert maps.shape[1] == {4: 4, 8: 8, 6: 8}[first] and net.encoder["e1"](maps).shape[1] == first
    for sequence in range(4):
        other = image.clone()
        other[:, sequence] += torch.randn(1, 8, 8)
        changed = (net.stem(other) != maps).flatten(2).any(dim=2)[0].reshape(4, width).any(dim=1)
        assert changed.tolist() == [number == sequence for number in range(4)]
        # they are joined by the first block
        assert (net.encoder["e1"](net.stem(other)) != net.encoder["e1"](maps)).flatten(2).any(dim=2).all()


def test_published_widths_and_layers() -> None:
    net = segmentation_teacher("grouped_unet", spatial_dims=3, base=16)
    assert isinstance(net, GroupedUNet) and net.divisor == 16
    halvings = [*list(net.encoder.values())[1:], net.bridge]
    assert [net.stem.conv.out_channels, *(level[0].conv.out_channels for level in halvings)] == [16, 32, 64, 128, 256]
    # encoder.e1 to e4, bridge and d4 to d1 have a block of two convolutions without bias, 27 n^2
    blocks = 27 * 2 * (2 * (16**2 + 32**2 + 64**2 + 128**2) + 256**2)
    steps = list(zip((16, 32, 64, 128), (32, 64, 128, 256)))
    halved = doubled = sum(8 * fine * coarse for fine, coarse in steps)
    reduced = sum(2 * fine**2 for fine, _ in steps)
    norms = 2 * (16 + 2 * (2 * (16 + 32 + 64 + 128) + 256))
    head = 27 * 16 * 3 + 3
    wanted = 27 * 16 + blocks + halved + doubled + reduced + norms + head
    assert sum(value.numel() for value in net.parameters()) == wanted
    assert all(module.affine for module in net.modules() if isinstance(module, nn.InstanceNorm3d))
    assert not any(getattr(module, "inplace", False) for module in net.modules())


@pytest.mark.parametrize("block", UNET_BLOCKS)
def test_kaimings_weights(block: str) -> None:
    """Their standard deviation is gain / sqrt(fan in), gain sqrt(2 / (1 + 0.01^2)), of the widest convolution."""
    net = network(features=(16, 64, 64), block=block)
    weight = max((m.weight for m in net.modules() if isinstance(m, nn.Conv2d)), key=torch.Tensor.numel)
    fan_in = weight[0].numel()
    assert weight.std().item() == pytest.approx((2 / (1 + 1e-4) / fan_in) ** 0.5, rel=0.05)
    up = net.decoder["d2"].up.deconv.weight
    assert up.std().item() == pytest.approx((2 / (2 * 4 * 64)) ** 0.5, rel=0.05)


def test_resnext_has_a_quarter_of_the_channels_in_four_groups_and_a_gate_that_sees_the_image() -> None:
    torch.manual_seed(0)
    block = unet_block("resnext", 2, 32, 32)
    assert isinstance(block, SEBlock) and isinstance(block.project, nn.Identity)
    middle = block.conv2.conv
    assert (middle.in_channels, middle.out_channels, middle.groups) == (8, 8, 4)
    assert block.se_layer.fc[0].out_features == 8
    gates: list[torch.Tensor] = []
    block.se_layer.fc.register_forward_hook(lambda *values: gates.append(values[2]))
    image = torch.rand(1, 32, 8, 8)
    with torch.no_grad():
        for other in (image, image * torch.rand(8, 8)):
            block(other)
    # behind an instance normalisation the means, and so the gates, would be the same for every image
    assert (gates[0] - gates[1]).abs().max() > 1e-3


def test_dropout_is_of_the_training_alone() -> None:
    net, image = network(dropout=0.5), torch.rand(1, 4, 16, 16)
    assert not torch.equal(net(image), net(image))
    assert torch.equal(net.eval()(image), net(image))
    plain = network()
    assert torch.equal(plain(image), plain(image))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block": "dense"}, "block of a U-Net must be one of plain, residual, resnext, got 'dense'"),
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"features": (8,)}, r"features must hold at least two positive widths.*got \[8\]"),
        ({"features": (8, 0)}, r"features must hold at least two positive widths.*got \[8, 0\]"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_refusals(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**settings)


@pytest.mark.parametrize("block", UNET_BLOCKS)
def test_every_activation_is_a_relu(block: str) -> None:
    net = network(block=block)
    kinds = {type(module).__name__ for module in net.modules() if "ReLU" in type(module).__name__}
    assert kinds == {"ReLU"}
