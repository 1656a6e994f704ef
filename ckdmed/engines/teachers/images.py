"""What a teacher sees where it was trained on images of another size than its student's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch, default_prepare_batch
from monai.inferers import Inferer
from monai.transforms import Compose
from monai.utils import CommonKeys
from torch.utils.data import Dataset, Subset

from ckdmed.engines.teachers.scaled_maps import ScaledMapsInferer
from ckdmed.transforms.teacher_image import TEACHER_IMAGE, TeacherImaged

__all__ = ["TeacherImages"]

# augmentations that change images of any size alike
_OF_ANY_SIZE = ("none", "horizontal", "flips")


class TeacherImages:
    """Gives a teacher images of the size that it was trained on, and its answers the student's grid.

    A teacher that sees more pixels than its student knows more than the student can see. Where both sizes are the same,
    or no term of the loss uses a teacher, nothing of this acts.

    Args:
        preprocessing: of the teacher's images.
        image_size, teacher_image_size: edges of the student's and of the teacher's images in pixels.
        augmentation: of the training data. Beside the student's images only "flips" can change the teacher's;
            ``student_view`` may change the student's further, and the answers along with them.
        mixup: of the training; with a second image 0.
        checkpoint: of the teacher; None for one that the run trains, see :meth:`training_data`.
        needed: whether a term of the loss uses a teacher.
    """

    def __init__(
        self,
        preprocessing: Compose,
        image_size: int,
        teacher_image_size: int,
        augmentation: str = "flips",
        mixup: float = 0.0,
        checkpoint: str | None = None,
        needed: bool = True,
    ) -> None:
        self.preprocessing = preprocessing
        self.sizes = (image_size, teacher_image_size)
        self.augmentation = augmentation
        self.mixup = mixup
        self.checkpoint = checkpoint
        self.own = needed and image_size != teacher_image_size

    def check(self) -> None:
        """Refuse settings that do not go together with images of two sizes.

        Raises:
            ValueError: an augmentation other than flips; mixup.
        """
        if not self.own:
            return
        two = f"teacher_image_size is {self.sizes[1]} and image_size {self.sizes[0]}"
        if self.augmentation not in _OF_ANY_SIZE:
            raise ValueError(
                f"{two}, but augmentation '{self.augmentation}' only changes images of one size: set augmentation to "
                "'flips' and student_view to the desired level, or teacher_image_size to image_size."
            )
        if self.mixup:
            raise ValueError(f"{two}, but mixup only mixes images of one size: set mixup to 0.")

    def shape(self, input_shape: Sequence[int]) -> list[int]:
        """Of a batch (B, C, H, W) as the teacher sees it, from that of the student's."""
        edge = self.sizes[self.own]
        return [*input_shape[:2], edge, edge]

    @property
    def keys(self) -> tuple[str, ...]:
        """The key of the teacher's images, where there are some."""
        return (TEACHER_IMAGE,) if self.own else ()

    def added_to(self, preprocessing: Compose) -> Compose:
        """The student's preprocessing, with the teacher's images beside."""
        return Compose([TeacherImaged(self.preprocessing), preprocessing]) if self.own else preprocessing

    def training_data(
        self, labelled: Dataset, cached: Callable[..., Dataset], steps: Sequence[Callable] = ()
    ) -> Dataset:
        """What the run's own teacher is trained on: labelled samples with images and labels of its size.

        Args:
            labelled: the samples in the student's size, some of a dataset's (``Subset``).
            cached: makes a dataset of items and a transform, such as :func:`~ckdmed.data.cached_dataset` with a
                training's settings.
            steps: what follows the preprocessing in the teacher's size: augmentation of that size, for example.

        Returns:
            ``labelled`` where both sizes are the same or the teacher is trained already.
        """
        if not self.own or self.checkpoint:
            return labelled
        whole: Any = labelled.dataset if isinstance(labelled, Subset) else labelled
        items = [whole.data[number] for number in labelled.indices] if isinstance(labelled, Subset) else whole.data
        return cached(data=items, transform=Compose([self.preprocessing, *steps]).flatten())

    def inferer(self, inferer: Inferer) -> Inferer:
        """How the teacher is run: its maps come on the student's grid."""
        return ScaledMapsInferer(inferer, self.sizes[0] / self.sizes[1]) if self.own else inferer

    def prepare_batch(self) -> Callable:
        """How an evaluator takes the teacher's images of a batch."""
        return _PrepareTeacherBatch() if self.own else default_prepare_batch


class _PrepareTeacherBatch(PrepareBatch):
    def __call__(
        self,
        batchdata: Mapping[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        shown = {**batchdata, CommonKeys.IMAGE: batchdata[TEACHER_IMAGE]}
        return default_prepare_batch(shown, device, non_blocking, **kwargs)
