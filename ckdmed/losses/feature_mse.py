"""Squared distance of feature maps (hints)."""

from __future__ import annotations

import torch

from ckdmed.losses.channel_sums import channel_products
from ckdmed.losses.conventions import PairLoss, check_same_shape, choose, reduce_values, working_dtype
from ckdmed.losses.resizing import RESIZES, match_grids, resize_to

__all__ = ["FeatureMSELoss", "normalize_features"]

NORMALIZATIONS = ("none", "channel_l2", "layernorm")


def normalize_features(features: torch.Tensor, normalize: str, channel_dim: int = 1, eps: float = 1e-3) -> torch.Tensor:
    """Scale each position's feature vector so that its mean square is about 1.

    "channel_l2": divided by max(L2 norm, eps), times sqrt(C). "layernorm": mean 0, variance 1 (variance + eps^2 under
    the root). `eps` bounds the gradient where a vector is all zero, as after a ReLU.
    """
    if normalize == "channel_l2":
        # twice as fast as a norm along a strided axis
        squares = features.square().sum(dim=channel_dim, keepdim=True)
        return features * (features.shape[channel_dim] / squares.clamp_min(eps**2)).sqrt()
    if normalize == "layernorm":
        centred = features - features.mean(dim=channel_dim, keepdim=True)
        return centred / (centred.square().mean(dim=channel_dim, keepdim=True) + eps**2).sqrt()
    return features


def _normalized_distance(student: torch.Tensor, teacher: torch.Tensor, eps: float = 1e-3) -> torch.Tensor:
    """Mean over the channels of the squared difference of "channel_l2"-normalised maps, [B, 1, *S].

    The same as normalising both and subtracting, by |a - b|^2 = |a|^2 + |b|^2 - 2 a.b: the maps are read three times
    instead of written a dozen times. Where a norm is at least eps the value is 2 - 2 cos.
    """
    squares_s, squares_t, products = channel_products(student, teacher)
    bound_s, bound_t = squares_s.clamp_min(eps**2), squares_t.clamp_min(eps**2)
    distance = squares_s / bound_s + squares_t / bound_t - 2 * products / (bound_s * bound_t).sqrt()
    # rounding may leave what should be 0 a little below it
    return distance.clamp_min(0)


class FeatureMSELoss(PairLoss):
    """Mean squared difference of two feature maps with equal channels; zero when they are equal (after normalising).

    mean (F_s - F_t)^2. Project the student first where channels differ (`ckdmed.networks.projectors`).

    Args:
        normalize: "none"; "channel_l2", each position's vector to L2 norm sqrt(C), so that the loss lies in [0, 4]
            whatever the networks' scales (use it for pairs of different architecture); "layernorm", each position's
            vector to mean 0 and variance 1.
        reduction: "mean", or "sum" over everything including the batch, which grows with the map and is there only to
            reproduce formulas written as norms.
        channel_dim: 1 for maps [B, C, *S] and vectors [B, C]; -1 for tokens [B, N, C].
        resize: what to resize when the grids differ: "student", "teacher", "min" (the larger), or "none", which raises.
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count; its grid may be finer than the features'.

    Shape:
        student, teacher: [B, C, *S]; equal channels. The mask [B, 1, *S] may have another grid; it is resized as
        weights.

    Raises:
        ValueError: unequal shapes (after resizing); an unknown option.

    Source:
        Romero et al. 2015, FitNets (arXiv 1412.6550), eq. 3, as a mean. Weights need a sweep: published ones run from
        0.01 to 100 for different pairs of networks.
    """

    casts = False

    def __init__(
        self,
        normalize: str = "none",
        reduction: str = "mean",
        channel_dim: int = 1,
        resize: str = "none",
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.normalize = choose("normalize", normalize, NORMALIZATIONS)
        self.reduction = choose("reduction", reduction, ("mean", "sum"))
        self.channel_dim = channel_dim
        self.resize = choose("resize", resize, RESIZES)

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        maps = student.ndim > 3
        by_products = maps and (self.normalize, self.reduction, self.channel_dim) == ("channel_l2", "mean", 1)
        if not by_products or student.shape != teacher.shape:
            dtype = working_dtype(student)
            student, teacher = student.to(dtype), teacher.to(dtype)
        if self.resize != "none" and maps:
            student, teacher = match_grids(student, teacher, self.resize)
        check_same_shape(
            student, teacher, "Project the student to the teacher's channels; pass resize= where grids differ."
        )
        if mask is not None:
            if self.channel_dim != 1:
                raise ValueError("a mask needs maps with channels on axis 1.")
            mask = resize_to(mask, student.shape[2:]) if maps else mask
        if by_products:
            return reduce_values(_normalized_distance(student, teacher), mask, "mean")
        student = normalize_features(student, self.normalize, self.channel_dim)
        teacher = normalize_features(teacher, self.normalize, self.channel_dim)
        return reduce_values((student - teacher) ** 2, mask, self.reduction)
