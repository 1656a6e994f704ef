"""A two-scale network in the style of DeepMedic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers.factories import Conv, Dropout
from torch import nn
from torch.nn import functional as F

__all__ = ["DeepMedic"]

# layers to whose output the input of the layer before is added
_RESIDUAL = [4, 6, 8]


class _Pathway(nn.Module):
    """Eight valid 3x3(x3) convolutions with batch normalisation and PReLU, residual at layers 4, 6 and 8."""

    def __init__(self, spatial_dims: int, in_channels: int, widths: Sequence[int], residual: bool) -> None:
        super().__init__()
        self.added = list(_RESIDUAL) if residual else [0]
        self.layers = nn.ModuleList(
            Convolution(spatial_dims, before, width, kernel_size=3, padding=0, act="prelu", norm="batch")
            for before, width in zip([in_channels, *widths], widths)
        )
        self.spatial_dims = spatial_dims

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before, last = x, x
        for number, layer in enumerate(self.layers, start=1):
            before, last, x = last, x, layer(x)
            if number in self.added:
                x = x + self._fitted(before, x)
        return x

    def _fitted(self, early: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The middle of an earlier map, with channels of zeros up to the later map's."""
        for axis in range(2, early.dim()):
            cut = (early.shape[axis] - x.shape[axis]) // 2
            early = early.narrow(axis, cut, x.shape[axis])
        return F.pad(early, [0, 0] * self.spatial_dims + [0, x.shape[1] - early.shape[1]])


class DeepMedic(nn.Module):
    """Two pathways of eight valid convolutions, one on the image and one on the image at a third of the resolution.

    Either sees 17 positions an axis of its own grid, the coarse one so 51 of the image. Their maps are concatenated and
    two 1x1 convolutions and the classifier give raw logits. `forward` pads the image with 0, so that logits have its
    size; `segments` is the network on segments, as it is trained in the paper: 25 positions give 9.

    Paths to tap: `fine` and `coarse`, the pathways, and `hidden`, the joined features on the image's grid.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the image and of the logits.
        widths: of the eight layers.
        hidden: of the two 1x1 convolutions.
        residual: add to layers 4, 6 and 8 the input of the layer before.
        dropout: of the second 1x1 convolution and the classifier, in [0, 1).

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial), any size.

    Raises:
        ValueError: other spatial_dims; widths that fall, or of another number than eight; in `segments`, segments that
            do not belong together.

    Source: Kamnitsas et al. 2017 (Medical Image Analysis 36), widths and sizes of the published configuration; L1, L2
        and RMSprop of its training are the trainer's to choose. The coarse image is averaged, not subsampled.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (30, 30, 40, 40, 40, 40, 50, 50),
        hidden: int = 150,
        residual: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if len(widths) != 8 or list(widths) != sorted(widths):
            raise ValueError(f"widths must be eight numbers that do not decrease, got {tuple(widths)}.")
        self.spatial_dims = spatial_dims
        self.fine = _Pathway(spatial_dims, in_channels, widths, residual)
        self.coarse = _Pathway(spatial_dims, in_channels, widths, residual)
        kernel_1: dict[str, Any] = {"kernel_size": 1, "act": "prelu", "norm": "batch"}
        self.hidden = nn.Sequential(
            Convolution(spatial_dims, 2 * widths[-1], hidden, **kernel_1),
            Dropout[Dropout.DROPOUT, spatial_dims](dropout),
            Convolution(spatial_dims, hidden, hidden, **kernel_1),
        )
        self.drop = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        self.classifier = Conv[Conv.CONV, spatial_dims](hidden, out_channels, kernel_size=1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def segments(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Logits of the middle of a segment: 16 positions fewer per axis than `fine` has.

        Args:
            fine: segment of the image, (B, C, *sizes).
            coarse: of the image at a third of the resolution around the same middle; 19 positions for 25 of `fine`.
        """
        near, far = self.fine(fine), self.coarse(coarse)
        for axis in range(2, near.dim()):
            if far.shape[axis] * 3 < near.shape[axis]:
                raise ValueError(
                    "a coarse segment of {} is too small for a fine one of {}.".format(
                        list(coarse.shape[2:]), list(fine.shape[2:])
                    )
                )
            far = far.repeat_interleave(3, dim=axis).narrow(axis, 0, near.shape[axis])
        return self.classifier(self.drop(self.hidden(torch.cat([near, far], dim=1))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        margin = [8, 8] * self.spatial_dims
        # cells of three positions; the last one may be incomplete
        ends = [0, 0] * self.spatial_dims
        for axis in range(self.spatial_dims):
            ends[2 * axis + 1] = (3 - x.shape[-1 - axis] % 3) % 3
        whole = F.pad(x, ends)
        third = F.avg_pool2d(whole, 3) if self.spatial_dims == 2 else F.avg_pool3d(whole, 3)
        return self.segments(F.pad(x, margin), F.pad(third, margin))
