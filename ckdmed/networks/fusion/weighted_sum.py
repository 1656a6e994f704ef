"""The sum of several maps with weights that the network learns."""

from __future__ import annotations

import torch
from torch import nn

from ckdmed.networks.resize import resize_images

__all__ = ["WEIGHTINGS", "WeightedSum"]

WEIGHTINGS = ("global", "gated")


class WeightedSum(nn.Module):
    """F = sum_k softmax(a)_k F_k of maps that are resized to one grid; equal weights at the start.

    Args:
        maps: how many there are, at least two.
        channels: of each.
        weights: "global" for one number a map, or "gated" for weights of each sample, a linear function of the maps'
            global averages.

    Shape: a list of (B, channels, *S_k) and the grid to (B, channels, *grid).

    Raises:
        ValueError: fewer than two maps; another word for `weights`; in forward, another number of maps.
    """

    def __init__(self, maps: int, channels: int, weights: str = "global") -> None:
        super().__init__()
        if maps < 2:
            raise ValueError(f"a weighted sum needs at least two maps, got {maps}.")
        if weights not in WEIGHTINGS:
            raise ValueError(f"weights must be one of {', '.join(WEIGHTINGS)}, got {weights!r}.")
        self.maps = maps
        self.gated = weights == "gated"
        # a bias beside it would do what the global weights do
        self.logits = nn.Parameter(torch.zeros(maps))
        self.gate = nn.Linear(maps * channels if self.gated else 1, maps, bias=False) if self.gated else nn.Identity()
        if self.gated:
            nn.init.zeros_(self.gate.weight)  # type: ignore[arg-type]

    def scale_weights(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """The weights of each sample's maps, which sum to 1: (B, maps)."""
        logits = self.logits.unsqueeze(0).expand(maps[0].shape[0], -1)
        if self.gated:
            averages = torch.cat([one.flatten(2).mean(dim=2) for one in maps], dim=1)
            logits = logits + self.gate(averages)
        return torch.softmax(logits.float(), dim=1)

    def forward(self, maps: list[torch.Tensor], grid: list[int]) -> torch.Tensor:
        if len(maps) != self.maps:
            raise ValueError("WeightedSum was built for {} maps, got {}.".format(self.maps, len(maps)))
        weights = self.scale_weights(maps)
        parts: list[torch.Tensor] = []
        for index, one in enumerate(maps):
            weight = weights[:, index].to(one.dtype).reshape([-1] + [1] * (one.dim() - 1))
            parts.append(weight * resize_images(one, grid))
        return torch.stack(parts).sum(dim=0)
