"""ReviewKD: the student's deeper stages flow into its shallower ones before they are compared with the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ckdmed.losses.hcl import HCLoss

__all__ = ["ReviewLoss"]

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class _Fusion(nn.Module):
    """One stage: the student's map and what came from the deeper stage, mixed by two learned gates (ABF).

    Args:
        channels: of the student's map.
        width: of what is passed on.
        target: channels of the teacher's map.
        dims: spatial axes.
        deepest: there is nothing deeper to mix in.
    """

    def __init__(self, channels: int, width: int, target: int, dims: int, deepest: bool) -> None:
        super().__init__()
        conv, norm = _CONV[dims], _NORM[dims]
        self.enter = nn.Sequential(conv(channels, width, 1, bias=False), norm(width))
        self.leave = nn.Sequential(conv(width, target, 3, padding=1, bias=False), norm(target))
        self.gates = None if deepest else nn.Sequential(conv(2 * width, 2, 1), nn.Sigmoid())

    def forward(
        self, student: torch.Tensor, deeper: torch.Tensor | None, grid: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.enter(student)
        if self.gates is not None and deeper is not None:
            y = F.interpolate(deeper, size=x.shape[2:], mode="nearest")
            gates = self.gates(torch.cat([x, y], dim=1))
            x = x * gates[:, :1] + y * gates[:, 1:]
        if tuple(x.shape[2:]) != tuple(grid):
            x = F.interpolate(x, size=tuple(grid), mode="nearest")
        return self.leave(x), x


class ReviewLoss(nn.Module):
    """Sum over the stages of the hierarchical context loss between fused student maps and the teacher's.

    From the deepest stage up: a 1x1 convolution to a common width; two gates (sigmoid of a 1x1 convolution of both)
    mix it with what came from the deeper stage; the mixture goes on, and a 3x3 convolution brings it to the teacher's
    channels, where :class:`HCLoss` compares it. The fusion learns with the student and is no part of it.

    Args:
        layers: names of the stages, deepest first.
        width: common width at most; the teacher's largest number of channels below.

    Call with name -> map of the student and of the teacher, after :meth:`build`.

    Raises:
        ValueError: features that are no maps of two or three axes.
        RuntimeError: it is called before it was built.

    Source:
        Chen et al. 2021, ReviewKD (arXiv 2104.09044) and its code (width at most 512).
    """

    def __init__(self, layers: Sequence[str], width: int = 512) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.width = width
        self.fusions = nn.ModuleDict()
        self.distance = HCLoss()

    def build(self, student: Mapping[str, Sequence[int]], teacher: Mapping[str, Sequence[int]]) -> None:
        """Make the fusions from the shapes [B, C, *S] of the layers."""
        width = min(self.width, max(teacher[name][1] for name in self.layers))
        for number, name in enumerate(self.layers):
            dims = len(student[name]) - 2
            if dims not in _CONV or len(teacher[name]) != len(student[name]):
                raise ValueError(f"'{name}': maps are needed; the shapes are {student[name]} and {teacher[name]}.")
            self.fusions[name] = _Fusion(student[name][1], width, teacher[name][1], dims, deepest=number == 0)

    def forward(self, student: Mapping[str, torch.Tensor], teacher: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if not self.fusions:
            raise RuntimeError("ReviewLoss was used before it was built for its networks; attach_student builds it.")
        total = next(iter(student.values())).new_zeros(())
        deeper: torch.Tensor | None = None
        for name in self.layers:
            fused, deeper = self.fusions[name](student[name], deeper, teacher[name].shape[2:])
            total = total + self.distance(fused, teacher[name])
        return total
