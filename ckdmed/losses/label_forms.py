"""Labels in the layout of the logits that they are compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import plain

__all__ = ["as_probabilities"]


def as_probabilities(target: torch.Tensor, logits: torch.Tensor, link: str) -> torch.Tensor:
    """The label as probabilities of the logits' shape and type.

    Args:
        target: of that shape already (masks; probabilities, as mixup gives them), or of the softmax link class indices
            [B], [B, *S] or [B, 1, *S].
        logits: [B, C] or [B, C, *S].
        link: "softmax" or "sigmoid".

    Raises:
        ValueError: a target that fits no such logits.
    """
    if tuple(target.shape) == tuple(logits.shape):
        return plain(target.detach(), logits.dtype)
    if link == "softmax":
        labels = target[:, 0] if target.ndim == logits.ndim and target.shape[1] == 1 else target
        if tuple(labels.shape) == (logits.shape[0], *logits.shape[2:]):
            return F.one_hot(plain(labels.detach(), torch.long), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    raise ValueError(f"target has shape {tuple(target.shape)}, which fits no logits of shape {tuple(logits.shape)}.")
