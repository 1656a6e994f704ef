"""Channel-wise distillation: where each channel puts its mass."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import PairLoss, check_same_shape, check_temperature, choose
from ckdmed.losses.resizing import RESIZES, match_grids, resize_to

__all__ = ["ChannelWiseLoss"]


class ChannelWiseLoss(PairLoss):
    """Divergence of each channel's softmax over positions; zero when they differ by a constant per channel at most.

    tau^2 / (B C) * sum over samples and channels of KL(softmax_S(F_t / tau) || softmax_S(F_s / tau)).

    Well defined for one channel (this is what a softmax "over the image" means). It ignores a constant offset of a
    channel and so does not calibrate probabilities: combine it with `KDLoss` or a supervised loss.

    Args:
        temperature: tau > 0. Published: 1 with weight 5 on logits, 4 elsewhere.
        resize: what to resize when grids differ: "student", "teacher", "min", or "none", which raises.
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student, teacher: [B, C, *S] with equal channels. Positions where a mask [B, 1, *S] is 0 are left out of the
        softmax (other values are not weights here); a sample without any position gives 0.

    Raises:
        ValueError: temperature <= 0; unequal shapes (after resizing); no spatial axes.

    Source:
        Shu et al. 2021 (arXiv 2011.13256), eq. 4-5.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        resize: str = "none",
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.temperature = check_temperature(temperature)
        self.resize = choose("resize", resize, RESIZES)

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        if student.ndim < 3:
            raise ValueError(f"student has shape {tuple(student.shape)}; this loss needs spatial axes, [B, C, *S].")
        if self.resize != "none":
            student, teacher = match_grids(student, teacher, self.resize)
        check_same_shape(student, teacher)
        s, t = student.flatten(2) / self.temperature, teacher.flatten(2) / self.temperature
        if mask is not None:
            kept = resize_to(mask, student.shape[2:]).flatten(2) > 0
            # a sample without positions becomes uniform on both sides, which is 0
            lowest = torch.finfo(s.dtype).min / 4
            s, t = s.masked_fill(~kept, lowest), t.masked_fill(~kept, lowest)
        log_s, log_t = F.log_softmax(s, dim=2), F.log_softmax(t, dim=2)
        divergence = (log_t.exp() * (log_t - log_s)).sum(dim=2)
        return self.temperature**2 * divergence.mean()
