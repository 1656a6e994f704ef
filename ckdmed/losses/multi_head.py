"""A supervised loss over the heads of a network with deep supervision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

__all__ = ["MultiHeadLoss", "checked_head_weights"]


class MultiHeadLoss(nn.Module):
    """The weighted sum of a loss over all heads, sum_i w_i L(z_i, y); of one head's logits the loss itself.

    Heads come as one tensor, (B, heads, C, *spatial), all on the label's grid, as MONAI's DynUNet gives them. Zero
    where the loss is zero for each head.

    Args:
        loss: ``loss(logits, target)``.
        weights: one for each head, the main one first; they should add up to 1.

    Shape: logits (B, C, *spatial) or (B, heads, C, *spatial); target of as many axes as the former.

    Raises:
        ValueError: another number of heads than weights.

    Source: Isensee et al. 2021 (nnU-Net): each head half the weight of the finer one, as `AnySizeDynUNet` has them.
        nnU-Net brings the label to the head's grid; MONAI's network brings the head to the label's.
    """

    def __init__(self, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], weights: Sequence[float]) -> None:
        super().__init__()
        self.loss = loss
        self.weights = [float(weight) for weight in weights]

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if logits.ndim != target.ndim + 1:
            return self.loss(logits, target)
        heads = logits.unbind(1)
        weights = checked_head_weights(self.weights, len(heads))
        return torch.stack([weight * self.loss(head, target) for weight, head in zip(weights, heads)]).sum()


def checked_head_weights(weights: Sequence[float], heads: int) -> Sequence[float]:
    """The weights themselves.

    Raises:
        ValueError: there are more or fewer than heads.
    """
    if len(weights) != heads:
        raise ValueError(
            f"the network gives {heads} heads in training, but names {len(weights)} weights for them: give it an "
            "attribute head_weights, one number for each head, the main one first."
        )
    return weights
