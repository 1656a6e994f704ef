"""The teacher's decisions as labels for a supervised loss."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from monai.losses import DiceCELoss

from ckdmed.losses.bce_dice import BCEDiceLoss
from ckdmed.losses.conventions import LINKS, PairLoss, check_logits, check_same_shape, choose, resolve_link

__all__ = ["HardPseudoLabelLoss", "pseudo_labels"]


def pseudo_labels(teacher: torch.Tensor, link: str, threshold: float = 0.5) -> torch.Tensor:
    """The teacher's hard decisions in the layout of its logits: sigmoid > threshold, or the one-hot argmax."""
    link = resolve_link(link, teacher.shape[1])
    if link == "sigmoid":
        return (torch.sigmoid(teacher) > threshold).to(teacher.dtype)
    return F.one_hot(teacher.argmax(dim=1), teacher.shape[1]).movedim(-1, 1).to(teacher.dtype)


class HardPseudoLabelLoss(PairLoss):
    """A supervised loss against the teacher's thresholded (or argmax) prediction: the control for soft targets.

    On unlabelled images this is pseudo-labelling. It is zero only when the supervised loss is, which for L(t, t) needs
    a teacher that is entirely sure.

    Args:
        supervised_loss: module called as loss(student_logits, labels) with labels in the layout of the logits (one-hot
            for softmax). None: `BCEDiceLoss` for sigmoid, MONAI's `DiceCELoss` with both weights 0.5 and smoothing
            1e-5 for softmax.
        threshold: probability above which a channel is foreground (sigmoid link), in (0, 1).
        link: "sigmoid", "softmax", or "auto" (one channel only).

    Shape:
        student, teacher: raw logits [B, C, *S] of equal shape. Returns what the supervised loss returns.

    Raises:
        ValueError: threshold outside (0, 1); unequal shapes; a link that does not fit; a mask is given.
    """

    accepts_mask = False

    def __init__(self, supervised_loss: nn.Module | None = None, threshold: float = 0.5, link: str = "auto") -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is {threshold}; it must lie between 0 and 1.")
        self.threshold = threshold
        self.link = choose("link", link, LINKS)
        if supervised_loss is None:
            if link == "softmax":
                supervised_loss = DiceCELoss(
                    softmax=True, lambda_dice=0.5, lambda_ce=0.5, smooth_nr=1e-5, smooth_dr=1e-5
                )
            else:
                supervised_loss = BCEDiceLoss()
        self.supervised_loss = supervised_loss

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        check_logits("teacher", teacher)
        labels: torch.Tensor = pseudo_labels(teacher, self.link, self.threshold)
        value: torch.Tensor = self.supervised_loss(student, labels)
        return value
