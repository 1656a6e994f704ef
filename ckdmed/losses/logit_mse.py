"""Squared distances between logits, or between the probabilities they stand for."""

from __future__ import annotations

import torch

from ckdmed.losses.conventions import (
    LINKS,
    PairLoss,
    check_logits,
    check_mask_grid,
    check_same_shape,
    check_temperature,
    choose,
    probabilities,
    reduce_values,
    resolve_link,
)

__all__ = ["LogitMSELoss", "ProbMSELoss"]


class LogitMSELoss(PairLoss):
    """Mean squared difference of raw logits; zero when they are equal.

    mean (z_s - z_t)^2, times T^2 when `literal_temperature` is given.

    Args:
        literal_temperature: None (default), or T > 0 to multiply by T^2 as the project's report writes it. There T
            never divides the logits, so T^2 is a plain factor (16 at T = 4), no softening: T^2 MSE(z / T) = MSE(z).
        reduction: "mean", "sum" or "none".
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student, teacher: [B, C] or [B, C, *S]; mask [B, 1, *S]. Returns a scalar, or with "none" the inputs' shape.

    Raises:
        ValueError: unequal shapes; literal_temperature <= 0.
    """

    def __init__(
        self,
        literal_temperature: float | None = None,
        reduction: str = "mean",
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.factor = 1.0 if literal_temperature is None else check_temperature(literal_temperature) ** 2
        self.reduction = choose("reduction", reduction, ("mean", "sum", "none"))

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        check_mask_grid(mask, student)
        return self.factor * reduce_values((student - teacher) ** 2, mask, self.reduction)


class ProbMSELoss(PairLoss):
    """Mean squared difference of probabilities; zero when they are equal, in [0, 1].

    mean (p_s - p_t)^2 over batch, channels and positions, p = sigmoid or softmax of the logits.

    Args:
        link: "softmax", "sigmoid", or "auto" (one channel only).
        reduction: "mean", "sum" or "none".
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student, teacher: raw logits [B, C] or [B, C, *S]; mask [B, 1, *S].

    Raises:
        ValueError: unequal shapes; a link that does not fit the channels.
    """

    def __init__(
        self, link: str = "auto", reduction: str = "mean", teacher_grad: bool = False, ignore_index: int | None = None
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.link = choose("link", link, LINKS)
        self.reduction = choose("reduction", reduction, ("mean", "sum", "none"))

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        check_mask_grid(mask, student)
        link = resolve_link(self.link, student.shape[1])
        check_logits("student", student)
        check_logits("teacher", teacher)
        return reduce_values((probabilities(student, link) - probabilities(teacher, link)) ** 2, mask, self.reduction)
