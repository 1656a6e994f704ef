"""Soft targets: the Kullback-Leibler divergence between temperature-softened predictions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import (
    LINKS,
    PairLoss,
    check_logits,
    check_mask_grid,
    check_same_shape,
    check_temperature,
    choose,
    reduce_values,
    resolve_link,
)

__all__ = ["KDLoss", "soft_target_divergence"]

DEFAULT_TEMPERATURE = {"softmax": 4.0, "sigmoid": 2.0}


def standardize_logits(logits: torch.Tensor) -> torch.Tensor:
    """Subtract the mean over the class axis and divide by the (unbiased) standard deviation over it.

    That counts as at least 0.001, which bounds the gradient of logits that are next to equal.
    """
    if logits.shape[1] < 2:
        raise ValueError("standardize=True needs two or more channels: one value has no standard deviation.")
    deviation = (logits.std(dim=1, keepdim=True) + 1e-7).clamp_min(1e-3)
    return (logits - logits.mean(dim=1, keepdim=True)) / deviation


def soft_target_divergence(student: torch.Tensor, teacher: torch.Tensor, link: str, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher || student) without reduction, differentiable in both.

    Returns [B, 1, *S] for the softmax link (summed over classes) and [B, C, *S] for the sigmoid link.
    """
    temperature = check_temperature(temperature)
    link = resolve_link(link, student.shape[1])
    check_same_shape(student, teacher)
    s, t = student / temperature, teacher / temperature
    if link == "softmax":
        log_s, log_t = F.log_softmax(s, dim=1), F.log_softmax(t, dim=1)
        divergence = (log_t.exp() * (log_t - log_s)).sum(dim=1, keepdim=True)
    else:
        # sigmoid(-t) rather than 1 - sigmoid(t): exact where the teacher is sure
        divergence = torch.sigmoid(t) * (F.logsigmoid(t) - F.logsigmoid(s))
        divergence = divergence + torch.sigmoid(-t) * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return divergence * temperature**2


class KDLoss(PairLoss):
    """Divergence of the student's softened predictions from the teacher's; zero when they are equal.

    Softmax link: T^2 * mean over B, *S of sum_c p_t (log p_t - log p_s), p = softmax(z / T) over axis 1 (two logit
    vectors that differ by a constant are equal). Sigmoid link: the same for each channel as an independent binary
    variable, averaged over channels too. The sum over classes and the mean over positions make the value independent
    of image and batch size; with T^2 the gradients keep their size as T grows (limit for the sigmoid link:
    (z_s - z_t)^2 / 8).

    Args:
        link: "softmax" for exclusive classes (C >= 2), "sigmoid" for a binary mask or overlapping regions, "auto" only
            for C = 1 (sigmoid).
        temperature: T > 0. None means 4 for softmax (the common choice) and 2 for sigmoid: on masks a higher T hands
            the loss to easy background.
        standardize: standardise both logits over the class axis first (softmax only): only their pattern counts.
        balance: None, or "fg_bg": half the mean over the teacher's foreground and half that over its background, for
            each channel. Foreground is teacher probability > 0.5 (sigmoid) or a most likely class other than 0
            (softmax). A channel in which one of them is absent uses its plain mean. Only with reduction "mean".
        channel: "mean" or "sum" over independent channels (sigmoid link).
        reduction: "mean", "sum", or "none".
        teacher_grad: let gradients reach the teacher (mutual learning).
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student, teacher: raw logits, both [B, C] or [B, C, *S]; mask [B, 1, *S]. Returns a scalar; with reduction
        "none" [B, *S] for softmax, [B, C, *S] for sigmoid ([B, *S] with channel "sum").

    Raises:
        ValueError: temperature <= 0; unequal shapes; softmax of one channel; "auto" with two or more channels;
            standardize with the sigmoid link or one channel; balance with a reduction other than "mean".

    Source:
        Hinton, Vinyals, Dean 2015 (arXiv 1503.02531); standardisation: Sun et al., CVPR 2024. The binary form subtracts
        the teacher's entropy from the cross entropy, which changes the value (0 at equality), not the gradient.

    Examples:
        >>> loss = KDLoss(link="sigmoid", temperature=2.0)
        >>> value = loss(student_logits, teacher_logits)
    """

    def __init__(
        self,
        link: str = "auto",
        temperature: float | None = None,
        standardize: bool = False,
        balance: str | None = None,
        channel: str = "mean",
        reduction: str = "mean",
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.link = choose("link", link, LINKS)
        self.temperature = None if temperature is None else check_temperature(temperature)
        if standardize and link == "sigmoid":
            raise ValueError("standardize=True works over exclusive classes; it has no meaning with link='sigmoid'.")
        self.standardize = standardize
        if balance not in (None, "fg_bg"):
            raise ValueError(f"balance is {balance!r}; it must be None or 'fg_bg'.")
        self.channel = choose("channel", channel, ("mean", "sum"))
        self.reduction = choose("reduction", reduction, ("mean", "sum", "none"))
        if balance is not None and reduction != "mean":
            raise ValueError(f"balance={balance!r} is a way of averaging; reduction must be 'mean', not {reduction!r}.")
        self.balance = balance

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        check_mask_grid(mask, student)
        link = resolve_link(self.link, student.shape[1])
        check_logits("student", student)
        check_logits("teacher", teacher)
        temperature = DEFAULT_TEMPERATURE[link] if self.temperature is None else self.temperature
        predictions = teacher
        if self.standardize:
            student, teacher = standardize_logits(student), standardize_logits(teacher)
        values = soft_target_divergence(student, teacher, link, temperature)
        if self.balance is not None:
            foreground = predictions > 0 if link == "sigmoid" else predictions.argmax(dim=1, keepdim=True) > 0
            per_channel = balanced_means(values, foreground, mask)
            return per_channel.sum() if self.channel == "sum" else per_channel.mean()
        if link == "sigmoid" and self.channel == "sum":
            values = values.sum(dim=1, keepdim=True)
        reduced = reduce_values(values, mask, self.reduction)
        if self.reduction == "none" and (link == "softmax" or self.channel == "sum"):
            reduced = reduced.squeeze(1)
        return reduced


def balanced_means(values: torch.Tensor, foreground: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Per channel, the mean of the foreground mean and the background mean; the plain mean where one is absent."""
    dims = [d for d in range(values.ndim) if d != 1]
    everywhere = torch.ones_like(values) if mask is None else mask.expand_as(values)
    fg = everywhere * foreground
    bg = everywhere - fg
    sums = [(values * w).sum(dim=dims) for w in (fg, bg)]
    counts = [w.sum(dim=dims) for w in (fg, bg)]
    halves = [total / count.clamp_min(1e-12) for total, count in zip(sums, counts)]
    plain_mean = (sums[0] + sums[1]) / (counts[0] + counts[1]).clamp_min(1)
    both = (counts[0] > 0) & (counts[1] > 0)
    return torch.where(both, 0.5 * (halves[0] + halves[1]), plain_mean)
