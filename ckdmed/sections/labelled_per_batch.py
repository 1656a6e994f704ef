"""Which samples have labels, and how often those are drawn where some have none."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import distributed

from ckdmed.counted import counted
from ckdmed.data.brats import BalancedSliceSampler

if TYPE_CHECKING:
    # an inference needs none
    from ckdmed.losses import DistillationLoss

__all__ = [
    "chosen_unlabelled_share",
    "labelled_items",
    "labelled_sampler",
    "labels_of",
    "needs_teacher",
    "training_items",
]

logger = logging.getLogger("ckdmed")


def labelled_items(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """The items of the training section whose labels are used."""
    return [item for item in sections["train"] if item["labelled"]]


def labels_of(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Any]:
    """Their labels."""
    return [item["label"] for item in labelled_items(sections)]


def needs_teacher(loss: DistillationLoss, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    """Whether a training uses its teacher: terms that use it only on unlabelled images need some of these.

    Where all that the teacher says is for unlabelled images and every image has its label, the log says so, and the
    loss leaves these terms out.

    Args:
        loss: of the student.
        sections: "train" ... -> items with ``labelled``.
    """
    if loss.needs_teacher and len(labelled_items(sections)) == len(sections["train"]):
        if left_out := loss.leave_out_unlabelled():
            logger.warning(
                f"the method uses its teacher only on images without labels ({', '.join(left_out)}), but every "
                "training image has a label: the student learns alone, and no teacher is trained or used. A "
                "label_fraction below 1 leaves some images unlabelled."
            )
    return loss.needs_teacher


def training_items(
    sections: Mapping[str, Sequence[Mapping[str, Any]]], needs_teacher: bool
) -> Sequence[Mapping[str, Any]]:
    """The items that a student is trained on: without a teacher those that have a label, since others tell it nothing.

    Args:
        sections: "train" ... -> items with ``labelled``.
        needs_teacher: whether the training asks its teacher, see :func:`needs_teacher`.
    """
    items = sections["train"]
    labelled = labelled_items(sections)
    if needs_teacher or len(labelled) == len(items):
        return items
    logger.info(
        f"left out {len(items) - len(labelled)} of {counted(len(items), 'training sample')}, which have no label; the "
        "student learns from labels alone"
    )
    return labelled


def chosen_unlabelled_share(labelled: Collection[bool], labelled_per_batch: float | None) -> float | None:
    """The share of the draws that the setting ``labelled_per_batch`` leaves to slices without labels.

    Returns:
        None where slices are drawn as they come: no share is asked for, or there is nothing to choose between.

    Raises:
        ValueError: a share outside (0, 1).
    """
    if labelled_per_batch is None:
        return None
    if not 0 < labelled_per_batch < 1:
        raise ValueError(f"labelled_per_batch must lie between 0 and 1, or be null, got {labelled_per_batch}.")
    return 1 - labelled_per_batch if any(labelled) and not all(labelled) else None


def labelled_sampler(
    items: Sequence[Mapping[str, Any]], labelled_per_batch: float | None, seed: int = 0
) -> BalancedSliceSampler | None:
    """Draw a chosen share of the slices among those with labels; as many slices an epoch as there are.

    Where few patients are labelled, a batch drawn from all slices holds a label or two, and a student hears little but
    its teacher. Labelled slices then come several times in an epoch, and unlabelled ones not in each. Where torch
    distributed is initialised every process draws its share.

    Args:
        items: of the training, with ``labelled``.
        labelled_per_batch: in (0, 1); None for slices as they come.
        seed: of the draws.

    Returns:
        None where slices come as they are: no share is asked for, or there is nothing to choose between.

    Raises:
        ValueError: a share outside (0, 1).
    """
    labelled = [bool(item["labelled"]) for item in items]
    unlabelled_share = chosen_unlabelled_share(labelled, labelled_per_batch)
    if unlabelled_share is None:
        return None
    parallel = distributed.is_initialized()
    return BalancedSliceSampler(
        # the sampler balances slices with tumour (1), which here all are, and those of which that is not known (-1)
        [1 if known else -1 for known in labelled],
        tumour_share=1.0,
        num_samples=len(items),
        seed=seed,
        unlabelled_share=unlabelled_share,
        num_replicas=distributed.get_world_size() if parallel else 1,
        rank=distributed.get_rank() if parallel else 0,
    )
