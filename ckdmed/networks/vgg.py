"""VGG with torchvision's state-dict names, so that a VGG19-BN checkpoint file loads as it is."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import nn

from ckdmed.networks.checkpoint import WeightReport, fill_network, read_state_dict
from ckdmed.networks.published_weights import weights_file

__all__ = ["VGG", "load_vgg_weights", "vgg19", "vgg19_bn", "vgg_tiny"]

#: Widths of the convolutions of each stage; a max pooling closes a stage.
VGG19_STAGES = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
TINY_STAGES = ((8,), (16,), (32,))


class VGG(nn.Module):
    """VGG: stages of 3x3 convolutions, each stage closed by a 2x2 max pooling, and a classifier of three linear layers.

    Modules have torchvision's names: `features.<i>` and `classifier.0`, `.3`, `.6`. In VGG19 with batch normalisation
    the last convolution is `features.49`, its activation `features.51`; the poolings are at 6, 13, 26, 39 and 52.
    Without it the last convolution is `features.34`, and the poolings are at 4, 9, 18, 27 and 36. Activations are not
    in place (torchvision's are), so a tapped convolution is not overwritten by the activation behind it.

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        stages: widths of the convolutions of each stage; the default is VGG19.
        batch_norm: batch normalisation after every convolution.
        hidden_size: width of the two hidden linear layers.
        pool_size: grid to which the last map is averaged before the linear layers.
        dropout: dropout rate after either hidden layer, in [0, 1).
        spatial_dims: 2 or 3.

    Shape: (B, in_channels, *spatial) to raw logits (B, num_classes); every spatial size at least 2 ** len(stages).

    Raises:
        ValueError: bad settings; in forward, an image that is too small for the poolings.

    Source: Simonyan and Zisserman 2014 (arXiv 1409.1556), configuration E; initial values as in torchvision.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        stages: Sequence[Sequence[int]] = VGG19_STAGES,
        batch_norm: bool = True,
        hidden_size: int = 4096,
        pool_size: int = 7,
        dropout: float = 0.5,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if not stages or not all(stage and min(stage) > 0 for stage in stages):
            raise ValueError(f"stages must hold at least one stage of positive widths each, got {stages}.")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}.")
        convolution, pooling = Conv[Conv.CONV, spatial_dims], Pool[Pool.MAX, spatial_dims]
        normalisation = Norm[Norm.BATCH, spatial_dims]
        layers: list[nn.Module] = []
        width = in_channels
        for stage in stages:
            for channels in stage:
                layers.append(convolution(width, channels, kernel_size=3, padding=1))
                layers += [normalisation(channels)] if batch_norm else []
                layers.append(nn.ReLU(inplace=False))
                width = channels
            layers.append(pooling(kernel_size=2, stride=2))
        self.min_size = 2 ** len(stages)
        self.feature_size = hidden_size
        self.last_layer = "classifier.6"
        self.features = nn.Sequential(*layers)
        self.avgpool = Pool[Pool.ADAPTIVEAVG, spatial_dims](pool_size)
        self.classifier = nn.Sequential(
            nn.Linear(width * pool_size**spatial_dims, hidden_size),
            nn.ReLU(inplace=False),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(inplace=False),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, num_classes),
        )
        for module in self.modules():
            if isinstance(module, convolution):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the vector (B, hidden_size) before the last linear layer."""
        for size in x.shape[2:]:
            if size < self.min_size:
                raise ValueError(
                    "VGG got an image of spatial size {}: its poolings need at least {} along every axis. "
                    "Resize the images, or take fewer stages.".format(list(x.shape[2:]), self.min_size)
                )
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        for index, layer in enumerate(self.classifier):
            if index < 6:
                x = layer(x)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier[6](self.forward_features(x))


def _scaled(width: float) -> tuple[tuple[tuple[int, ...], ...], int]:
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}.")
    stages = tuple(tuple(max(1, round(channels * width)) for channels in stage) for stage in VGG19_STAGES)
    return stages, max(1, round(4096 * width))


def _vgg19(
    batch_norm: bool, in_channels: int, num_classes: int, width: float, weights: str | None, dropout: float
) -> VGG:
    stages, hidden_size = _scaled(width)
    network = VGG(in_channels, num_classes, stages, batch_norm, hidden_size, dropout=dropout)
    if weights:
        load_vgg_weights(network, weights_file(weights, "vgg19_bn" if batch_norm else "vgg19"))
    return network


def vgg19_bn(
    in_channels: int = 3, num_classes: int = 1000, width: float = 1.0, weights: str | None = None, dropout: float = 0.5
) -> VGG:
    """VGG19 with batch normalisation, 143.7 million parameters at 1000 classes.

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        width: factor on all widths, for machines that cannot bear the full ones.
        weights: checkpoint file, see `load_vgg_weights`; what matched is logged.
        dropout: dropout rate in the classifier, in [0, 1).
    """
    return _vgg19(True, in_channels, num_classes, width, weights, dropout)


def vgg19(
    in_channels: int = 3, num_classes: int = 1000, width: float = 1.0, weights: str | None = None, dropout: float = 0.5
) -> VGG:
    """VGG19 without normalisation; arguments as `vgg19_bn`. From random weights it is much harder to train."""
    return _vgg19(False, in_channels, num_classes, width, weights, dropout)


def vgg_tiny(in_channels: int = 3, num_classes: int = 3, dropout: float = 0.0) -> VGG:
    """A VGG of three stages with 8, 16 and 32 channels, for tests and quick runs without a GPU."""
    return VGG(in_channels, num_classes, TINY_STAGES, hidden_size=64, pool_size=2, dropout=dropout)


def load_vgg_weights(network: VGG, path: str | os.PathLike[str], min_share: float = 0.9) -> WeightReport:
    """Load a checkpoint file with torchvision's VGG names, such as an ImageNet `vgg19_bn` file.

    Other input channels are fitted as in `adapt_input_channels`; a last layer with another number of classes keeps its
    initial value.

    Raises:
        ValueError: an unreadable file, or one that fills less than `min_share` of the network.
    """
    return fill_network(
        network,
        read_state_dict(path),
        path,
        "torchvision",
        input_weight="features.0.weight",
        heads=("classifier.6.weight", "classifier.6.bias"),
        min_share=min_share,
    )
