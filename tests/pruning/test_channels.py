from __future__ import annotations

import pytest
import torch

from ckdmed.losses import HardPseudoLabelLoss
from ckdmed.networks import segmentation_student
from ckdmed.networks.padded import AnySizeDynUNet
from ckdmed.networks.segmentation_kinds import PRUNED
from ckdmed.pruning import removed_channels, without_channels
from ckdmed.pruning.channels import _importance

pytest.importorskip("torch_pruning")


def trained(kind: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    network = segmentation_student(kind, base=4, **settings)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight)
    return network.eval()


# a gate multiplies maps of the same channels, so that fewer of them are free
@pytest.mark.parametrize(("kind", "share"), [("unet", 0.35), ("attention_unet", 0.6)])
def test_half_of_the_channels_go_and_the_network_reloads_from_its_settings(kind: str, share: float) -> None:
    network = trained(kind)
    small = without_channels(network, (1, 32, 32), 0.5)
    whole, left = (sum(p.numel() for p in net.parameters()) for net in (network, small))
    # both channels and inputs of a convolution are halved
    assert left < share * whole
    counts = removed_channels(network, small)
    again = segmentation_student(kind, base=4, options={PRUNED: counts})
    again.load_state_dict(small.state_dict(), strict=True)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.eval()(image), small(image)) and small(image).shape == image.shape
    again.train()(image).square().mean().backward()
    assert all(p.grad is not None for p in again.parameters())
    # the whole network is as it was
    assert sum(p.numel() for p in network.parameters()) == whole


def test_the_channels_of_least_gamma_go_and_the_inputs_behind_skips_with_them() -> None:
    network = trained("unet")
    norm = network.encoder["e1"].conv2.adn.N
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 0.0, 0.9, 0.0]))
    small = without_channels(network, (1, 32, 32), 0.5)
    assert torch.allclose(small.encoder["e1"].conv2.adn.N.weight, torch.tensor([1.0, 0.9]))
    # d1 reads the two channels that e1 kept before what comes from below
    first = small.decoder["d1"].convs.conv1.conv
    kept = network.decoder["d1"].convs.conv1.conv.weight[:, [0, 2]]
    assert first.in_channels == 2 + small.decoder["d1"].up.deconv.out_channels
    assert all(any(torch.equal(row[:2], other) for other in kept) for row in first.weight)


def test_with_images_the_channels_go_that_the_masks_do_not_depend_on() -> None:
    network = trained("unet")
    reader, below = network.decoder["d1"].convs.conv1.conv, network.encoder["e2"].conv1.conv
    with torch.no_grad():
        # the largest gamma, whose channels nothing reads
        network.encoder["e1"].conv2.adn.N.weight.copy_(torch.tensor([1.0, 9.0, 0.9, 8.0]))
        for read in (reader, below):
            read.weight[:, [1, 3]] = 0.0
    images = torch.rand(5, 1, 32, 32)
    small = without_channels(network, (1, 32, 32), 0.5, images)
    assert torch.allclose(small.encoder["e1"].conv2.adn.N.weight, torch.tensor([1.0, 0.9]))
    assert torch.allclose(
        without_channels(network, (1, 32, 32), 0.5).encoder["e1"].conv2.adn.N.weight, torch.tensor([9.0, 8.0])
    )
    # no gradient is left, neither here nor in the whole network
    assert all(p.grad is None for net in (small, network) for p in net.parameters())


def test_what_is_left_is_normalised_by_the_images() -> None:
    network, images = trained("unet"), 3 + 2 * torch.rand(20, 1, 32, 32)
    small = without_channels(network, (1, 32, 32), 0.5, images)
    first = small.encoder["e1"].conv1
    with torch.no_grad():
        maps = first.conv(images)
    # batches of 16 and 4 count alike
    expected = torch.stack([maps[:16].mean((0, 2, 3)), maps[16:].mean((0, 2, 3))]).mean(0)
    torch.testing.assert_close(first.adn.N.running_mean, expected)
    assert first.adn.N.momentum == network.encoder["e1"].conv1.adn.N.momentum and not small.training
    assert not any(module.training for module in small.modules())
    again = without_channels(network, (1, 32, 32), 0.5, images)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in small.state_dict().items())


def test_what_adds_to_all_exclusive_classes_alike_changes_nothing() -> None:
    images, sums = torch.rand(20, 1, 32, 32), {}
    for link in ("sigmoid", "softmax"):
        network = trained("unet", out_channels=3)
        last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        _importance(network, images, link)
        assert last.bias is not None and last.bias.grad is not None
        sums[link] = abs(float(last.bias.grad.sum()))
    assert sums["softmax"] < 1e-5 < 1e-3 < sums["sigmoid"]
    # batches count by their images, so that the gradient is that of all of them
    network = trained("unet", out_channels=3)
    logits = network(images)
    parts = [HardPseudoLabelLoss(link="sigmoid")(z, z.detach()) * len(z) / 20 for z in logits.split(16)]
    sum(parts).backward()  # type: ignore[union-attr]
    last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    assert abs(float(last.bias.grad.sum())) == pytest.approx(sums["sigmoid"], rel=1e-3)  # type: ignore[union-attr]


def test_a_unet_plus_plus_without_some_channels_is_pruned_again() -> None:
    whole = segmentation_student("unet_plus_plus", base=4).eval().pruned(4)
    small = without_channels(whole, (1, 32, 32), 0.5)
    again = small.pruned(4)
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image), small(image))
    smaller = without_channels(again, (1, 32, 32), 0.5)
    counts = {**removed_channels(whole, small), **removed_channels(again, smaller)}
    options = {PRUNED: counts, "deep_supervision": False}
    segmentation_student("unet_plus_plus", base=4, options=options).load_state_dict(smaller.state_dict())


def test_a_dynunet_loses_the_heads_of_its_training_first() -> None:
    heads = {"deep_supervision": True, "deep_supr_num": 2}
    network = trained("dynunet", options=heads)
    assert isinstance(network, AnySizeDynUNet)
    plain = network.without_heads()
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain(image), network(image)) and plain.train()(image).shape == image.shape
        assert network.train()(image).shape == (2, 3, 1, 32, 32)
    options = {**heads, "deep_supervision": False}
    segmentation_student("dynunet", base=4, options=options).load_state_dict(plain.state_dict())
    small = without_channels(plain, (1, 32, 32), 0.5)
    again = segmentation_student("dynunet", base=4, options={**options, PRUNED: removed_channels(plain, small)})
    again.load_state_dict(small.state_dict())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1, got 1.5"):
        without_channels(trained("unet"), (1, 32, 32), 1.5)
    with pytest.raises(ValueError, match="Torch-Pruning cannot follow the graph of this AnySizeResidualUNet"):
        without_channels(trained("residual_unet"), (1, 32, 32), 0.5)
    with pytest.raises(ValueError, match="channels of 'encoder.e9': UNet has no such layer"):
        segmentation_student("unet", base=4, options={PRUNED: {"encoder.e9": {"out_channels": 1}}})
