"""Class affinity: how the predicted maps of the classes overlap."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import (
    PairLoss,
    check_logits,
    check_mask_grid,
    check_same_shape,
    choose,
    probabilities,
    resolve_link,
)

__all__ = ["ClassAffinityLoss", "class_affinity"]


def class_affinity(maps: torch.Tensor, stab: float = 1e-6) -> torch.Tensor:
    """Cosine between the maps of each pair of classes: [B, C, Nsp] -> [B, C, C]."""
    rows = F.normalize(maps, dim=2, eps=stab)
    return rows @ rows.transpose(1, 2)


class ClassAffinityLoss(PairLoss):
    """One minus the cosine of the two class-by-class affinity matrices; zero when those are equal up to a scale.

    Z = class probabilities as [B, C, Nsp], rows scaled to L2 norm 1; A = Z Z^T; 1 - cos(A_s, A_t), mean over the batch.

    Args:
        link: "softmax" (default) or "sigmoid" (overlapping regions).
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student, teacher: raw logits [B, C, *S], C >= 2; mask [B, 1, *S] multiplies the maps.

    Raises:
        ValueError: one channel (its affinity is the constant 1); unequal shapes; no spatial axes.

    Source:
        The class-affinity module of MSKD and LCOV-Net. The matching code in one of the repositories swaps the arguments
        of its companion loss and gives no gradient; that is not reproduced.
    """

    #: with fewer there is nothing to compare
    fewest_channels = 2

    def __init__(self, link: str = "softmax", teacher_grad: bool = False, ignore_index: int | None = None) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.link = choose("link", link, ("softmax", "sigmoid"))

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        check_mask_grid(mask, student)
        if student.ndim < 3:
            raise ValueError(f"student has shape {tuple(student.shape)}; this loss needs spatial axes, [B, C, *S].")
        if student.shape[1] < self.fewest_channels:
            raise ValueError("with one channel the class affinity is the constant 1 and teaches nothing.")
        link = resolve_link(self.link, student.shape[1])
        check_logits("student", student)
        check_logits("teacher", teacher)
        maps_s, maps_t = (probabilities(x, link).flatten(2) for x in (student, teacher))
        if mask is not None:
            weight = mask.flatten(2)
            maps_s, maps_t = maps_s * weight, maps_t * weight
        flat_s, flat_t = (F.normalize(class_affinity(maps).flatten(1), dim=1) for maps in (maps_s, maps_t))
        # half the squared distance of unit vectors is 1 - cosine without its cancellation; empty masks give 0
        return 0.5 * (flat_s - flat_t).square().sum(dim=1).mean()
