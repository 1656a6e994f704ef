"""Attention transfer: where a network's features are large, whatever its channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ckdmed.losses.channel_sums import channel_squares
from ckdmed.losses.conventions import PairLoss, choose, working_dtype
from ckdmed.losses.resizing import RESIZES, match_grids, resize_to

__all__ = ["AttentionTransferLoss", "attention_map"]

VARIANTS = ("l2sum", "code", "paper", "seed")


def attention_map(features: torch.Tensor, exponent: float = 2.0) -> torch.Tensor:
    """Sum over the channels of |F|^exponent, [B, C, *S] -> [B, 1, *S], of full precision."""
    if exponent == 2:
        return channel_squares(features)
    return features.to(working_dtype(features)).abs().pow(exponent).sum(dim=1, keepdim=True)


class AttentionTransferLoss(PairLoss):
    """Distance of two normalised attention maps; zero when one is a positive multiple of the other.

    A(F) = sum_c |F_c|^p, divided by its L2 norm over the positions; no projection is needed as channels are summed.

    | variant | normalised by | distance |
    |---|---|---|
    | l2sum | L2 norm | sum of squared differences per sample; in [0, 2], independent of image size |
    | code  | L2 norm | mean of squared differences: l2sum divided by the number of positions |
    | paper | L2 norm | L2 norm of the difference per sample: the root of l2sum |
    | seed  | spatial mean | sum of squared differences per sample: grows with the image |

    The mean over the batch follows. The variants differ by large factors: a weight tuned for one is wrong for another.

    Args:
        variant: see above.
        exponent: p >= 1. 2 is usual; 4 gives the importance map of Qin et al. 2021 (EMKD).
        resize: "min" (default) pools the larger map; "student", "teacher" or "none" as in `match_grids`. It happens
            after the sum over channels.
        stab: lower bound of the norm or mean, > 0; by default 0.001^p, which bounds the gradient of features that are
            next to nothing. An all-zero map stays 0 with a zero gradient.
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count; its grid may be finer than the features'.

    Shape:
        student [B, C, *S], teacher [B, C', *S']. A mask [B, 1, *S] multiplies both maps before normalising.

    Raises:
        ValueError: unknown variant; exponent < 1; batches or numbers of axes that differ; no spatial axes.

    Source:
        Zagoruyko and Komodakis 2017 (arXiv 1612.03928), eq. 2 ("paper") and the authors' code ("code", weight 1000).
    """

    casts = False

    def __init__(
        self,
        variant: str = "l2sum",
        exponent: float = 2.0,
        resize: str = "min",
        stab: float | None = None,
        teacher_grad: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.variant = choose("variant", variant, VARIANTS)
        if exponent < 1:
            raise ValueError(f"exponent is {exponent}; it must be at least 1 (below, the gradient at 0 is infinite).")
        stab = 1e-3**exponent if stab is None else stab
        if not stab > 0:
            raise ValueError(f"stab is {stab}; it must be above 0.")
        self.exponent = exponent
        self.resize = choose("resize", resize, RESIZES)
        self.stab = stab

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        if student.ndim < 3:
            raise ValueError(f"student has shape {tuple(student.shape)}; this loss needs spatial axes, [B, C, *S].")
        map_s, map_t = attention_map(student, self.exponent), attention_map(teacher, self.exponent)
        map_s, map_t = match_grids(map_s, map_t, self.resize)
        if mask is not None:
            weight = mask if mask.shape[2:] == map_s.shape[2:] else resize_to(mask, map_s.shape[2:])
            map_s, map_t = map_s * weight, map_t * weight
        squares = (self._normalized(map_s) - self._normalized(map_t)).square()
        if self.variant == "code":
            return squares.mean()
        if self.variant == "paper":
            return torch.linalg.vector_norm(self._normalized(map_s) - self._normalized(map_t), dim=1).mean()
        return squares.sum(dim=1).mean()

    def _normalized(self, attention: torch.Tensor) -> torch.Tensor:
        flat = attention.flatten(1)
        if self.variant == "seed":
            return flat / flat.mean(dim=1, keepdim=True).clamp_min(self.stab)
        return F.normalize(flat, dim=1, eps=self.stab)
