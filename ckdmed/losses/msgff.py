"""Multi-scale feature matching (the reports' MSGFF)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn

from ckdmed.losses.conventions import PairLoss, check_same_shape, choose, reduce_values
from ckdmed.losses.feature_mse import NORMALIZATIONS, normalize_features
from ckdmed.losses.resizing import match_grids, pool_to, resize_to

__all__ = ["MSGFFLoss"]


class MSGFFLoss(PairLoss):
    """Squared distance of two feature maps averaged over several pooling sizes; zero when the maps are equal.

    sum_k w_k mean (pool_k(F_s) - pool_k(F_t))^2, pool_k the adaptive average pooling to k x k (k x k x k). The inputs
    have equal channels already: project the student to the teacher, never a trained projection on the teacher's side
    (features and projection would both shrink to 0). For several decoder levels sum it over them, e.g. by
    `LossTerm(layers=...)`.

    Args:
        scales: pooling sizes >= 1, each at most once; None is the native resolution (the smaller grid of the two, along
            each axis). Coarse scales compare what is there, the native one where it is.
        weights: "uniform" (1 / number of scales), or "learned": a softmax over one parameter per scale. Learned weights
            on a loss drift to the easiest scale; `uniform_share` bounds that.
        uniform_share: part of each learned weight that stays uniform, in (0, 1]: no weight falls below
            uniform_share / number of scales.
        normalize: as in `FeatureMSELoss`, applied before pooling.
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count ; its grid may be finer than the features'.

    Shape:
        student [B, C, *S], teacher [B, C, *S'] with 2 or 3 spatial axes; S and S' may differ. A mask [B, 1, *S] weights
        positions before pooling. Returns a scalar.

    Raises:
        ValueError: unequal channels, batches or axes; empty or repeated scales; a scale below 1.
    """

    def __init__(
        self,
        scales: Sequence[int | None] = (None, 1, 2, 4),
        weights: str = "uniform",
        uniform_share: float = 0.5,
        normalize: str = "none",
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.scales = tuple(scales)
        if not self.scales or len(set(self.scales)) != len(self.scales):
            raise ValueError(f"scales is {scales!r}; it must hold at least one scale and none twice.")
        if any(k is not None and k < 1 for k in self.scales):
            raise ValueError(f"scales is {scales!r}; each scale is None (native) or a whole number >= 1.")
        if not 0 < uniform_share <= 1:
            raise ValueError(f"uniform_share is {uniform_share}; it must lie in (0, 1].")
        self.uniform_share = uniform_share
        self.normalize = choose("normalize", normalize, NORMALIZATIONS)
        choose("weights", weights, ("uniform", "learned"))
        self.scale_logits = nn.Parameter(torch.zeros(len(self.scales))) if weights == "learned" else None

    def scale_weights(self) -> torch.Tensor:
        """The weight of each scale; they sum to 1."""
        count = len(self.scales)
        if self.scale_logits is None:
            return torch.full((count,), 1.0 / count)
        return self.uniform_share / count + (1 - self.uniform_share) * torch.softmax(self.scale_logits, dim=0)

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        if student.ndim != teacher.ndim or student.shape[:2] != teacher.shape[:2]:
            raise ValueError(
                f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}; batch, channels and the "
                "number of axes must be equal. Project the student to the teacher's channels."
            )
        if student.ndim not in (4, 5):
            raise ValueError(f"student has shape {tuple(student.shape)}; [B, C, H, W] or [B, C, D, H, W] is needed.")
        student = normalize_features(student, self.normalize)
        teacher = normalize_features(teacher, self.normalize)
        terms = torch.stack([self._at_scale(student, teacher, mask, k) for k in self.scales])
        if self.scale_logits is None:
            return terms.mean()
        return (terms * self.scale_weights().to(terms)).sum()

    @staticmethod
    def _at_scale(
        student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, scale: int | None
    ) -> torch.Tensor:
        if scale is None:
            student, teacher = match_grids(student, teacher, "min")
            weight = None if mask is None else resize_to(mask, student.shape[2:])
        else:
            size = (scale,) * (student.ndim - 2)
            weight = None
            if mask is not None:
                # weighted means in each cell; cells without weight hold 0 in both and do not count
                mask_t = resize_to(mask, teacher.shape[2:])
                mask_s = resize_to(mask, student.shape[2:])
                weight = pool_to(mask_s, size)
                student = pool_to(student * mask_s, size) / weight.clamp_min(1e-6)
                teacher = pool_to(teacher * mask_t, size) / pool_to(mask_t, size).clamp_min(1e-6)
                weight = (weight > 0).to(student.dtype)
            else:
                student, teacher = pool_to(student, size), pool_to(teacher, size)
        check_same_shape(student, teacher)
        return reduce_values((student - teacher) ** 2, weight, "mean")
