"""Teachers, students and the parts that connect them."""

from __future__ import annotations

from ckdmed.networks.unet import DoubleConv, UNet, UpBlock

__all__ = ["DoubleConv", "UNet", "UpBlock"]
