"""Attention made of a student's map, part by part of the teacher's own queries, keys and values."""

from __future__ import annotations

import math

import torch

from ckdmed.losses.conventions import PairLoss, check_same_shape, choose

__all__ = ["PartialCrossAttentionLoss", "attention_of"]

GRANULARITIES = ("element", "token", "matrix")


def attention_of(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q k' / sqrt(d)) v over the last two axes, [..., N, d]."""
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1) @ v


class PartialCrossAttentionLoss(PairLoss):
    """Squared distance of a student's attention from a transformer's, and of the products of their values.

    mean (A_t - A_m)^2 + mean (V_t V_t' - V_s V_s')^2 / d over batch, heads, positions. A_t is the teacher's attention
    softmax(Q K' / sqrt(d)) V. A_m is the same of matrices that are mixed while the loss is in training mode: of Q, K
    and V each entry is the teacher's with probability 1/2 and the student's otherwise, drawn anew in every step. In
    evaluation mode nothing is mixed. Zero where the student's matrices are the teacher's.

    Args:
        heads: of the teacher's block, which the student's matrices are split into as well.
        granularity: what is drawn as one: "element" (default), "token" (a row) or "matrix". The paper's notation leaves
            this open.
        prefix: class and register tokens in front of the teacher's, which stand for no position: left out.
        teacher_grad: let gradients reach the teacher.

    Shape:
        student [B, N, 3 d heads], teacher [B, prefix + N, 3 d heads]: queries, keys and values one after the other,
        each head by head, as MONAI's ``attn.qkv`` gives them.

    Raises:
        ValueError: other axes; unequal shapes (behind the prefix); a width that is no multiple of 3 heads; an unknown
            granularity; a mask is given.

    Source:
        Liu et al. 2022 (arXiv 2207.05273), equations 1 to 4, with means in the place of squared norms and both products
        of values divided by sqrt(d).
    """

    accepts_mask = False

    def __init__(
        self, heads: int = 1, granularity: str = "element", prefix: int = 1, teacher_grad: bool = False
    ) -> None:
        super().__init__(teacher_grad=teacher_grad)
        if heads < 1 or prefix < 0:
            raise ValueError(f"heads is {heads} and prefix {prefix}; they must be at least 1 and 0.")
        self.heads = heads
        self.granularity = choose("granularity", granularity, GRANULARITIES)
        self.prefix = prefix

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        if student.ndim != 3 or teacher.ndim != 3:
            raise ValueError(
                f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}; queries, keys and "
                "values are [B, N, 3 d heads]."
            )
        teacher = teacher[:, self.prefix :]
        check_same_shape(student, teacher, "Project the student to the teacher's queries, keys and values.")
        if student.shape[2] % (3 * self.heads):
            raise ValueError(f"a width of {student.shape[2]} holds no three matrices of {self.heads} heads.")
        own, said = self._split(student), self._split(teacher)
        mixed = [self._mixed(s, t) for s, t in zip(own, said)] if self.training else own
        value = (attention_of(*said) - attention_of(*mixed)).square().mean()
        products = [v @ v.transpose(-1, -2) / math.sqrt(v.shape[-1]) for v in (own[2], said[2])]
        return value + (products[0] - products[1]).square().mean()

    def _split(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[B, N, 3 h d] -> three times [B, h, N, d]."""
        parts = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def _mixed(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        batch, heads, tokens, width = student.shape
        shape = {
            "element": (batch, heads, tokens, width),
            "token": (batch, 1, tokens, 1),
            "matrix": (1, 1, 1, 1),
        }[self.granularity]
        return torch.where(torch.rand(shape, device=student.device) >= 0.5, teacher, student)
