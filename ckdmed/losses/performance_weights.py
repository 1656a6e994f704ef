"""Soft targets of several teachers, each weighted by its performance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ckdmed.losses.conventions import PairLoss, check_temperature, choose
from ckdmed.losses.soft_targets import KDLoss

__all__ = ["PCRLoss", "PerformanceWeightedLoss", "TeacherShares", "performance_weights"]

# of the published code
REPO_TEMPERATURE = 20.0


def performance_weights(performances: Sequence[float] | torch.Tensor, total: float = 1.0) -> torch.Tensor:
    """Weights of teachers in proportion to how well they do: w_i = total * d_i / sum_j d_j.

    Where the teachers cannot be ranked (all are 0, or none was measured) their weights are equal. A teacher that was
    not measured (NaN) counts as the mean of the others.

    Args:
        performances: d, larger is better, not negative; [K], or [K, C] for weights of their own in each channel.
        total: what the weights of one channel sum to. Default 1; the source has 0.15.

    Returns:
        Float64 of the same shape.

    Raises:
        ValueError: no performance, a negative or infinite one, other axes, or a total that is not above 0.

    Source: Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems 297) and its code.

    Example::

        performance_weights([0.887, 0.890, 0.837], total=0.15)  # 0.0509, 0.0511, 0.0480
    """
    d = torch.as_tensor(performances, dtype=torch.float64)
    if d.ndim not in (1, 2) or d.numel() == 0:
        raise ValueError(f"performances are [teachers] or [teachers, channels], got shape {tuple(d.shape)}.")
    if bool((d < 0).any()) or bool(torch.isinf(d).any()):
        raise ValueError(f"performances must be numbers of 0 or more, or NaN for not measured, got {d.tolist()}.")
    if not total > 0:
        raise ValueError(f"total is {total}; it must be above 0.")
    missing = torch.isnan(d)
    measured = torch.where(missing, torch.zeros_like(d), d)
    mean = measured.sum(dim=0, keepdim=True) / (~missing).sum(dim=0, keepdim=True).clamp_min(1)
    d = torch.where(missing, mean.expand_as(d), d)
    sums = d.sum(dim=0, keepdim=True)
    equal = torch.full_like(d, 1 / d.shape[0])
    return total * torch.where(sums > 0, d / sums.clamp_min(torch.finfo(d.dtype).tiny), equal)


class TeacherShares(nn.Module):
    """The weight of each teacher; the shares of a channel sum to 1 and start equal.

    Part of the losses that read it and of what a resumed training restores. No gradient ever reaches it.

    Args:
        teachers: K, at least 1.
        channels: 1 for one share of each teacher; C for a share of its own in each of C channels, which suits regions
            that some teachers' modalities do not show.

    Raises:
        ValueError: a count below 1; in :meth:`update`, performances of another shape.
    """

    shares: torch.Tensor

    def __init__(self, teachers: int, channels: int = 1) -> None:
        super().__init__()
        if teachers < 1 or channels < 1:
            raise ValueError(f"at least one teacher and one channel are needed, got {teachers} and {channels}.")
        self.register_buffer("shares", torch.full((teachers, channels), 1 / teachers, dtype=torch.float64))

    @property
    def teachers(self) -> int:
        """K."""
        return int(self.shares.shape[0])

    @property
    def channels(self) -> int:
        """1, or C."""
        return int(self.shares.shape[1])

    def update(self, performances: Sequence[Sequence[float]] | torch.Tensor) -> None:
        """Set the shares by :func:`performance_weights`.

        Args:
            performances: [K, C]; where a teacher has one share, the mean over its measured channels counts.
        """
        d = torch.as_tensor(performances, dtype=torch.float64)
        if d.ndim != 2 or d.shape[0] != self.teachers or self.channels not in (1, d.shape[1]):
            raise ValueError(
                f"performances have shape {tuple(d.shape)}; {self.teachers} teachers with {self.channels} shares each "
                "need [teachers, channels]."
            )
        if self.channels == 1:
            d = d.nanmean(dim=1, keepdim=True)
        self.shares.copy_(performance_weights(d))


class PerformanceWeightedLoss(PairLoss):
    """sum_i w_i L(student, teacher_i) with the shares w of the teachers; zero where L is, that is, when all agree.

    With a share for each channel it is mean_c sum_i w_ic L(student_c, teacher_ic): each channel is compared by itself.
    Of a loss with reduction "sum" it is the sum over the channels, so that equal shares give what one share gives.

    Args:
        shares: w; read anew in each call.
        loss: L, a loss between raw logits.
        link: "sigmoid" or "softmax". Exclusive classes hang together, so "softmax" takes one share a teacher.
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student: raw logits [B, C, *S]; second input: [B, K * C, *S], the K teachers' logits one after another along the
        channels (`torch.cat(logits, dim=1)`); mask [B, 1, *S]. Returns a scalar.

    Raises:
        ValueError: shares by channel with the softmax link, or for another number of channels; a teacher input of
            another shape.

    Source: Ahmad et al. 2024, MTCM-KD; shares by channel are this project's addition.
    """

    def __init__(
        self, shares: TeacherShares, loss: PairLoss, link: str = "sigmoid", ignore_index: int | None = None
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.link = choose("link", link, ("sigmoid", "softmax"))
        if link == "softmax" and shares.channels > 1:
            raise ValueError("exclusive classes (link 'softmax') take one share per teacher, not one per channel.")
        self.shares = shares
        self.loss = loss

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        channels = student.shape[1]
        if teacher.shape != (student.shape[0], self.shares.teachers * channels, *student.shape[2:]):
            raise ValueError(
                f"the teachers' logits have shape {tuple(teacher.shape)}; {self.shares.teachers} teachers of a student "
                f"of shape {tuple(student.shape)} need {self.shares.teachers * channels} channels on the same grid."
            )
        if self.shares.channels not in (1, channels):
            raise ValueError(f"there are {self.shares.channels} shares per teacher, but {channels} channels.")
        weights = self.shares.shares.to(student)
        # a loss that sums over the channels is the sum of its parts, not their mean
        parts = 1 if getattr(self.loss, "reduction", "mean") == "sum" else channels
        total = student.new_zeros(())
        for one, weight in zip(teacher.split(channels, dim=1), weights):
            if len(weight) == 1:
                total = total + weight[0] * self.distance(student, one, mask)
                continue
            for c in range(channels):
                part = slice(c, c + 1)
                total = total + weight[c] / parts * self.distance(student[:, part], one[:, part], mask)
        return total

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """L between the student and one teacher."""
        value: torch.Tensor = self.loss(student, teacher, mask=mask)
        return value


class PCRLoss(PerformanceWeightedLoss):
    """Response distillation from several teachers, each weighted by its performance; zero when all agree.

    "mean": sum_i w_i T^2 mean KL(teacher_i || student) at temperature T, mean over positions (see
    :class:`~ckdmed.losses.KDLoss`). "repo": sum_i w_i T * (sum of KL over classes and positions) / B, as the published
    code has it: for one volume of 128^3 at T 20 that is 104,858 times the other form, so that neither's weight serves
    the other. The shares w sum to 1: the total (0.15 as published) is the weight of the term.

    Args:
        shares: w.
        link: "sigmoid" or "softmax".
        temperature: T > 0. None means 2 (sigmoid) or 4 (softmax), and 20 for "repo".
        mode: "mean" or "repo".
        ignore_index: label in `target` whose positions do not count.

    Shape, Raises: see :class:`PerformanceWeightedLoss`; also ValueError for an unknown mode.

    Source: Ahmad et al. 2024, MTCM-KD, and its code (PCR-KD). The binary form for overlapping regions is this
    project's addition.
    """

    def __init__(
        self,
        shares: TeacherShares,
        link: str = "sigmoid",
        temperature: float | None = None,
        mode: str = "mean",
        ignore_index: int | None = None,
    ) -> None:
        self.mode = choose("mode", mode, ("mean", "repo"))
        literal = mode == "repo"
        degree = REPO_TEMPERATURE if literal and temperature is None else temperature
        super().__init__(
            shares, KDLoss(link, temperature=degree, reduction="sum" if literal else "mean"), link, ignore_index
        )
        self.temperature = None if degree is None else check_temperature(degree)

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        value = super().distance(student, teacher, mask)
        # KDLoss carries T^2, the published form T
        return value / ((self.temperature or 1.0) * student.shape[0]) if self.mode == "repo" else value
