"""Dice overlap with the teacher's probabilities as soft targets."""

from __future__ import annotations

import torch

from ckdmed.losses.conventions import (
    LINKS,
    PairLoss,
    check_logits,
    check_mask_grid,
    check_same_shape,
    choose,
    probabilities,
    resolve_link,
)

__all__ = ["SoftDiceKDLoss"]


class SoftDiceKDLoss(PairLoss):
    """One minus the Dice overlap of student and teacher probabilities; zero exactly when they are equal.

    sum (p - q)^2 / (sum p^2 + sum q^2 + stab) per sample and channel, then the mean. This is
    1 - (2 sum p q + stab) / (sum p^2 + sum q^2 + stab). The denominators are squared on purpose: with sum p + sum q the
    value at p = q is above 0 and not a minimum, so soft targets would be pushed to 0 and 1.

    It complements `KDLoss`, which averages over positions and so gives a small tumour little weight.

    Args:
        link: "softmax", "sigmoid", or "auto" (one channel only).
        stab: added to numerator and denominator, > 0; keeps empty maps at 0 with a finite gradient.
        include_background: False leaves channel 0 out (softmax link only).
        skip_empty: leave samples and channels out of the mean in which the teacher finds nothing (no probability above
            0.5). On slices of volumes most are such, each costs up to 1 for a trace of a prediction, and a student that
            sees little of a region learns to say nothing.
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student, teacher: raw logits [B, C, *S]; mask [B, 1, *S]. Returns a scalar.

    Raises:
        ValueError: unequal shapes; no spatial axes; a link that does not fit the channels; stab <= 0;
            include_background=False with the sigmoid link.

    Source:
        The overlap of Milletari et al. 2016 (V-Net) with a teacher in place of the label.
    """

    def __init__(
        self,
        link: str = "auto",
        stab: float = 1e-5,
        include_background: bool = True,
        teacher_grad: bool = False,
        ignore_index: int | None = None,
        skip_empty: bool = False,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.skip_empty = skip_empty
        self.link = choose("link", link, LINKS)
        if not stab > 0:
            raise ValueError(f"stab is {stab}; it must be above 0.")
        self.stab = stab
        if not include_background and link != "softmax":
            raise ValueError("include_background=False needs link='softmax': independent channels have no background.")
        self.include_background = include_background

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        check_mask_grid(mask, student)
        if student.ndim < 3:
            raise ValueError(f"student has shape {tuple(student.shape)}; this loss needs spatial axes, [B, C, *S].")
        link = resolve_link(self.link, student.shape[1])
        check_logits("student", student)
        check_logits("teacher", teacher)
        p, q = probabilities(student, link).flatten(2), probabilities(teacher, link).flatten(2)
        if not self.include_background:
            p, q = p[:, 1:], q[:, 1:]
        weight = torch.ones_like(p[:, :1]) if mask is None else mask.flatten(2)
        distance = (weight * (p - q) ** 2).sum(dim=2)
        size = (weight * (p**2 + q**2)).sum(dim=2)
        values = distance / (size + self.stab)
        if not self.skip_empty:
            return values.mean()
        found = ((weight > 0) & (q > 0.5)).any(dim=2)
        return (values * found).sum() / found.sum().clamp_min(1)
