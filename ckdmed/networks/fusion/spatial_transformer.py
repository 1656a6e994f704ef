"""Alignment of two maps by an affine transform that a small network predicts."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv
from torch import nn
from torch.nn import functional

from ckdmed.networks.resize import resize_images

__all__ = ["SpatialTransformerFusion"]

HIDDEN = 32


class SpatialTransformerFusion(nn.Module):
    """Adds the second map, warped to where the first one has the same things: a + warp(b, theta(a, b)).

    The localisation is two 3x3 convolutions of stride 2 over both maps, a global average, 32 units and the 6 (12)
    numbers of an affine transform. Its last layer starts at zero with the identity as bias, so that a fresh module is
    a plain sum. theta maps positions of the output to positions of the second map, both from -1 to 1 along each axis
    (x first), as `torch.nn.functional.affine_grid` has it; what lies outside is zero.

    Args:
        channels: of both maps.
        spatial_dims: 2 or 3.
        penalty: factor of |theta - identity|^2, averaged over the batch; a trainer adds it to its loss, see
            :func:`ckdmed.losses.with_penalties`.

    Shape: (B, channels, *S) and (B, channels, *S') to (B, channels, *S).

    Raises:
        ValueError: other spatial_dims; a negative penalty.

    Source: after Jaderberg et al. 2015 (arXiv 1506.02025); sizes and penalty are this project's.
    """

    def __init__(self, channels: int, spatial_dims: int = 2, penalty: float = 1e-3) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if penalty < 0:
            raise ValueError(f"penalty must not be negative, got {penalty}.")
        convolution = Conv[Conv.CONV, spatial_dims]
        self.spatial_dims = spatial_dims
        self.penalty = penalty
        self.localisation = nn.Sequential(
            convolution(2 * channels, HIDDEN, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            convolution(HIDDEN, HIDDEN, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.units = nn.Linear(HIDDEN, HIDDEN)
        self.theta = nn.Linear(HIDDEN, spatial_dims * (spatial_dims + 1))
        identity = torch.eye(spatial_dims, spatial_dims + 1).flatten()
        nn.init.zeros_(self.theta.weight)
        with torch.no_grad():
            self.theta.bias.copy_(identity)
        # the hook of a loss reads it there
        self.theta.output_penalty = _IdentityPenalty(spatial_dims, penalty)  # type: ignore[assignment]

    def transform(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The affine matrices (B, spatial_dims, spatial_dims + 1) of two maps on one grid."""
        found = self.localisation(torch.cat([first, second], dim=1)).flatten(2).mean(dim=2)
        theta = self.theta(functional.relu(self.units(found)))
        return theta.reshape(-1, self.spatial_dims, self.spatial_dims + 1)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        second = resize_images(second, list(first.shape[2:]))
        theta = self.transform(first, second)
        # half precision has too few digits for positions
        exact = torch.float64 if second.dtype == torch.float64 else torch.float32
        grid = functional.affine_grid(theta.to(exact), list(second.shape), align_corners=False)
        warped = functional.grid_sample(second.to(exact), grid, align_corners=False)
        return first + warped.to(first.dtype)


class _IdentityPenalty:
    """penalty |theta - identity|^2 per sample, averaged over the batch."""

    def __init__(self, spatial_dims: int, penalty: float) -> None:
        self.spatial_dims = spatial_dims
        self.penalty = penalty

    def __call__(self, theta: torch.Tensor) -> torch.Tensor:
        identity = torch.eye(self.spatial_dims, self.spatial_dims + 1, device=theta.device).flatten()
        return self.penalty * (theta.float() - identity).square().sum(dim=1).mean()
