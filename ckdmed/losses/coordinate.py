"""Coordinate distillation: channel activity along each image axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import PairLoss, choose
from ckdmed.losses.resizing import RESIZES, match_grids, resize_to

__all__ = ["CoordinateLoss"]


class CoordinateLoss(PairLoss):
    """Squared distance of normalised profiles along each spatial axis; zero when these are equal up to a scale.

    For each spatial axis: the mean over the other spatial axes (2-D: h[c, i] = mean_w F[c, i, w], w[c, j] = mean_h
    F[c, h, j]), flattened and scaled to L2 norm 1 per sample; the sum over axes of the mean over the batch of the
    summed squared differences. An axis of length 1 has no positions to compare and is left out.

    This is a reconstruction: the paper's equations were not available. The descriptors are those of coordinate
    attention.

    Args:
        channel_free: take the mean of squares over the channels first; channels may then differ, no projection needed.
        resize: what to resize when grids differ: "student", "teacher", "min" or "none", which raises.
        stab: lower bound of the norm, > 0; it bounds the gradient of an all-zero map.
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student, teacher: [B, C, *S], 2 or 3 spatial axes. A mask [B, 1, *S] multiplies both maps.

    Raises:
        ValueError: unequal channels without channel_free; grids that differ without resize; no axis longer than 1;
            stab <= 0.

    Source:
        After Qi et al. 2022; descriptors of Hou et al. 2021 (arXiv 2103.02907), eq. 4-5.
    """

    def __init__(
        self,
        channel_free: bool = False,
        resize: str = "none",
        stab: float = 1e-3,
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        if not stab > 0:
            raise ValueError(f"stab is {stab}; it must be above 0.")
        self.channel_free = channel_free
        self.resize = choose("resize", resize, RESIZES)
        self.stab = stab

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        if student.ndim not in (4, 5):
            raise ValueError(f"student has shape {tuple(student.shape)}; [B, C, H, W] or [B, C, D, H, W] is needed.")
        if self.channel_free:
            student = student.square().mean(dim=1, keepdim=True)
            teacher = teacher.square().mean(dim=1, keepdim=True)
        student, teacher = match_grids(student, teacher, self.resize)
        if student.shape[1] != teacher.shape[1]:
            raise ValueError(
                f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}: the channels differ. "
                "Project the student, or pass channel_free=True."
            )
        if mask is not None:
            weight = resize_to(mask, student.shape[2:])
            student, teacher = student * weight, teacher * weight
        axes = [axis for axis in range(2, student.ndim) if student.shape[axis] > 1]
        if not axes:
            raise ValueError(f"maps of shape {tuple(student.shape)} have no spatial axis longer than 1.")
        value = student.new_zeros(())
        for axis in axes:
            profile_s, profile_t = self._profile(student, axis), self._profile(teacher, axis)
            value = value + (profile_s - profile_t).square().sum(dim=1).mean()
        return value

    def _profile(self, features: torch.Tensor, axis: int) -> torch.Tensor:
        others = [d for d in range(2, features.ndim) if d != axis]
        return F.normalize(features.mean(dim=others).flatten(1), dim=1, eps=self.stab)
