"""Dice, Jaccard and cross entropy in equal parts."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import PairLoss, check_mask_grid, choose, resolve_link

__all__ = ["CombinationLoss"]


class CombinationLoss(PairLoss):
    """Supervised loss for exclusive classes: (Dice + Jaccard + cross entropy) / 3; zero for a sure, correct prediction.

    p = softmax over all classes, background included, y the one-hot label. Dice loss 1 - (2 sum p y + stab) /
    (sum p + sum y + stab), Jaccard loss 1 - (sum p y + stab) / (sum p + sum y - sum p y + stab), each averaged.

    Args:
        mode: "correct": sums over all positions of each sample and class. "repo": sums over the batch and all spatial
            axes but the last, as in the published code, so that the overlap is taken slice by slice along the last
            axis: slices without a class dominate. Only to compare with published numbers.
        stab: >= 0; 1e-7 as published. A class absent from a sample has an overlap of almost 0 for any false positive.
        ignore_index: label whose positions do not count.

    Shape:
        student: raw logits [B, C, *S], C >= 2; second input: integer labels [B, 1, *S] or [B, *S]; mask [B, 1, *S].

    Raises:
        ValueError: one channel; labels of another shape or outside 0..C-1; negative stab.

    Source:
        Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems 297) and its code.
    """

    def __init__(self, mode: str = "correct", stab: float = 1e-7, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        self.mode = choose("mode", mode, ("correct", "repo"))
        if stab < 0:
            raise ValueError(f"stab is {stab}; it must not be negative.")
        self.stab = stab

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        classes = student.shape[1]
        resolve_link("softmax", classes)
        labels = self._labels(teacher, student)
        if student.ndim < 3 or labels.shape[1:] != student.shape[2:]:
            raise ValueError(
                f"labels have shape {tuple(teacher.shape)}; for logits of shape {tuple(student.shape)} they must be "
                "[B, 1, *S] or [B, *S]."
            )
        check_mask_grid(mask, student)
        weight = torch.ones_like(student[:, :1]) if mask is None else mask
        if self.ignore_index is not None:
            labels = labels.masked_fill(labels == self.ignore_index, 0)
        if not torch.compiler.is_compiling() and bool(((labels < 0) | (labels >= classes)).any()):
            raise ValueError(
                f"labels run from {int(labels.min())} to {int(labels.max())}; with {classes} channels they must lie in "
                f"0..{classes - 1} or equal ignore_index."
            )
        one_hot = F.one_hot(labels, classes).movedim(-1, 1).to(student.dtype) * weight
        p = torch.softmax(student, dim=1) * weight
        dims = list(range(2, student.ndim)) if self.mode == "correct" else [0, *range(2, student.ndim - 1)]
        overlap = (p * torch.sign(one_hot)).sum(dim=dims)
        sizes = p.sum(dim=dims) + one_hot.sum(dim=dims)
        dice = (2 * overlap + self.stab) / (sizes + self.stab)
        jaccard = (overlap + self.stab) / (sizes - overlap + self.stab)
        entropy = -(one_hot * F.log_softmax(student, dim=1)).sum()
        cross_entropy = entropy / (weight.sum().clamp_min(1) if mask is not None else weight.sum())
        return ((1 - dice.mean()) + (1 - jaccard.mean()) + cross_entropy) / 3
