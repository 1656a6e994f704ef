"""Relational distillation: distances and angles between the samples of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import PairLoss

__all__ = ["RelationalLoss"]

_SHORTEST = 1e-3


class RelationalLoss(PairLoss):
    """Differences of the pairwise distances and of the angles between samples; zero for equal relations.

    Of embeddings e_i: distances d_ij = |e_i - e_j| divided by their mean over the pairs with d > 0, and angles
    cos(e_i - e_j, e_k - e_j) of all triples; each compared by the Huber loss (threshold 1) as a mean over all ordered
    pairs or triples. The embedding of a map is its mean over the positions, so channels and grids may differ. The mean
    distance, and the length of a way that an angle is of, count as at least 0.001, which bounds the gradient of samples
    whose embeddings are next to equal.

    Args:
        distance, angle: weights of the two, not negative.
        teacher_grad: let gradients reach the teacher.

    Shape:
        student [B, C, *S] or [B, C], teacher [B, C', *S'] or [B, C']. With B = 1 the loss is 0; angles need three
        samples.

    Raises:
        ValueError: negative weights; batches that differ; a mask is given.

    Source:
        Park et al. 2019 (arXiv 1904.05068), equations 4 to 9, weights 25 and 50; the bound is of this project.
    """

    accepts_mask = False

    def __init__(self, distance: float = 25.0, angle: float = 50.0, teacher_grad: bool = False) -> None:
        super().__init__(teacher_grad=teacher_grad)
        if distance < 0 or angle < 0:
            raise ValueError(f"distance is {distance} and angle {angle}; neither may be negative.")
        self.distance = distance
        self.angle = angle

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        if student.shape[0] != teacher.shape[0]:
            raise ValueError(
                f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}: the batches differ."
            )
        s, t = _embedding(student), _embedding(teacher)
        value = 0.0 * s.sum()
        if self.distance > 0:
            value = value + self.distance * F.smooth_l1_loss(_distances(s), _distances(t))
        if self.angle > 0:
            value = value + self.angle * F.smooth_l1_loss(_angles(s), _angles(t))
        return value


def _embedding(features: torch.Tensor) -> torch.Tensor:
    return features if features.ndim == 2 else features.flatten(2).mean(dim=2)


def _distances(e: torch.Tensor) -> torch.Tensor:
    """[B, B], divided by the mean of those that are above 0."""
    squares = (e[:, None] - e[None, :]).square().sum(dim=2)
    apart = squares > 0
    # the root has no gradient at 0, where a sample is compared with itself
    distances = torch.where(apart, squares.clamp_min(1e-24).sqrt(), torch.zeros_like(squares))
    mean = distances.sum() / apart.sum().clamp_min(1)
    return distances / mean.clamp_min(_SHORTEST)


def _angles(e: torch.Tensor) -> torch.Tensor:
    """[B, B, B]: the cosine between the ways from one sample to two others."""
    ways = F.normalize(e[None, :] - e[:, None], dim=2, eps=_SHORTEST)
    return ways @ ways.transpose(1, 2)
