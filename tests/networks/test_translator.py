from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.networks.mean_of_networks import MeanOfNetworks
from ckdmed.networks.translator import Translator


@pytest.mark.parametrize("size", [(17, 22), (9, 8, 11)])
def test_an_image_of_any_size_becomes_one_of_its_size(size: tuple[int, ...]) -> None:
    network = Translator(len(size), 2, 3, base=2, blocks=1)
    made = network(torch.rand(2, 2, *size))
    assert made.shape == (2, 3, *size)
    made.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    again = Translator(len(size), 2, 3, base=2, blocks=1)
    again.load_state_dict(network.state_dict(), strict=True)
    with pytest.raises(ValueError, match="base of at least 1"):
        Translator(base=0)


def test_the_mean_of_probabilities_as_a_logit() -> None:
    ones = MeanOfNetworks([nn.Identity(), nn.Identity()])
    logits = torch.tensor([[2.0, -3.0]])
    assert torch.allclose(ones(logits), logits, atol=1e-5)

    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(x)

    both = MeanOfNetworks([nn.Identity(), Constant()])
    # (sigmoid(log 3) + 0.5) / 2 = (0.75 + 0.5) / 2
    assert torch.sigmoid(both(torch.tensor([[3.0]]).log())).item() == pytest.approx(0.625)
    assert torch.allclose(torch.jit.script(both)(logits), both(logits))
