"""Decoupled distillation: the target class and the rest separately."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import (
    PairLoss,
    check_logits,
    check_mask_grid,
    check_same_shape,
    check_temperature,
    reduce_values,
    resolve_link,
)

__all__ = ["DKDLoss", "decoupled_divergences"]


def decoupled_divergences(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """T^2 times the divergences of (target, rest) and of the classes within the rest; both [B, 1, *S].

    Plain soft targets equal the first plus (1 - teacher's target probability) times the second.
    """
    is_target = F.one_hot(labels, student.shape[1]).movedim(-1, 1).bool()
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher / temperature, dim=1)
    lowest = -1e9
    target_s, target_t = (log.masked_fill(~is_target, 0.0).sum(dim=1, keepdim=True) for log in (log_s, log_t))
    rest_s, rest_t = (log.masked_fill(is_target, lowest).logsumexp(dim=1, keepdim=True) for log in (log_s, log_t))
    of_target = target_t.exp() * (target_t - target_s) + rest_t.exp() * (rest_t - rest_s)
    inner_s, inner_t = log_s - rest_s, log_t - rest_t
    # of the target class it would overflow where the teacher is sure, and infinity times 0 is no gradient
    terms = inner_t.masked_fill(is_target, lowest).exp() * (inner_t - inner_s)
    return temperature**2 * of_target, temperature**2 * terms.sum(dim=1, keepdim=True)


class DKDLoss(PairLoss):
    """Soft targets with separate weights for the target class and for the other classes; zero at equal predictions.

    alpha TCKD + beta NCKD. TCKD is T^2 KL of (p_y, 1 - p_y); NCKD is T^2 KL of the softmax over the classes other than
    y. In plain soft targets NCKD is weighted by 1 - p_y of the teacher, so a sure teacher silences it. With two classes
    NCKD is 0.

    Args:
        alpha: weight of TCKD, >= 0.
        beta: weight of NCKD, >= 0; 8 as in the authors' setting. Ramp it up over the first epochs.
        temperature: T > 0.
        teacher_grad: let gradients reach the teacher.
        ignore_index: label whose positions do not count.

    Shape:
        student, teacher: raw logits of exclusive classes, [B, C] or [B, C, *S], C >= 2. `target`: integer labels [B],
        [B, *S] or [B, 1, *S]; required.

    Raises:
        ValueError: temperature <= 0; negative weights; one channel (not defined for the sigmoid link); no target; a
            label outside 0..C-1 that is not ignore_index.

    Source:
        Zhao et al. 2022 (arXiv 2203.08679), eq. 7.
    """

    #: shares of several classes do not do
    reads_class_indices = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        if alpha < 0 or beta < 0:
            raise ValueError(f"alpha is {alpha} and beta {beta}; neither may be negative.")
        self.alpha = alpha
        self.beta = beta
        self.temperature = check_temperature(temperature)

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        check_mask_grid(mask, student)
        resolve_link("softmax", student.shape[1])
        if target is None:
            raise ValueError("this loss separates the target class from the rest: pass target=labels.")
        if target.shape[1:] != student.shape[2:]:
            raise ValueError(f"labels have shape {tuple(target.shape)}, the student {tuple(student.shape)}.")
        check_logits("student", student)
        check_logits("teacher", teacher)
        if self.ignore_index is not None:
            target = target.masked_fill(target == self.ignore_index, 0)
        if not torch.compiler.is_compiling() and bool(((target < 0) | (target >= student.shape[1])).any()):
            raise ValueError(
                f"labels run from {int(target.min())} to {int(target.max())}; with {student.shape[1]} channels they "
                f"must lie in 0..{student.shape[1] - 1} or equal ignore_index."
            )
        of_target, of_rest = decoupled_divergences(student, teacher, target, self.temperature)
        return reduce_values(self.alpha * of_target + self.beta * of_rest, mask, "mean")
