"""Masks that hold 0 and 1 alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["binary_mask"]


def binary_mask(mask: Any, name: str) -> torch.Tensor:
    """The mask as booleans, on its device.

    Args:
        mask: an array or a tensor.
        name: what an error calls it.

    Raises:
        ValueError: values other than 0 and 1, such as probabilities or labels.
    """
    tensor = mask.detach() if isinstance(mask, torch.Tensor) else torch.from_numpy(np.array(mask))
    # a MetaTensor would carry its affine through every operation that follows
    tensor = tensor.as_subclass(torch.Tensor)
    if tensor.dtype != torch.bool and not bool(((tensor == 0) | (tensor == 1)).all()):
        raise ValueError(
            f"the {name} must hold 0 and 1 only, got values from {tensor.min()} to {tensor.max()}; "
            "threshold probabilities, or take one label at a time, first"
        )
    return tensor.bool()
