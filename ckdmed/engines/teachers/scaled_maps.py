"""Outputs of a network on another grid than that of its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch.nn import functional as F

from ckdmed.networks.taps import TappedOutput

__all__ = ["ScaledMapsInferer"]

_SHRUNK: Mapping[int, Callable[..., torch.Tensor]] = {4: F.adaptive_avg_pool2d, 5: F.adaptive_avg_pool3d}
_GROWN = {4: "bilinear", 5: "trilinear"}


class ScaledMapsInferer(Inferer):
    """Run another inferer and bring every map that comes out to ``scale`` times its size.

    A map grows by linear interpolation and shrinks by averaging, so that no pixel of it is left out. What has no
    spatial axes, such as logits of classes and tokens, stays.

    Args:
        inferer: runs the network. Default: MONAI's ``SimpleInferer``.
        scale: factor of each spatial axis, above 0.

    Shape:
        (B, C, H, W) to (B, C, round(scale H), round(scale W)), likewise with three axes; of a
        :class:`~ckdmed.networks.TappedOutput` logits, features and projected features each.

    Raises:
        ValueError: a scale that is not above 0.
    """

    def __init__(self, inferer: Inferer | None = None, scale: float = 1.0) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}.")
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.scale = scale

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Infer ``inputs`` with ``network``; further arguments go to the wrapped inferer."""
        output = self.inferer(inputs, network, *args, **kwargs)
        if not isinstance(output, TappedOutput):
            return self._scaled(output)
        parts = (output.features, output.projected)
        features, projected = ({name: self._scaled(value) for name, value in part.items()} for part in parts)
        return output._replace(logits=self._scaled(output.logits), features=features, projected=projected)

    def _scaled(self, value: torch.Tensor) -> torch.Tensor:
        if value.ndim not in _SHRUNK or self.scale == 1:
            return value
        size = [max(round(edge * self.scale), 1) for edge in value.shape[2:]]
        if self.scale < 1:
            return _SHRUNK[value.ndim](value, size)
        return F.interpolate(value, size=size, mode=_GROWN[value.ndim], align_corners=False)
