from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckdmed.losses import BCEDiceLoss
from ckdmed.networks import CascadedUNet, head_weights, segmentation_teacher, segmentation_teacher_taps
from ckdmed.networks.cascaded_unet import CASCADE_CONTEXTS
from ckdmed.networks.taps import Taps
from ckdmed.recipes import loss_for

SMALL = (4, 6, 8, 10)
SCALES = ("unet_1", "unet_2", "unet_4")


def network(**settings) -> CascadedUNet:
    torch.manual_seed(0)
    return CascadedUNet(**{"spatial_dims": 2, "features": SMALL, "dropout": 0.0, **settings})


def reached(net: nn.Module, value: torch.Tensor) -> list[bool]:
    """Which of the three networks a value's gradient reaches."""
    net.zero_grad(set_to_none=True)
    value.backward(retain_graph=True)
    of = {name: [p.grad for p in net.get_submodule(name).parameters()] for name in SCALES}
    return [any(grad is not None and bool(grad.abs().sum() > 0) for grad in of[name]) for name in SCALES]


CASES = [(context, supervised, (65, 40)) for context in CASCADE_CONTEXTS for supervised in (True, False)]


@pytest.mark.parametrize(("context", "supervised", "size"), [*CASES, ("probabilities", True, (9, 12, 5))])
def test_any_size_gradients_everywhere_and_a_strict_reload(context: str, supervised: bool, size: tuple) -> None:
    settings = {"spatial_dims": len(size), "context": context, "deep_supervision": supervised}
    settings |= {"features": (4, 4, 4, 4)} if len(size) == 3 else {}
    net, image = network(**settings), torch.rand(1, 4, *size)
    logits = net(image)
    assert logits.shape == (1, *((3,) if supervised else ()), 3, *size)
    (logits * torch.rand_like(logits)).sum().backward()
    without = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert not without, without
    again = network(**settings).requires_grad_(False)
    for value in again.parameters():
        value.zero_()
    again.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(again.eval()(image), net.eval()(image)) and net(image).shape == (1, 3, *size)


def test_every_scale_is_supervised_and_trains_itself_and_the_coarser_ones() -> None:
    net, image = network(), torch.rand(2, 4, 64, 64)
    label = (torch.rand(2, 3, 64, 64) > 0.5).float()
    assert head_weights(net) == pytest.approx([4 / 9, 3 / 9, 2 / 9])
    heads = net(image).unbind(1)
    wholes, halves, quarters = (BCEDiceLoss()(head, label) for head in heads)
    assert reached(net, wholes) == [True, True, True]
    assert reached(net, halves) == [False, True, True]
    assert reached(net, quarters) == [False, False, True]
    total = loss_for(net)(torch.stack(heads, dim=1), label)
    torch.testing.assert_close(total, (4 * wholes + 3 * halves + 2 * quarters) / 9)


def test_what_each_scale_sees_and_predicts() -> None:
    """Against the three U-Nets run one after the other."""
    net, image = network(), torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        heads = net(image)[0]
        found: dict[int, torch.Tensor] = {}
        for factor in (4, 2, 1):
            unet = net.get_submodule(f"unet_{factor}")
            bridge, skips = unet.encode(F.avg_pool2d(image, factor) if factor > 1 else image)
            for coarser, logits in found.items():
                # of the same grid
                level = {2: 1, 4: 2}[coarser // factor]
                assert skips[level].shape[2:] == logits.shape[2:]
                skips[level] = torch.cat([skips[level], torch.sigmoid(logits)], dim=1)
            found[factor] = unet.head(unet.decode(bridge, skips))
    for head, factor in zip(heads, (1, 2, 4)):
        assert found[factor].shape[2:] == (64 // factor, 64 // factor)
        repeated = found[factor][0].repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
        torch.testing.assert_close(head, repeated)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(image), found[1])


def test_a_coarse_head_is_compared_with_the_averaged_label() -> None:
    net, image = network(), torch.rand(1, 4, 64, 64)
    label = (torch.rand(1, 3, 64, 64) > 0.5).float()
    head = net(image)[:, 2].detach()
    coarse, share = head[..., ::4, ::4], F.avg_pool2d(label, 4)
    entropy = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(entropy(head, label), entropy(coarse, share))
    p = torch.sigmoid(coarse)
    dice = 1 - 2 * (p * share).sum((2, 3)) / (p + share).sum((2, 3))
    torch.testing.assert_close(BCEDiceLoss(bce_weight=0.0, dice_weight=1.0)(head, label), dice.mean())


def test_features_as_context_are_the_coarser_decoders_last_map() -> None:
    net, image = network(context="features"), torch.rand(1, 4, 64, 64)
    taps = Taps(net, {f"{name}-{node}": f"{name}.{node}" for name in SCALES for node in ("decoder.d1", "decoder.d2")})
    seen: dict[str, torch.Tensor] = {}
    net.unet_2.decoder["d2"].register_forward_hook(lambda module, values, out: seen.update(half=values[1]))
    net.unet_1.decoder["d2"].register_forward_hook(lambda module, values, out: seen.update(whole=values[1]))
    net.unet_1.decoder["d3"].register_forward_hook(lambda module, values, out: seen.update(deep=values[1]))
    with taps, torch.no_grad():
        net(image)
    found = taps.collect()
    quarter, half = found["unet_4-decoder.d1"], found["unet_2-decoder.d1"]
    assert torch.equal(seen["half"][:, -16:], quarter) and torch.equal(seen["deep"][:, -16:], quarter)
    assert torch.equal(seen["whole"][:, -8:], half)
    # without supervision of their own nothing would train the coarser heads
    alone = network(context="features", deep_supervision=False)
    assert head_weights(alone) == [] and not [name for name in alone.state_dict() if name.startswith("unet_4.head")]


def test_published_widths_and_taps() -> None:
    net = segmentation_teacher("cascaded_unet", spatial_dims=3, base=8)
    assert isinstance(net, CascadedUNet) and net.divisor == 32
    for name, first in zip(SCALES, (8, 16, 32)):
        unet = net.get_submodule(name)
        widths = [unet.encoder["e1"].residual.conv1.conv.out_channels]
        widths += [level[0].conv.out_channels for level in (unet.encoder["e2"], unet.encoder["e3"], unet.bridge)]
        assert widths == [first, 2 * first, 4 * first, 8 * first]
    dropouts = {module.p for module in net.modules() if isinstance(module, nn.Dropout)} - {0.0}
    assert dropouts == {0.1}
    assert segmentation_teacher_taps("cascaded_unet") == {
        "d4": "unet_1.bridge",
        "d3": "unet_1.decoder.d3",
        "d2": "unet_1.decoder.d2",
        "d1": "unet_1.decoder.d1",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": "logits"}, "context must be one of probabilities, features, got 'logits'"),
        ({"features": (8, 16, 32)}, r"features must be four widths.*got \(8, 16, 32\)"),
        ({"block": "dense"}, "block of a U-Net must be one of plain, residual, resnext, got 'dense'"),
    ],
)
def test_refusals(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**settings)
