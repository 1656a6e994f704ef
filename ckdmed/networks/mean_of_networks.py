"""Two networks as one: the mean of their probabilities."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["MeanOfNetworks"]


class MeanOfNetworks(nn.Module):
    """Networks that look at one image; raw logits of the mean of their probabilities, one sigmoid a channel.

    Args:
        networks: of raw logits of one shape.

    Shape: that of each.
    """

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(1, device=x.device)
        for network in self.networks:
            total = total + torch.sigmoid(network(x).float())
        return torch.logit(total / len(self.networks), eps=1e-6)
