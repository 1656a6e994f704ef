from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.networks import ViTClassifier, build_vit
from ckdmed.networks.taps import Taps
from ckdmed.networks.vit import transformer_taps


def tiny(spatial_dims: int = 2) -> ViTClassifier:
    size, patch = (16, 8) if spatial_dims == 2 else (8, 4)
    return ViTClassifier(1, 3, size, patch, 12, 20, 2, 3, spatial_dims)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_logits_script_reload_and_gradients(spatial_dims: int) -> None:
    torch.manual_seed(0)
    first, second = tiny(spatial_dims), tiny(spatial_dims)
    x = torch.rand(2, 1, *(first.img_size))
    logits = first(x)
    assert isinstance(logits, torch.Tensor) and logits.shape == (2, 3)
    logits.square().mean().backward()
    for name, parameter in first.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x))
    torch.testing.assert_close(torch.jit.script(first)(x), first(x))


def test_logits_are_not_bounded() -> None:
    network = tiny()
    nn.init.constant_(network.vit.classification_head.bias, 40.0)
    assert network(torch.rand(1, 1, 16, 16)).min() > 30


def test_features_are_the_normalised_class_token_which_a_tap_sees_once() -> None:
    network = tiny().eval()
    taps = Taps(network, transformer_taps(network))
    with taps:
        features = network.forward_features(torch.rand(2, 1, 16, 16))
    assert torch.equal(taps.collect()["tokens"][:, 0], features)


def test_head_on_the_features_gives_the_logits() -> None:
    network = tiny()
    x = torch.rand(2, 1, 16, 16)
    features = network.forward_features(x)
    assert features.shape == (2, network.feature_size)
    torch.testing.assert_close(network.get_submodule(network.last_layer)(features), network(x))


def test_published_parameter_count() -> None:
    """86.6 million; MONAI's class token lacks the 768 numbers of its own position embedding."""
    with torch.device("meta"):
        network = ViTClassifier()
    assert sum(p.numel() for p in network.parameters()) == 86_567_656 - 768


def test_layer_norms_have_the_epsilon_of_published_vits() -> None:
    norms = [module for module in tiny().modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 * 2 + 1 and {norm.eps for norm in norms} == {1e-6}


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\[24, 16\], it was built for \[16, 16\]"):
        tiny()(torch.rand(1, 1, 24, 16))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        ViTClassifier(num_classes=0)
    with pytest.raises(ValueError, match="layer_norm_eps must be positive, got 0"):
        build_vit(layer_norm_eps=0)
