"""Regions that exclude each other: a network of a softmax over them and the background, as one of masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["ExclusiveRegions", "exclusive_regions", "log_odds"]

_PREFIX = "network."


def log_odds(logits: torch.Tensor, channels: list[int]) -> torch.Tensor:
    """Of chosen channels of a softmax the log-odds against all others, z_r - log sum over the others of exp z.

    Their sigmoid is the softmax probability exactly.

    Shape: (B, C, *spatial) to (B, len(channels), *spatial).
    """
    found: list[torch.Tensor] = []
    for channel in channels:
        others = torch.cat([logits[:, :channel], logits[:, channel + 1 :]], dim=1)
        found.append(logits[:, channel : channel + 1] - torch.logsumexp(others, dim=1, keepdim=True))
    return torch.cat(found, dim=1)


class ExclusiveRegions(nn.Module):
    """The log-odds of every region out of a network's logits of background and regions.

    See `log_odds`: whatever makes masks of a sigmoid takes this network as any other. Regions above a threshold of 0.5
    exclude each other.

    Its weights are those of the network, by the same names.

    Args:
        network: of 1 + R channels, the background first.

    Shape: (B, C, *spatial) to (B, R, *spatial).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_state_dict_post_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.network(x).float()
        return log_odds(logits, list(range(1, logits.shape[1])))


def exclusive_regions(network: nn.Module, exclusive: bool) -> nn.Module:
    """The network itself, or as :class:`ExclusiveRegions`."""
    return ExclusiveRegions(network) if exclusive else network


def _without_prefix(module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    start = prefix + _PREFIX
    for name in [name for name in state if name.startswith(start)]:
        state[prefix + name[len(start) :]] = state.pop(name)


def _with_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + _PREFIX + name[len(prefix) :]] = state.pop(name)
