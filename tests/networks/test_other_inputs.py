"""Files of ImageNet networks in networks with other input channels and other classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.networks import EfficientNetB0, load_efficientnet_weights, load_vgg_weights, vgg19_bn
from tests.networks import test_efficientnet, test_vgg
from tests.networks.random_states import State, random_state

# name -> network, its loader, the file's weights, torchvision's forward pass, its first layer, and the heads of both
CONVERTERS: dict[str, tuple[Any, ...]] = {
    "vgg19_bn": (
        lambda channels: vgg19_bn(channels, 3, width=1 / 32),
        load_vgg_weights,
        lambda: random_state(test_vgg.torchvision_shapes(scale=32)),
        test_vgg.reference,
        "features.0.weight",
        ("classifier.6", "classifier.6"),
    ),
    "efficientnet_b0": (
        lambda channels: EfficientNetB0(channels, 3),
        load_efficientnet_weights,
        lambda: random_state(test_efficientnet.torchvision_shapes(), gain=1.5),
        test_efficientnet.reference,
        "_conv_stem.weight",
        ("_fc", "classifier.1"),
    ),
}


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", CONVERTERS)
def test_a_grey_image_is_seen_as_before_and_the_head_stays(tmp_path: Path, name: str, channels: int) -> None:
    build: Callable[[int], torch.nn.Module]
    build, load, weights, reference, stem, (own, theirs) = CONVERTERS[name]
    state: State = weights()
    torch.save(state, tmp_path / "weights.pth")
    network = build(channels).eval()
    report = load(network, tmp_path / "weights.pth")
    assert set(report.adapted) == {stem} and report.share == 1.0
    assert set(report.kept) == {f"{own}.weight", f"{own}.bias"}
    state |= {f"{theirs}.{part}": network.state_dict()[f"{own}.{part}"] for part in ("weight", "bias")}
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = reference(state, grey.expand(-1, 3, -1, -1))
        got = network(grey.expand(-1, channels, -1, -1))
    assert expected.std() > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
