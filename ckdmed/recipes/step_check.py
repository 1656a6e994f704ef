"""What the steps of a distillation cannot do together, so that it is refused before a teacher is trained for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ckdmed.networks.vit import TRANSFORMER_TAPS
from ckdmed.transforms.batch_view import BatchView, batch_view

if TYPE_CHECKING:
    from ckdmed.losses import DistillationLoss, LossTerm

__all__ = ["check_steps", "check_view"]

# augmentations whose flips are written down, so that cached answers can be turned along
_CACHEABLE = ("none", "horizontal", "flips")


def check_steps(
    loss: DistillationLoss,
    teacher_taps: Collection[str],
    student_view: str | None = None,
    mixup: float = 0.0,
    teacher_folds: int = 1,
    cache_teacher: bool | str = False,
    augmentation: str = "flips",
    samples: int | None = None,
    outputs: int | None = None,
) -> None:
    """Refuse settings of which one takes from another what it needs; nothing where no term asks a teacher.

    Args:
        loss: of the student.
        teacher_taps: names of the teacher's taps.
        student_view: level of the student's view, or None.
        mixup: alpha.
        teacher_folds: how many teachers are cross-fitted.
        cache_teacher: where the teacher's outputs are kept; False where they are not.
        augmentation: level, see :func:`~ckdmed.transforms.segmentation_augmentation`.
        samples: in a batch; None where that is unknown.
        outputs: channels of the student's logits; None where that is unknown.

    Raises:
        ValueError: mixup with cross-fitted teachers or cached outputs, or with a term that reads the one class of an
            image; cached outputs with an augmentation that does more than flip; a term that compares more samples than
            a batch has, or more regions than there are; as :func:`check_view`.
    """
    if not loss.needs_teacher:
        return
    for name, term in loss.active_terms.items():
        _check_term(name, term, mixup, samples, outputs)
    if mixup > 0 and teacher_folds > 1:
        raise ValueError(
            "mixup mixes two patients, one of whom a cross-fitted teacher may have seen: set mixup to 0 or "
            "teacher_folds to 1."
        )
    if mixup > 0 and cache_teacher:
        raise ValueError(
            f"mixup is {mixup} and makes a new image in every step, for which cache_teacher has no teacher output: "
            "set mixup to 0 or cache_teacher to false."
        )
    if cache_teacher and augmentation not in _CACHEABLE:
        raise ValueError(
            "cache_teacher keeps the teacher's outputs for images and their mirror images, but augmentation "
            f"'{augmentation}' makes others: set augmentation to 'flips' and student_view to the desired level, or "
            "cache_teacher to false."
        )
    check_view(batch_view(student_view), teacher_taps, loss)


def _check_term(name: str, term: LossTerm, mixup: float, samples: int | None, outputs: int | None) -> None:
    if mixup > 0 and getattr(term.loss, "reads_class_indices", False):
        raise ValueError(
            f"mixup is {mixup} and gives each image shares of two classes, but the term '{name}' needs the one class "
            "of an image: set mixup to 0, or choose another method."
        )
    if samples is not None and samples < term.min_samples:
        raise ValueError(
            f"the term '{name}' needs at least {term.min_samples} images in a batch, but a batch has {samples}, so the "
            "term would be left out in every step: give a larger batch_size, or choose another method."
        )
    fewest = getattr(term.loss, "fewest_channels", 1)
    if outputs is not None and outputs < fewest:
        raise ValueError(
            f"the term '{name}' compares regions with one another and needs at least {fewest}, but there is {outputs}: "
            "give more regions, or choose another method."
        )


def check_view(view: BatchView | None, teacher_taps: Collection[str], loss: DistillationLoss) -> None:
    """Refuse a view that moves pixels beside terms that compare a transformer's tokens, which cannot be moved along.

    Args:
        view: of the student, or None.
        teacher_taps: names of the teacher's taps.
        loss: of the student.

    Raises:
        ValueError: names the view and the taps.
    """
    if view is None or not view.moves:
        return
    read = [name for name in loss.layers if name in TRANSFORMER_TAPS and name in teacher_taps]
    if read:
        raise ValueError(
            f"the student_view '{view.level}' moves pixels, but the method compares the {' and '.join(read)} of the "
            "teacher's Vision Transformer position by position, which cannot be moved along: set student_view to "
            "masked, which only changes intensities, or to none."
        )
