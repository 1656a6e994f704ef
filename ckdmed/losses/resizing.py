"""Bringing two feature maps onto one grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ckdmed.losses.conventions import choose

__all__ = ["match_grids", "on_grid_of", "pool_to", "resize_to"]

RESIZES = ("none", "student", "teacher", "min")


def pool_to(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Adaptive average pooling of [B, C, *S] (two or three spatial axes) to `size`; the mean of the map is kept when
    the old size is a multiple of the new one."""
    if x.ndim == 4:
        return F.adaptive_avg_pool2d(x, (size[0], size[1]))
    if x.ndim == 5:
        return F.adaptive_avg_pool3d(x, (size[0], size[1], size[2]))
    raise ValueError(f"a map of shape {tuple(x.shape)} cannot be pooled; [B, C, H, W] or [B, C, D, H, W] is needed.")


def resize_to(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resize a map to `size`: axes that shrink by adaptive average pooling, axes that grow by bi- or trilinear
    interpolation (corners not aligned). For features and weights, never for labels."""
    size = tuple(size)
    if tuple(x.shape[2:]) == size:
        return x
    smaller = tuple(min(a, b) for a, b in zip(x.shape[2:], size))
    if smaller != tuple(x.shape[2:]):
        x = pool_to(x, smaller)
    if smaller != size:
        x = F.interpolate(x, size=size, mode="bilinear" if x.ndim == 4 else "trilinear", align_corners=False)
    return x


def match_grids(student: torch.Tensor, teacher: torch.Tensor, resize: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring two maps onto one grid.

    `resize` names what is resized: "student" (to the teacher's grid), "teacher" (to the student's grid), "min" (along
    each axis the larger of the two), or "none", which raises ValueError when the grids differ.
    """
    choose("resize", resize, RESIZES)
    if student.ndim != teacher.ndim:
        raise ValueError(
            f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}: the numbers of axes differ."
        )
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(
            f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}: the batches differ."
        )
    grid_s, grid_t = tuple(student.shape[2:]), tuple(teacher.shape[2:])
    if grid_s == grid_t:
        return student, teacher
    if resize == "none":
        raise ValueError(
            f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}: the grids differ. "
            "Pass resize='student', 'teacher' or 'min', or resize in the projector."
        )
    if resize == "student":
        return resize_to(student, grid_t), teacher
    if resize == "teacher":
        return student, resize_to(teacher, grid_s)
    common = tuple(min(a, b) for a, b in zip(grid_s, grid_t))
    return resize_to(student, common), resize_to(teacher, common)


def on_grid_of(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """A teacher's logits [B, C] or [B, C, *S] interpolated to the student's grid (corners not aligned).

    Raises:
        ValueError: another number of axes.
    """
    if teacher.ndim != student.ndim:
        raise ValueError(
            f"the teacher's logits have shape {tuple(teacher.shape)} and the student's {tuple(student.shape)}; "
            "both need the same number of axes."
        )
    if teacher.shape[2:] == student.shape[2:]:
        return teacher
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[student.ndim]
    return F.interpolate(teacher, size=student.shape[2:], mode=mode, align_corners=False)
