"""Squared distance of tokens: a student's against those of a transformer."""

from __future__ import annotations

import torch

from ckdmed.losses.conventions import PairLoss, check_same_shape, choose
from ckdmed.losses.feature_mse import NORMALIZATIONS, normalize_features

__all__ = ["TokenMSELoss"]


class TokenMSELoss(PairLoss):
    """Mean squared difference of tokens; zero when they are equal (after normalising).

    mean (t_s - t_t)^2 over batch, tokens and width. Project the student's map first
    (:class:`~ckdmed.networks.projectors.TokenProjector`).

    Args:
        normalize: "none", "channel_l2" or "layernorm", of each token, see :func:`~ckdmed.losses.normalize_features`.
        prefix: class and register tokens in front of the teacher's, which stand for no position and are left out.
        teacher_grad: let gradients reach the teacher.

    Shape:
        student [B, N, width], teacher [B, prefix + N, width].

    Raises:
        ValueError: unequal shapes (behind the prefix); no tokens; an unknown normalisation; a mask is given.
    """

    accepts_mask = False

    def __init__(self, normalize: str = "none", prefix: int = 1, teacher_grad: bool = False) -> None:
        super().__init__(teacher_grad=teacher_grad)
        self.normalize = choose("normalize", normalize, NORMALIZATIONS)
        self.prefix = prefix

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        if student.ndim != 3 or teacher.ndim != 3:
            raise ValueError(
                f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}; "
                "tokens are [B, N, width]."
            )
        teacher = teacher[:, self.prefix :]
        check_same_shape(student, teacher, "Project the student to the teacher's tokens.")
        student, teacher = (normalize_features(x, self.normalize, channel_dim=-1) for x in (student, teacher))
        return (student - teacher).square().mean()
