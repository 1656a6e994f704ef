"""Pre-activation residual units, and normalisation that fits any width."""

from __future__ import annotations

import math

import torch
from monai.networks.blocks import ADN, Convolution
from monai.networks.layers.factories import split_args as split_layer_args
from torch import nn

__all__ = ["PreActivationUnit", "fitting_norm"]

#: Groups of a group normalisation that is named without a number.
DEFAULT_GROUPS = 8


def fitting_norm(norm: str | tuple | None, channels: int) -> str | tuple | None:
    """The normalisation with a number of groups that divides the channels: gcd(groups, channels).

    Args:
        norm: MONAI normalisation name, (name, options), or None. "group" alone means 8 groups.
        channels: channels of the map to normalise.

    Returns:
        `norm` itself unless it is a group normalisation.

    Examples:
        >>> fitting_norm("group", 12)
        ('group', {'num_groups': 4})
    """
    if norm is None:
        return None
    name, options = split_layer_args(norm)
    if str(name).lower() != "group":
        return norm
    groups = int(options.get("num_groups", DEFAULT_GROUPS))
    if groups < 1:
        raise ValueError(f"a group normalisation needs at least one group, got {groups}.")
    return "group", {**options, "num_groups": math.gcd(groups, channels)}


class PreActivationUnit(nn.Module):
    """Residual unit whose normalisation and activation stand before its convolutions: s(x) + f(x).

    f is twice normalisation, activation, dropout, 3x3(x3) convolution, the first convolution with the stride. s is the
    identity, or, where width or grid change, a 1x1(x1) convolution with the stride and a normalisation. MONAI's
    `ResidualUnit` normalises after its convolutions and its `ResBlock` keeps width and grid.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the result.
        stride: 1, or 2 to halve the grid.
        norm: MONAI normalisation name, (name, options), or None; see `fitting_norm`. Convolutions have a bias only
            without one: every later normalisation would subtract it or add its own.
        act: MONAI activation name, or (name, options).
        dropout: dropout rate in [0, 1).

    Shape: (B, in_channels, *spatial) to (B, out_channels, *ceil(spatial / stride)).

    Source:
        He et al. 2016 (arXiv 1603.05027); the normalised shortcut as in the published code of MTCM-KD.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        norm: str | tuple | None = "group",
        act: str | tuple = "leakyrelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        bias = norm is None
        self.residual = nn.Sequential()
        for number, channels, strides in ((1, in_channels, stride), (2, out_channels, 1)):
            adn = ADN("NAD", channels, act, fitting_norm(norm, channels), spatial_dims, dropout or None, 1)
            conv = Convolution(spatial_dims, channels, out_channels, strides, 3, bias=bias, conv_only=True)
            self.residual.add_module(f"adn{number}", adn)
            self.residual.add_module(f"conv{number}", conv)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = Convolution(
                spatial_dims,
                in_channels,
                out_channels,
                strides=stride,
                kernel_size=1,
                adn_ordering="N",
                act=None,
                norm=fitting_norm(norm, out_channels),
                bias=bias,
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.residual(x)
