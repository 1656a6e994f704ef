"""Hierarchical context loss: feature distance at halving pool sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ckdmed.losses.conventions import PairLoss, check_same_shape
from ckdmed.losses.resizing import pool_to

__all__ = ["HCLoss"]


class HCLoss(PairLoss):
    """Weighted mean of squared distances at full resolution and after pooling; zero when the maps are equal.

    [MSE(F_s, F_t) + sum_l w_l MSE(pool_l F_s, pool_l F_t)] / (1 + sum_l w_l), l over the pool sizes below the map's
    height, w halved each time (1/2, 1/4, 1/8).

    Args:
        sizes: pooling sizes in the order in which the weights halve; those not below the map's first spatial size are
            left out and use up no weight.
        teacher_grad: let gradients reach the teacher.

    Shape:
        student, teacher: [B, C, H, W] or [B, C, D, H, W] of equal shape (fuse and project the student first). In 3-D
        the last axis but one (H) decides which sizes are used.

    Raises:
        ValueError: unequal shapes; other than 2 or 3 spatial axes; a size below 1; a mask is given.

    Source:
        Chen et al. 2021, ReviewKD (arXiv 2104.09044) and its code.
    """

    accepts_mask = False

    def __init__(self, sizes: Sequence[int] = (4, 2, 1), teacher_grad: bool = False) -> None:
        super().__init__(teacher_grad=teacher_grad)
        self.sizes = tuple(sizes)
        if any(size < 1 for size in self.sizes):
            raise ValueError(f"sizes is {sizes!r}; each must be at least 1.")

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        if student.ndim not in (4, 5):
            raise ValueError(f"student has shape {tuple(student.shape)}; [B, C, H, W] or [B, C, D, H, W] is needed.")
        value = (student - teacher).square().mean()
        weight, total = 1.0, 1.0
        for size in self.sizes:
            if size >= student.shape[-2]:
                continue
            weight /= 2
            total += weight
            grid = (size,) * (student.ndim - 2)
            value = value + weight * (pool_to(student, grid) - pool_to(teacher, grid)).square().mean()
        return value / total
