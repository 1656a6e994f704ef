"""U-Net over any backbone of MONAI's FlexibleUNet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from monai.networks.nets import FlexibleUNet
from monai.networks.nets.efficientnet import EfficientNet
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import nn
from torch.nn import functional as F

from ckdmed.networks.checkpoint import WeightReport, fill_network, read_state_dict
from ckdmed.networks.efficientnet import load_efficientnet_weights
from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE
from ckdmed.networks.padded import cropped, padded
from ckdmed.networks.prior_bias import start_at_prior
from ckdmed.networks.published_weights import weights_file

__all__ = ["BACKBONES", "BackboneUNet", "load_backbone_weights"]

#: MONAI's EfficientNet-B0 to B8 and L2 and ResNet-10 to ResNet-200, with EfficientNet-Lite0 to Lite2.
BACKBONES = tuple(FLEXUNET_BACKBONE.register_dict)
# layers that MONAI's EfficientNet encoder keeps of its classifier and never calls: no gradient would reach them
_UNUSED = ("_conv_head_padding", "_conv_head", "_bn1", "_avg_pooling", "_dropout", "_fc")


class BackboneUNet(FlexibleUNet):
    """MONAI's ``FlexibleUNet``, which returns raw logits: a U-Net's decoder over an encoder made for classification.

    The decoder's stages are `decoder.blocks.0` (a sixteenth of the grid) to `decoder.blocks.4` (the whole). Names of
    weights are MONAI's; layers of the encoder that are never called are left out. The bias of the head starts as
    `start_at_prior` has it.

    Args:
        spatial_dims: 2 or 3; the backbones of EfficientNet-Lite take images alone.
        in_channels, out_channels: of the image and of the logits.
        backbone: one of `BACKBONES`.
        decoder_channels: widths of the decoder's five stages, from coarse to fine.
        weights: checkpoint file for the encoder, see `load_backbone_weights`, or "imagenet", see `weights_file`.
        options: further arguments of ``FlexibleUNet``.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial). Any size: the far ends are padded with 0 to
        multiples of 32, 64 at least.

    Raises:
        ValueError: an unknown backbone; as `load_backbone_weights`.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        backbone: str = "efficientnet-b0",
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        weights: str | None = None,
        **options: Any,
    ) -> None:
        if backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}.")
        super().__init__(
            **{
                "in_channels": in_channels,
                "out_channels": out_channels,
                "backbone": backbone,
                "pretrained": False,
                "decoder_channels": tuple(decoder_channels),
                "spatial_dims": spatial_dims,
                "act": ("relu", {"inplace": False}),
                **options,
            }
        )
        start_at_prior(self.segmentation_head[0])
        self.divisor = 32
        for name in _UNUSED if isinstance(self.encoder, EfficientNet) else ():
            if hasattr(self.encoder, name):
                delattr(self.encoder, name)
        if isinstance(self.encoder, EfficientNet) and backbone not in EFFICIENTNET_LITE:
            # the memory-saving form is an autograd function, which cannot be scripted
            self.encoder.set_swish(memory_efficient=False)
        _mend_shortcuts(self.encoder, spatial_dims)
        if weights:
            load_backbone_weights(self.encoder, weights_file(weights, backbone))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.encoder(padded(x, self.divisor))
        logits: torch.Tensor = self.segmentation_head(self.decoder(features, self.skip_connect))
        return cropped(logits, x)


class ZeroPaddedShortcut(nn.Module):
    """The shortcut of a residual block without weights: every `stride`-th position, new channels 0.

    In place of the function of MONAI's ResNet ("type A"), through which no gradient passes and which TorchScript cannot
    follow.
    """

    def __init__(self, channels: int, stride: int, spatial_dims: int) -> None:
        super().__init__()
        self.channels = channels
        self.pool = Pool[Pool.AVG, spatial_dims](kernel_size=1, stride=stride)
        self.ends = [0, 0] * spatial_dims

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(self.pool(x), self.ends + [0, self.channels - x.shape[1]])


def _mend_shortcuts(encoder: nn.Module, spatial_dims: int) -> None:
    """Make modules of the shortcuts that MONAI's ResNet-18 and -34 have as functions.

    For images they are the convolutions of torchvision's networks, whose weights then fit; for volumes MedicalNet's
    networks, whose weights MONAI takes, have none.
    """
    block: Any
    for block in encoder.modules():
        shortcut = getattr(block, "downsample", None)
        if not isinstance(shortcut, partial):
            continue
        wide, stride = int(shortcut.keywords["planes"]), int(shortcut.keywords["stride"])
        # the function stands in the module's dictionary, as an attribute
        del block.downsample
        if spatial_dims == 3:
            block.downsample = ZeroPaddedShortcut(wide, stride, spatial_dims)
            continue
        narrow = block.conv1.in_channels
        convolution = Conv[Conv.CONV, 2](narrow, wide, kernel_size=1, stride=stride, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        block.downsample = nn.Sequential(convolution, Norm[Norm.BATCH, 2](wide))


def load_backbone_weights(encoder: nn.Module, path: str | os.PathLike[str], min_share: float = 0.9) -> WeightReport:
    """Load a checkpoint file into an encoder of `BackboneUNet`: an EfficientNet's, or one of torchvision's ResNets.

    EfficientNets: see `load_efficientnet_weights`.
    Other input channels are fitted as in `adapt_input_channels`. ResNets for volumes take MONAI's MedicalNet files.

    Raises:
        ValueError: an unreadable file, one of another network, or one that fills less than `min_share`.
    """
    if isinstance(encoder, EfficientNet):
        return load_efficientnet_weights(encoder, path, min_share)
    file = read_state_dict(path)
    # the classifier has no place in an encoder
    tensors = {name: tensor for name, tensor in file.items() if not name.startswith("fc.")}
    return fill_network(encoder, tensors, path, "torchvision", input_weight="conv1.weight", min_share=min_share)
