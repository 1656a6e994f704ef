"""Relations instead of values: Pearson correlation between predictions."""

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
    resolve_link,
)

__all__ = ["DISTLoss"]


def pearson(
    x: torch.Tensor, y: torch.Tensor, dim: int, weight: torch.Tensor | None = None, stab: float = 1e-4
) -> torch.Tensor:
    """(Weighted) Pearson correlation along `dim`; 0 where one of the two is constant.

    `stab` bounds each root of the sum of squares from below, and so the gradient of nearly constant predictions.
    """
    w = torch.ones_like(x[:1, :1]) if weight is None else weight
    total = w.expand_as(x).sum(dim=dim, keepdim=True).clamp_min(1e-12)
    x = x - (w * x).sum(dim=dim, keepdim=True) / total
    y = y - (w * y).sum(dim=dim, keepdim=True) / total
    covariance = (w * x * y).sum(dim=dim)
    # the root of each sum apart: their product would underflow for nearly constant probabilities
    size_x = torch.linalg.vector_norm(w.sqrt() * x, dim=dim)
    size_y = torch.linalg.vector_norm(w.sqrt() * y, dim=dim)
    return covariance / (size_x.clamp_min(stab) * size_y.clamp_min(stab) + stab**2)


class DISTLoss(PairLoss):
    """One minus the correlation of student and teacher probabilities, over classes and over samples.

    tau^2 (beta inter + gamma intra). inter: 1 - mean over rows (samples or positions) of the correlation along classes;
    intra: 1 - mean over classes of the correlation along rows. Zero when each is a positive linear function of the
    other; only the relation has to match, which suits a teacher much stronger than the student. Dense logits are
    flattened to [B Nsp, C]. Sigmoid link: intra only, on sigmoid values (inter would mix unrelated channels).

    Args:
        beta, gamma: weights of inter and intra, >= 0.
        temperature: tau > 0.
        link: "softmax", "sigmoid", or "auto" (one channel only).
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student, teacher: raw logits [B, C] or [B, C, *S]; mask [B, 1, *S]. A constant channel counts as correlation 0.
        Two points always correlate with +-1: with [B, C] and B = 2 intra is next to meaningless, and with C = 2 inter
        is 0 or 2 and has no gradient.

    Raises:
        ValueError: temperature <= 0; negative weights; unequal shapes; a link that does not fit; intra over one row.

    Source:
        Huang et al. 2022 (arXiv 2205.10536), eq. 6-9; tau^2 as in torchdistill.
    """

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        temperature: float = 1.0,
        link: str = "auto",
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        if beta < 0 or gamma < 0:
            raise ValueError(f"beta is {beta} and gamma {gamma}; neither may be negative.")
        self.beta = beta
        self.gamma = gamma
        self.temperature = check_temperature(temperature)
        self.link = choose("link", link, LINKS)

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        check_same_shape(student, teacher)
        check_mask_grid(mask, student)
        link = resolve_link(self.link, student.shape[1])
        check_logits("student", student)
        check_logits("teacher", teacher)
        rows_s = _rows(probabilities(student / self.temperature, link))
        rows_t = _rows(probabilities(teacher / self.temperature, link))
        if rows_s.shape[0] < 2 and self.gamma > 0:
            raise ValueError(
                f"student has shape {tuple(student.shape)}: a correlation over samples needs two or more rows. "
                "Use a larger batch or gamma=0."
            )
        weight = None if mask is None else _rows(mask)
        value = rows_s.new_zeros(())
        if link == "softmax" and self.beta > 0:
            inter = pearson(rows_s, rows_t, dim=1)
            if weight is None:
                value = value + self.beta * (1 - inter.mean())
            else:
                w = weight[:, 0]
                value = value + self.beta * ((1 - inter) * w).sum() / w.sum().clamp_min(1)
        if self.gamma > 0:
            intra = 1 - pearson(rows_s, rows_t, dim=0, weight=weight).mean()
            value = value + self.gamma * (intra if weight is None else intra * (weight.sum() > 0))
        return self.temperature**2 * value


def _rows(x: torch.Tensor) -> torch.Tensor:
    """[B, C, *S] -> [B Nsp, C]."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])
