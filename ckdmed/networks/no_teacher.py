"""What stands in a teacher's place where a student learns alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["NoTeacher", "check_is_teacher"]


class NoTeacher(nn.Module):
    """Zeros of the shape of a teacher's logits, without a teacher's weights: a large one takes a gigabyte and seconds.

    Args:
        out_channels: of the teacher.
        dense: whether its logits have the image's grid, or are those of classes.

    Shape: (B, any, *spatial) to (B, out_channels, *spatial) or (B, out_channels).
    """

    def __init__(self, out_channels: int, dense: bool = True) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.dense = dense
        # whoever asks a network for its device looks at its parameters
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        grid: Sequence[int] = image.shape[2:] if self.dense else ()
        return self.zero.expand(image.shape[0], self.out_channels, *grid)


def check_is_teacher(network: nn.Module) -> None:
    """Raise ValueError where a student would learn from zeros, by a loss of one's own beside the method."""
    if any(isinstance(module, NoTeacher) for module in network.modules()):
        raise ValueError(
            "the loss has terms that need a teacher, but the method 'supervised' has none: choose another method, or "
            "set teacher_def#needed (teacher_ensemble#needed) to true."
        )
