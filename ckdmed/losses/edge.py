"""Agreement of Sobel edges."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from ckdmed.losses.conventions import (
    LINKS,
    PairLoss,
    check_logits,
    check_mask_grid,
    check_same_shape,
    choose,
    probabilities,
    reduce_values,
    resolve_link,
)
from ckdmed.losses.feature_lines import feature_line_weights

__all__ = ["EDGE_WEIGHTS", "EdgeLoss", "SobelMagnitude"]

EDGE_WEIGHTS = ("uniform", "feature_lines")


class SobelMagnitude(nn.Module):
    """Gradient magnitude sqrt(sum over axes of (Sobel * x)^2 + stab), channel by channel.

    Args:
        spatial_dims: 2 or 3; the 3-D kernel is [-1, 0, 1] along one axis and [1, 2, 1] along each of the others.
        normalize: divide by the sum of the absolute kernel weights (8 in 2-D, 32 in 3-D), so that a step from 0 to 1
            gives 0.5. Off gives the raw kernel.
        padding: "replicate", or "zeros", which invents an edge along the image border.
        stab: under the root, >= 0. At 0 the gradient is NaN where the image is flat.

    Shape:
        [B, C, *S] -> [B, C, *S].

    Raises:
        ValueError: spatial_dims other than 2 or 3; unknown padding; negative stab; an input with other axes.
    """

    def __init__(
        self, spatial_dims: int, normalize: bool = True, padding: str = "replicate", stab: float = 1e-6
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims is {spatial_dims}; it must be 2 or 3.")
        if stab < 0:
            raise ValueError(f"stab is {stab}; it must not be negative.")
        self.padding = choose("padding", padding, ("replicate", "zeros"))
        self.spatial_dims = spatial_dims
        self.stab = stab
        # the absolute weights of the kernel: 1 + 1 along its own axis, 1 + 2 + 1 along each other
        self.scale = 1 / (2 * 4 ** (spatial_dims - 1)) if normalize else 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != self.spatial_dims + 2:
            raise ValueError(f"input has shape {tuple(x.shape)}; {self.spatial_dims} spatial axes are needed.")
        flat = x.reshape(-1, 1, *x.shape[2:])
        flat = F.pad(flat, (1, 1) * self.spatial_dims, mode="replicate" if self.padding == "replicate" else "constant")
        squares = torch.full((), self.stab, dtype=x.dtype, device=x.device)
        for axis in range(self.spatial_dims):
            squares = squares + self._gradient(flat, axis).square()
        return squares.sqrt().view_as(x)

    def _gradient(self, padded: torch.Tensor, axis: int) -> torch.Tensor:
        """The Sobel kernel along ``axis``, one axis at a time: a quarter of the time of a one-channel convolution."""
        for other in range(self.spatial_dims):
            dim = other + 2
            size = padded.shape[dim] - 2
            before, after = padded.narrow(dim, 0, size), padded.narrow(dim, 2, size)
            if other == axis:
                padded = (after - before) * self.scale
            else:
                padded = before + 2 * padded.narrow(dim, 1, size) + after
        return padded


class EdgeLoss(PairLoss):
    """Absolute difference of the edges of the student's probabilities and of a target; zero when they agree.

    mean |E(p_s) - E(y)|, E the Sobel magnitude. Probabilities, not logits, have edges of a bounded height.

    Args:
        target: "mask": the second input is a mask or one-hot map with values in [0, 1], or, with the softmax link, a
            map of class indices [B, 1, *S]; "teacher": it is raw teacher logits.
        link: "sigmoid", "softmax", or "auto" (one channel only).
        normalize, padding, stab: see `SobelMagnitude`. The defaults keep the value in [0, 1], add no edge at the border
            and keep gradients finite.
        teacher_grad: let gradients reach the teacher.
        ignore_index: label in `target` whose positions do not count.
        of: "probabilities", or "logits" for the student's raw values beside the mask, whose edges have no bound and do
            not agree with the mask's anywhere but by chance; it is there to reproduce formulas that are written so.
        reduction: "mean", or "sum" over everything including the batch, for the same reason.
        weights: "uniform", or "feature_lines": voxels at the mask's surface weigh up to twice as much, the more the
            surface bends there, see `feature_line_weights`; only with target="mask".

    Shape:
        student: raw logits [B, C, *S] with 2 or 3 spatial axes; second input of the same shape; mask [B, 1, *S].

    Raises:
        ValueError: unequal shapes; a mask outside [0, 1]; class indices outside 0..C-1;
            a link that does not fit; other than 2 or 3 spatial axes; unknown weights, or weights from a teacher;
            another word for `of` or `reduction`.
    """

    def __init__(
        self,
        target: str = "mask",
        link: str = "auto",
        normalize: bool = True,
        padding: str = "replicate",
        stab: float = 1e-6,
        teacher_grad: bool = False,
        ignore_index: int | None = None,
        weights: str = "uniform",
        of: str = "probabilities",
        reduction: str = "mean",
    ) -> None:
        super().__init__(teacher_grad=teacher_grad, ignore_index=ignore_index)
        self.of = choose("of", of, ("probabilities", "logits"))
        self.reduction = choose("reduction", reduction, ("mean", "sum"))
        self.weights = choose("weights", weights, EDGE_WEIGHTS)
        if weights != "uniform" and target != "mask":
            raise ValueError(f"weights={weights!r} follow the surface of a mask; use target='mask'.")
        self.target = choose("target", target, ("mask", "teacher"))
        self.link = choose("link", link, LINKS)
        self.sobel = nn.ModuleDict({str(n): SobelMagnitude(n, normalize, padding, stab) for n in (2, 3)})

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        link = resolve_link(self.link, student.shape[1])
        if self.target == "mask" and link == "softmax" and teacher.shape[1] == 1:
            teacher = self._one_hot(teacher, student)
        check_same_shape(student, teacher)
        check_mask_grid(mask, student)
        spatial_dims = student.ndim - 2
        if spatial_dims not in (2, 3):
            raise ValueError(f"student has shape {tuple(student.shape)}; [B, C, H, W] or [B, C, D, H, W] is needed.")
        check_logits("student", student)
        if self.target == "teacher":
            check_logits("teacher", teacher)
            teacher = probabilities(teacher, link)
        elif not torch.compiler.is_compiling() and bool(((teacher < 0) | (teacher > 1)).any()):
            raise ValueError(
                f"the mask has values from {teacher.min().item():g} to {teacher.max().item():g}; it must be in [0, 1]. "
                "For teacher logits use target='teacher'."
            )
        if self.weights == "feature_lines":
            bends = feature_line_weights(teacher)
            mask = bends if mask is None else mask * bends
        edges = self.sobel[str(spatial_dims)]
        seen = student if self.of == "logits" else probabilities(student, link)
        return reduce_values((edges(seen) - edges(teacher)).abs(), mask, self.reduction)

    @staticmethod
    def _one_hot(indices: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
        classes = student.shape[1]
        labels = indices[:, 0].long()
        if not torch.compiler.is_compiling() and bool(((labels < 0) | (labels >= classes)).any()):
            raise ValueError(
                f"class indices run from {int(labels.min())} to {int(labels.max())}; with {classes} channels they must "
                f"lie in 0..{classes - 1}."
            )
        return F.one_hot(labels, classes).movedim(-1, 1).to(student.dtype)
