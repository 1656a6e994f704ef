"""Whether there are enough images to train a classifier on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckdmed.bundle.errors import RefusedStart
from ckdmed.counted import counted

__all__ = ["check_training_images"]


def check_training_images(sections: Mapping[str, Sequence[Mapping[str, Any]]], labelled: bool = True) -> None:
    """Refuse a training of less than two images: batch normalisation of a classifier cannot be trained on one.

    Args:
        sections: "train" ... -> items.
        labelled: only images with a label count, as where a teacher is trained on them.

    Raises:
        RefusedStart: says how many there are.
    """
    count = sum(bool(item["labelled"]) or not labelled for item in sections["train"])
    if count < 2:
        raise RefusedStart(
            f"the training section has {counted(count, 'image')}{' with a label' if labelled else ''}, but a "
            "classifier's batch normalisation needs two or more: give more data, a larger label_fraction or another "
            "split_seed."
        )
