"""Masks of regions that exclude each other as indices of classes."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["ExclusiveMasks", "class_indices"]


def class_indices(masks: torch.Tensor) -> torch.Tensor:
    """0 for the background, r + 1 where the mask of region r is; of soft masks the largest of these.

    Args:
        masks: (B, R, *spatial), in [0, 1].

    Shape: (B, 1, *spatial), whole numbers.

    Raises:
        ValueError: masks that overlap.
    """
    if bool((masks.float().sum(dim=1) > 1 + 1e-3).any()):
        raise ValueError(
            "regions overlap in a label, but exclusive regions cannot: give regions that share no values, or set "
            "exclusive to false."
        )
    background = 1 - masks.float().sum(dim=1, keepdim=True)
    return torch.cat([background, masks.float()], dim=1).argmax(dim=1, keepdim=True)


class ExclusiveMasks(nn.Module):
    """A loss of logits and class indices as one of logits and masks, see :func:`class_indices`.

    Args:
        loss: called as ``loss(logits, indices)``.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return self.loss(logits, class_indices(masks))
