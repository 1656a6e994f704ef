"""The learning rate of every training."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

__all__ = ["one_cycle"]


def one_cycle(optimizer: Optimizer, max_lr: float, epochs: int, steps_per_epoch: int) -> OneCycleLR:
    """One cycle over the whole training, stepped after each iteration: up to ``max_lr``, and down to nearly nothing.

    Args:
        optimizer: whose learning rate is set.
        max_lr: the peak.
        epochs, steps_per_epoch: length of the training. The cycle has two steps at least, which PyTorch needs.
    """
    return OneCycleLR(optimizer, max_lr=max_lr, total_steps=max(epochs * steps_per_epoch, 2))
