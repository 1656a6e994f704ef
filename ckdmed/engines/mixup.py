"""Mixup as the preparation of a batch, for any of MONAI's trainers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.transforms import MixUp
from torch.nn import functional as F

from ckdmed.engines.view_batch import view_prepare_batch

__all__ = ["MixupPrepareBatch", "mixup_prepare_batch"]


class MixupPrepareBatch(PrepareBatch):
    """Mix every image of a batch with another one of it, and their labels in the same proportion.

    x = w x_i + (1 - w) x_j, y = w y_i + (1 - w) y_j with one-hot labels or masks and w ~ Beta(alpha, alpha); MONAI's
    ``MixUp`` draws and mixes. A frozen teacher sees the mixed image too. Random numbers come from torch's global state,
    so that a seeded training repeats. Where a batch has ``labelled`` flags, a mixture is labelled when both parts are.

    Args:
        num_classes: of the one-hot labels; None for masks.
        alpha: above 0 mixes; 0 hands the batch over as it is, labels as class indices.
        view: level of the random view that is mixed (see :class:`~ckdmed.transforms.BatchView`); None for none.

    Shape:
        batch with ``image`` (B, C, *spatial) and ``label``: (B,) class indices become (B, num_classes) floats, masks
        (B, R, *spatial) stay masks, with values between 0 and 1.

    Raises:
        ValueError: a negative alpha, or fewer than two classes.

    Source: Zhang et al. 2018 (arXiv 1710.09412).
    """

    def __init__(self, num_classes: int | None, alpha: float = 0.0, view: str | None = None) -> None:
        if alpha < 0 or (num_classes is not None and num_classes < 2):
            raise ValueError(f"mixup needs alpha >= 0 and two classes or more, got {alpha} and {num_classes}.")
        self.num_classes = num_classes
        self.prepare = view_prepare_batch(view)
        self.mixer = MixUp(batch_size=1, alpha=alpha) if alpha > 0 else None

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        prepared: Any = self.prepare(batchdata, device, non_blocking, **kwargs)
        if self.mixer is None:
            return prepared
        image, label = prepared[0], prepared[1]
        # the last batch of an epoch may be smaller, and MONAI's class is told one size
        self.mixer.batch_size = len(image)
        self.mixer.set_random_state(seed=int(torch.randint(2**31, (1,))))
        self.mixer.randomize()
        drawn: Any = self.mixer._params
        order = torch.as_tensor(drawn[1])
        self.mixer._params = (drawn[0].to(image.device), order.to(image.device), [])  # type: ignore[assignment]
        if batchdata.get("labelled") is not None:
            flags = torch.as_tensor(batchdata["labelled"])
            batchdata["labelled"] = flags & flags[order]
        if self.num_classes is None:
            return self.mixer.apply(image), self.mixer.apply(label.to(image.dtype))
        # MONAI mixes what has the axes of an image
        target = F.one_hot(label.long(), self.num_classes).to(image.dtype)[..., None, None]
        return self.mixer.apply(image), self.mixer.apply(target)[..., 0, 0]


def mixup_prepare_batch(num_classes: int | None, alpha: float = 0.0, view: str | None = None) -> Callable:
    """:class:`MixupPrepareBatch`; with alpha 0 the view alone, and without one MONAI's own preparation.

    A cache of teacher outputs needs the last.

    A mixed image is a new one in every step, so the teacher has to run each time.
    """
    return MixupPrepareBatch(num_classes, alpha, view) if alpha > 0 else view_prepare_batch(view)
