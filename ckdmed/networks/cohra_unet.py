"""COHRA-UNet in the reading of this package: a residual U-Net with channel, spatial and self-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import ADN, Convolution, UpSample
from torch import nn
from torch.nn import functional

from ckdmed.networks.attention_gates import ChannelGate, SpatialGate
from ckdmed.networks.grid_transformer import GridTransformer
from ckdmed.networks.residual_unit import PreActivationUnit, fitting_norm

__all__ = ["CohraUNet", "GATE_PLACES", "SELF_ATTENTION_PLACES", "UPSAMPLINGS"]

#: Where channel and spatial gates may stand.
GATE_PLACES = ("encoder", "skips", "concat", "bottleneck", "decoder")

#: Where self-attention may stand; finer maps have too many positions to be compared pair by pair.
SELF_ATTENTION_PLACES = ("bottleneck", "deepest_skip")

#: Our names of the ways up, as arguments of MONAI's `UpSample`.
UPSAMPLINGS: dict[str, dict[str, Any]] = {
    "transposed": {"mode": "deconv"},
    "interpolate": {"mode": "nontrainable", "interp_mode": "linear", "align_corners": False},
    "nearest": {"mode": "nontrainable", "interp_mode": "nearest", "align_corners": None},
    "pixelshuffle": {"mode": "pixelshuffle"},
}


class _CohraDecoderLevel(nn.Module):
    """Doubles the grid, concatenates the gated encoder map, and applies gates and a residual unit."""

    def __init__(
        self, up: nn.Module, skip_gates: nn.Module, concat_gates: nn.Module, unit: nn.Module, gates: nn.Module
    ) -> None:
        super().__init__()
        self.up = up
        self.skip_gates = skip_gates
        self.concat_gates = concat_gates
        self.unit = unit
        self.gates = gates

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        both = torch.cat([self.skip_gates(skip), self.up(x)], dim=1)
        return self.gates(self.unit(self.concat_gates(both)))


class CohraUNet(nn.Module):
    """Residual U-Net with attention, every design choice an argument ("cohra_style"). Returns raw logits.

    **A reconstruction.** Of COHRA-UNet only an abstract is public: a U-Net configured by a search over activation,
    normalisation, upsampling and loss, with spatial, channel and transformer self-attention. What the abstract leaves
    open is chosen here after the backbone of MTCM-KD, by the same group: pre-activation residual units, strided
    convolutions down, group normalisation, leaky activation, transposed convolutions up, a channel gate on what a
    decoder level concatenates. This project adds the spatial gates on the skips, after CBAM, the transformer block at
    the bottleneck, and every size and rate.

    The encoder's levels are `encoder.e1` (full resolution) to `encoder.eN`, then `bridge` at the coarsest grid and the
    decoder's levels `decoder.dN` to `decoder.d1`, as in `UNet`: these paths tap features. `dK` has the grid and width
    of `eK`. Residual sums are not normalised; the heads normalise first.

    Inputs of any size: edges are repeated at the far ends until every level can be halved and the bottleneck has two
    positions per axis, and the logits are cut to the input's grid.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the logits.
        features: widths of e1..eN and, last, of the bottleneck; at least two. The default is MTCM-KD's.
        act: MONAI activation name, or (name, options).
        norm: MONAI normalisation name, (name, options), or None. "group" has 8 groups, or the number given, reduced to
            the greatest common divisor with the channels.
        upsample: "transposed" convolution, "interpolate" ((bi- or tri-) linear behind a 1x1 convolution), "nearest"
            (likewise), or "pixelshuffle".
        channel_attention: where channel gates stand, any of `GATE_PLACES`: "encoder" (behind every level, on the way
            down too), "skips" (on the encoder's map as the decoder gets it), "concat" (on that map and the upsampled
            one together), "bottleneck", "decoder" (behind every level). A channel gate precedes a spatial one.
        spatial_attention: the same for spatial gates.
        self_attention: where transformer blocks stand, any of `SELF_ATTENTION_PLACES`: "bottleneck" (behind the
            gates) or "deepest_skip" (on the coarsest skip, four or eight times the positions).
        heads: attention heads; must divide the width where self-attention stands.
        transformer_layers: transformer blocks at each such place.
        mlp_ratio: hidden width of their perceptrons in units of their width.
        position_grid: grid on which their positions are learned, see `GridTransformer`; best the grid in training:
            the image's size divided by 2 to the power of len(features) - 1.
        gate_ratio: reduction in the channel gates, see `ChannelGate`.
        dropout: dropout rate of the convolutions in [0, 1).
        attention_dropout: dropout rate of the transformer blocks in [0, 1).
        deep_supervision: number of further heads, on d2, d3 ... With any, a network in training mode returns a list:
            the logits, then those of the further heads at 1/2, 1/4 ... of the resolution, as
            `monai.losses.DeepSupervisionLoss` takes them. In evaluation mode it returns the logits alone.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial), any spatial size; further heads
        (B, out_channels, *ceil(spatial / 2**k)).

    Raises:
        ValueError: `spatial_dims` other than 2 or 3; fewer than two widths; an unknown upsampling or place; a place
            named twice; `dropout` outside [0, 1); more further heads than levels; heads that do not divide the width;
            when called, a tensor with another number of axes.

    Source:
        Abstract of the thesis that the project started from, and Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems
        297:111854) and its code; Woo et al. 2018 (arXiv 1807.06521); Dosovitskiy et al. 2021 (arXiv 2010.11929).

    Example::

        net = CohraUNet(in_channels=4, out_channels=3, norm="instance", upsample="interpolate", self_attention=())
        logits = net(torch.rand(2, 4, 155, 240))
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 4,
        out_channels: int = 3,
        features: Sequence[int] = (32, 64, 128, 256),
        act: str | tuple = "leakyrelu",
        norm: str | tuple | None = "group",
        upsample: str = "transposed",
        channel_attention: Sequence[str] = ("concat",),
        spatial_attention: Sequence[str] = ("skips",),
        self_attention: Sequence[str] = ("bottleneck",),
        heads: int = 8,
        transformer_layers: int = 1,
        mlp_ratio: float = 4.0,
        position_grid: int | tuple[int, ...] = 8,
        gate_ratio: int = 16,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        deep_supervision: int = 0,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        widths = tuple(int(width) for width in features)
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"features must hold at least two positive widths, one per level and one for the bottleneck, got "
                f"{widths}."
            )
        if upsample not in UPSAMPLINGS:
            raise ValueError(f"upsample must be one of {', '.join(UPSAMPLINGS)}, got {upsample!r}.")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}.")
        *levels, bottom = widths
        if not 0 <= deep_supervision < len(levels):
            raise ValueError(
                f"deep_supervision must lie in 0..{len(levels) - 1} for {len(levels)} levels, got {deep_supervision}."
            )
        channel_places = _places("channel_attention", channel_attention, GATE_PLACES)
        spatial_places = _places("spatial_attention", spatial_attention, GATE_PLACES)
        self_places = _places("self_attention", self_attention, SELF_ATTENTION_PLACES)
        self.spatial_dims = spatial_dims
        self.divisor = 2 ** len(levels)

        def gates(place: str, width: int, *more: nn.Module) -> nn.Sequential:
            made: list[nn.Module] = [ChannelGate(width, gate_ratio)] if place in channel_places else []
            made += [SpatialGate(spatial_dims)] if place in spatial_places else []
            return nn.Sequential(*made, *more)

        def unit(before: int, width: int, stride: int) -> PreActivationUnit:
            return PreActivationUnit(spatial_dims, before, width, stride, norm, act, dropout)

        def transformer(place: str, width: int) -> list[nn.Module]:
            if place not in self_places:
                return []
            args = (heads, transformer_layers, mlp_ratio, position_grid, attention_dropout)
            return [GridTransformer(spatial_dims, width, *args)]

        def head(width: int) -> nn.Sequential:
            return nn.Sequential(
                ADN("NA", width, act, fitting_norm(norm, width), spatial_dims),
                Convolution(spatial_dims, width, out_channels, kernel_size=1, conv_only=True),
            )

        bias = norm is None
        self.stem = Convolution(spatial_dims, in_channels, levels[0], kernel_size=3, bias=bias, conv_only=True)
        self.encoder = nn.ModuleDict()
        for level, width in enumerate(levels, start=1):
            before, stride = (levels[0], 1) if level == 1 else (levels[level - 2], 2)
            self.encoder[f"e{level}"] = nn.Sequential(unit(before, width, stride), gates("encoder", width))
        self.bridge = nn.Sequential(
            unit(levels[-1], bottom, 2), gates("bottleneck", bottom, *transformer("bottleneck", bottom))
        )
        self.decoder = nn.ModuleDict()
        for level in range(len(levels), 0, -1):
            below, width = widths[level], widths[level - 1]
            up = UpSample(spatial_dims, below, width, scale_factor=2, bias=bias, **UPSAMPLINGS[upsample])
            deepest = transformer("deepest_skip", width) if level == len(levels) else []
            self.decoder[f"d{level}"] = _CohraDecoderLevel(
                up,
                gates("skips", width, *deepest),
                gates("concat", 2 * width),
                unit(2 * width, width, 1),
                gates("decoder", width),
            )
        self.head = head(levels[0])
        self.further_heads = nn.ModuleDict({f"d{k}": head(levels[k - 1]) for k in range(2, deep_supervision + 2)})
        self.deep_supervision = int(deep_supervision)

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """Repeat the edges at the far ends until every size is a multiple of `divisor`, and at least twice it."""
        pads: list[int] = []
        for size in x.shape[2:]:
            wanted = max(-(-size // self.divisor), 2) * self.divisor
            # functional.pad counts from the last axis
            pads = [0, wanted - size] + pads
        return functional.pad(x, pads, mode="replicate") if sum(pads) > 0 else x

    def crop(self, logits: torch.Tensor, size: list[int], step: int) -> torch.Tensor:
        """Cut logits on a grid `step` times coarser than the input's to what covers an input of `size`."""
        for axis, length in enumerate(size):
            logits = logits.narrow(axis + 2, 0, -(-length // step))
        return logits

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the bottleneck's map and the encoder's maps from fine to coarse, of a padded input."""
        skips: list[torch.Tensor] = []
        x = self.stem(x)
        for level in self.encoder.values():
            x = level(x)
            skips.append(x)
        return self.bridge(x), skips

    def decode(self, x: torch.Tensor, skips: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the decoder's maps from fine to coarse."""
        maps: list[torch.Tensor] = []
        position = len(skips)
        for level in self.decoder.values():
            position -= 1
            x = level(x, skips[position])
            maps.insert(0, x)
        return maps

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        if x.dim() != self.spatial_dims + 2:
            raise ValueError(
                "CohraUNet expects (batch, channels, {} spatial axes), got a tensor of shape {}.".format(
                    self.spatial_dims, list(x.shape)
                )
            )
        size = list(x.shape[2:])
        bridge, skips = self.encode(self.pad(x))
        maps = self.decode(bridge, skips)
        logits = self.crop(self.head(maps[0]), size, 1)
        if not self.training or self.deep_supervision == 0:
            return logits
        outputs = [logits]
        step = 1
        for head in self.further_heads.values():
            step *= 2
            outputs.append(self.crop(head(maps[len(outputs)]), size, step))
        return outputs


def _places(what: str, given: Sequence[str] | str, known: tuple[str, ...]) -> tuple[str, ...]:
    places = (given,) if isinstance(given, str) else tuple(given)
    unknown = [place for place in places if place not in known]
    if unknown or len(set(places)) != len(places):
        raise ValueError(f"{what} must name different places among {', '.join(known)}, got {list(places)}.")
    return places
