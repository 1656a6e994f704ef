"""What every distillation loss has to satisfy, as functions of a case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Case:
    """A loss with the inputs it takes and the properties it is excused from.

    Attributes:
        name: shown by pytest.
        make: builds the loss; called anew for each test.
        channels: of both inputs.
        labels: whether `target` labels are needed.
        not_zero: why L(t, t) is not 0.
        not_doubling: why duplicating the batch changes the value.
        not_tiling: why tiling the image changes the value.
        not_dimensional: why a 3-D input of depth 1 gives another value.
        unit_target: the second input is a mask in [0, 1].
        masked: accepts a mask.
    """

    name: str
    make: Callable[[], nn.Module]
    channels: int = 2
    labels: bool = False
    not_zero: str = ""
    not_doubling: str = ""
    not_tiling: str = ""
    not_dimensional: str = ""
    unit_target: bool = False
    masked: bool = True

    def inputs(
        self, dtype: torch.dtype = torch.float64, size: tuple[int, ...] = (4, 6)
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Two different random inputs; the second a binary mask when the case compares with one."""
        generator = torch.Generator().manual_seed(7)
        student = 2 * torch.randn(3, self.channels, *size, generator=generator, dtype=torch.float64)
        other = 2 * torch.randn(3, self.channels, *size, generator=generator, dtype=torch.float64)
        if self.unit_target:
            other = (other > 0).to(other)
        return student.to(dtype), other.to(dtype)

    def target(self, like: torch.Tensor) -> dict[str, torch.Tensor]:
        """Labels as a keyword argument for the losses that need them; the same wherever `like` repeats."""
        return {"target": like.detach().float().argmax(dim=1, keepdim=True)} if self.labels else {}

    def __call__(self, student: torch.Tensor, other: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        value: torch.Tensor = self.make()(student, other, **{**self.target(other), **kwargs})
        return value
