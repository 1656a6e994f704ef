from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.networks import BackboneUNet, EfficientNetLiteUNet
from ckdmed.networks.prior_bias import start_at_prior


@pytest.mark.parametrize(("share", "bias"), [(0.5, 0.0), (0.02, -3.8918202), (0.9, 2.1972246)])
def test_the_bias_is_the_log_of_the_odds(share: float, bias: float) -> None:
    head = nn.Conv2d(4, 3, 1)
    weight = head.weight.detach().clone()
    start_at_prior(head, share)
    assert torch.allclose(head.bias, torch.full((3,), bias), atol=1e-6) and torch.equal(head.weight, weight)
    assert torch.allclose(torch.sigmoid(head.bias), torch.full((3,), share))


def test_refusals() -> None:
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="share must lie in"):
            start_at_prior(nn.Conv2d(4, 1, 1), share)
    with pytest.raises(ValueError, match="without a bias"):
        start_at_prior(nn.Conv2d(4, 1, 1, bias=False))


@pytest.mark.parametrize("network", [EfficientNetLiteUNet, BackboneUNet])
def test_networks_over_a_backbone_begin_with_little_tumour(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    made = network(in_channels=1, out_channels=2).eval()
    assert torch.allclose(torch.sigmoid(made.segmentation_head[0].bias), torch.full((2,), 0.02))
    with torch.no_grad():
        assert torch.sigmoid(made(torch.rand(1, 1, 64, 64))).mean() < 0.2
    # a checkpoint has its own
    state = {name: torch.zeros_like(value) for name, value in made.state_dict().items()}
    made.load_state_dict(state)
    assert not made.segmentation_head[0].bias.any()
