"""A random view of each batch as its preparation, for any of MONAI's trainers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch, default_prepare_batch

from ckdmed.transforms import BatchView

__all__ = ["ViewPrepareBatch", "view_prepare_batch"]


class ViewPrepareBatch(PrepareBatch):
    """Hand a trainer another view of each batch: the images moved and recoloured, their masks moved along.

    With a distillation give the view to the trainer as ``student_view`` instead, so that the teacher keeps looking at
    the batch as it is.

    Args:
        level: of :class:`~ckdmed.transforms.BatchView`.

    Shape:
        batch with ``image`` (B, C, *spatial) and ``label``: masks (B, N, *spatial) and class indices (B, *spatial) move
        along, classes of whole images stay, see :meth:`~ckdmed.transforms.DrawnView.label`.

    Examples:
        >>> SupervisedTrainer(..., prepare_batch=ViewPrepareBatch("strong"))
    """

    def __init__(self, level: str = "report") -> None:
        self.view = BatchView(level)

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        prepared: Any = default_prepare_batch(batchdata, device, non_blocking, **kwargs)
        image, label, *rest = prepared if isinstance(prepared, tuple) else (prepared, None)
        if isinstance(image, MetaTensor):
            image = image.as_tensor()
        drawn = self.view(image)
        if isinstance(label, torch.Tensor):
            label = drawn.label(label.as_tensor() if isinstance(label, MetaTensor) else label)
        return (drawn.image(image), label, *rest)


def view_prepare_batch(level: str | None = None) -> Callable:
    """:class:`ViewPrepareBatch`, or without a level MONAI's own preparation."""
    return default_prepare_batch if level is None else ViewPrepareBatch(level)
