"""Similarity-preserving distillation: which samples of a batch resemble each other."""

from __future__ import annotations

import warnings

import torch

from ckdmed.losses.conventions import PairLoss

__all__ = ["SimilarityLoss"]


class SimilarityLoss(PairLoss):
    """Squared distance of the two networks' sample-by-sample similarity matrices; zero when those are equal.

    G = rows of A A^T scaled to L2 norm 1, A the features as [B, -1]; sum (G_s - G_t)^2 / B^2. Channels, grids and even
    the numbers of axes may differ: no projection, no resizing. A row's norm counts as at least 0.001 |A|, or as 1e-6,
    which bounds the gradient of a sample whose features are next to nothing, as after a ReLU.

    Args:
        teacher_grad: let gradients reach the teacher.

    Shape:
        student [B, ...], teacher [B, ...]; B >= 2. With one sample the value is 0, and a warning says so.

    Raises:
        ValueError: batches that differ; a mask is given.

    Source:
        Tung and Mori 2019 (arXiv 1907.09682), eq. 2-4, without the bound. Published weight 3000.
    """

    accepts_mask = False

    def __init__(self, teacher_grad: bool = False) -> None:
        super().__init__(teacher_grad=teacher_grad)

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        batch = student.shape[0]
        if teacher.shape[0] != batch:
            raise ValueError(
                f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}: the batches differ."
            )
        if batch == 1:
            warnings.warn(
                "SimilarityLoss compares the samples of a batch: with one sample it is always 0. Use a larger batch.",
                stacklevel=3,
            )
        gram_s, gram_t = (_similarities(x.flatten(1)) for x in (student, teacher))
        return (gram_s - gram_t).square().sum() / batch**2


def _similarities(rows: torch.Tensor, eps: float = 1e-3) -> torch.Tensor:
    gram = rows @ rows.T
    # A row of G is a_i A^T: with its norm at least eps |A|, its gradient in a_i is at most 1 / eps, whatever the scale.
    whole = gram.diagonal().sum().clamp_min(eps**2).sqrt()
    return gram / torch.linalg.vector_norm(gram, dim=1, keepdim=True).maximum(eps * whole)
