"""The U-Net of the students, and the convolutional half of the segmentation teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, UpSample
from monai.networks.layers.factories import Pool
from monai.networks.layers.factories import split_args as split_layer_args
from torch import nn

__all__ = ["DoubleConv", "UNet", "UpBlock"]

UPSAMPLE_MODES = ("deconv", "bilinear")


class DoubleConv(nn.Sequential):
    """Two 3x3(x3) convolutions, each followed by normalisation, optional dropout and activation; keeps the grid.

    The convolutions have no bias where the normalisation that follows would subtract it again (batch, instance).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of both convolutions' outputs.
        norm: MONAI normalisation name, or (name, options), or None.
        act: MONAI activation name, or (name, options).
        dropout: dropout rate in [0, 1), applied between normalisation and activation.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        norm: str | tuple | None = "batch",
        act: str | tuple = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        centred = norm is not None and str(split_layer_args(norm)[0]).lower() in ("batch", "instance", "syncbatch")
        for number, channels in ((1, in_channels), (2, out_channels)):
            convolution = Convolution(
                spatial_dims,
                channels,
                out_channels,
                kernel_size=3,
                adn_ordering="NDA",
                act=act,
                norm=norm,
                dropout=dropout or None,
                bias=not centred,
            )
            self.add_module(f"conv{number}", convolution)


class UpBlock(nn.Module):
    """Doubles the grid, concatenates the encoder's map of that grid, and applies a DoubleConv.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map.
        out_channels: channels of the result; the coarser map is reduced to `skip_channels` on its way up.
        upsample: "deconv", a transposed convolution with kernel and stride 2, or "bilinear", a 1x1 convolution and
            (bi- or tri-) linear interpolation, which cannot draw a checkerboard.
        norm, act, dropout: as in `DoubleConv`.

    Shape: (B, in_channels, *spatial) and (B, skip_channels, *2 spatial) to (B, out_channels, *2 spatial).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        upsample: str = "deconv",
        norm: str | tuple | None = "batch",
        act: str | tuple = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if upsample not in UPSAMPLE_MODES:
            raise ValueError(f"upsample must be one of {', '.join(UPSAMPLE_MODES)}, got {upsample!r}.")
        self.up = UpSample(
            spatial_dims,
            in_channels,
            skip_channels,
            scale_factor=2,
            mode="deconv" if upsample == "deconv" else "nontrainable",
            interp_mode="linear",
            align_corners=False,
        )
        self.convs = DoubleConv(spatial_dims, 2 * skip_channels, out_channels, norm, act, dropout)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.convs(torch.cat([skip, self.up(x)], dim=1))


class UNet(nn.Module):
    """U-Net that returns raw logits at the resolution of its input.

    The encoder's levels are `encoder.e1` (full resolution) to `encoder.eN`, each followed by 2x2(x2) max pooling; then
    come `bridge`, the decoder's levels `decoder.dN` to `decoder.d1`, and the 1x1 convolution `head`. These paths tap
    features; `dK` has the grid and the width of `eK`. Activations are never in place, so a tapped tensor stays what it
    was when it was tapped.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the logits.
        features: widths of e1..eN and, last, of the bridge; at least two. The default is the student; the teacher's
            U-Net is (64, 128, 256, 512, 1024).
        norm: MONAI normalisation name, (name, options), or None.
        act: MONAI activation name, or (name, options).
        upsample: "deconv" or "bilinear", see `UpBlock`.
        dropout: dropout rate in [0, 1).

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial); every spatial size a multiple of `divisor`, which
        is 2 to the power of len(features) - 1.

    Raises:
        ValueError: bad `spatial_dims`, `features`, `upsample` or `dropout`; in forward, an input of another
            dimensionality, or a spatial size that is not a positive multiple of `divisor`.

    Source: Ronneberger et al. 2015 (arXiv 1505.04597); departs from it in padded convolutions and normalisation.

    Example::

        net = UNet(in_channels=1, out_channels=1)
        logits = net(torch.rand(2, 1, 240, 256))
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        features: Sequence[int] = (32, 64, 128, 256, 512),
        norm: str | tuple | None = "batch",
        act: str | tuple = "relu",
        upsample: str = "deconv",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        widths = tuple(int(width) for width in features)
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"features must hold at least two positive widths, one per level and one for the bridge, got {widths}."
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}.")
        self.spatial_dims = spatial_dims
        self.divisor = 2 ** (len(widths) - 1)
        *levels, bridge = widths

        self.pool = Pool[Pool.MAX, spatial_dims](2)
        self.encoder = nn.ModuleDict()
        for level, (before, width) in enumerate(zip([in_channels, *levels], levels), start=1):
            self.encoder[f"e{level}"] = DoubleConv(spatial_dims, before, width, norm, act, dropout)
        self.bridge = DoubleConv(spatial_dims, levels[-1], bridge, norm, act, dropout)
        self.decoder = nn.ModuleDict()
        for level in range(len(levels), 0, -1):
            below, width = widths[level], widths[level - 1]
            self.decoder[f"d{level}"] = UpBlock(spatial_dims, below, width, width, upsample, norm, act, dropout)
        self.head = Convolution(spatial_dims, levels[0], out_channels, kernel_size=1, conv_only=True)

    def check_size(self, x: torch.Tensor) -> None:
        """Raise ValueError unless `x` has the right dimensionality and sizes that can be halved at every level."""
        if x.dim() != self.spatial_dims + 2:
            raise ValueError(
                "UNet expects (batch, channels, {} spatial axes), got a tensor of shape {}.".format(
                    self.spatial_dims, list(x.shape)
                )
            )
        # A traced graph is fixed to its example's size, which passed through this check when it was run eagerly.
        if torch.jit.is_tracing():
            return
        for size in x.shape[2:]:
            if size < self.divisor or size % self.divisor != 0:
                raise ValueError(
                    "UNet got an input of spatial size {}: every size must be a multiple of {}, because it is halved "
                    "at every level. Resize the images, or pad them with monai.transforms.DivisiblePad(k={}).".format(
                        list(x.shape[2:]), self.divisor, self.divisor
                    )
                )

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the bridge's map and the encoder's maps from fine to coarse."""
        skips: list[torch.Tensor] = []
        for level in self.encoder.values():
            x = level(x)
            skips.append(x)
            x = self.pool(x)
        return self.bridge(x), skips

    def decode(self, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits for a (possibly modified) bridge map and the encoder's maps from fine to coarse."""
        position = len(skips)
        for level in self.decoder.values():
            position -= 1
            x = level(x, skips[position])
        return self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check_size(x)
        bridge, skips = self.encode(x)
        return self.decode(bridge, skips)
