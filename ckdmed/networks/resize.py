"""Resize a batch of images to the size a network wants."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["resize_images"]


def resize_images(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Resize by (bi- or tri-) linear interpolation; the same size returns the input itself.

    In two dimensions shrinking is antialiased. PyTorch has no antialiased trilinear interpolation, so a volume that is
    shrunk by more than half should be smoothed or resampled before.

    Args:
        x: (B, C, *spatial), two or three spatial axes.
        size: the wanted spatial size.

    Shape: (B, C, *size).
    """
    if x.shape[2:] == torch.Size(size):
        return x
    # PyTorch has no antialiased interpolation in half precision on the CPU
    small = x.device.type == "cpu" and (x.dtype == torch.bfloat16 or x.dtype == torch.float16)
    image = x.float() if small else x
    if x.dim() == 4:
        image = functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
    else:
        image = functional.interpolate(image, size=size, mode="trilinear", align_corners=False)
    return image.to(x.dtype) if small else image
