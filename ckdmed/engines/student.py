"""The student together with what only its training needs: taps and projections into the teacher's space."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from monai.data import MetaTensor
from torch import nn

from ckdmed.engines.teachers.frozen import FrozenTeacher
from ckdmed.networks.projectors import ConvProjector, FrozenOrthogonalProjector
from ckdmed.networks.taps import TappedOutput, Taps, tap_shapes

__all__ = ["DistilledStudent", "attach_student"]

logger = logging.getLogger(__name__)


class DistilledStudent(nn.Module):
    """A student whose forward pass also gives tapped features and their projections.

    This is what the optimiser, DistributedDataParallel and ``torch.compile`` are given, so that the projections train
    with the student. The student inside stays a plain network: validate, save and export ``.student``.

    Args:
        student: any network that maps (B, C, *spatial) to raw logits.
        taps: tap name -> module path in the student.
        projections: tap name -> module that maps the student's feature to the teacher's channels and grid.
        input_channels: which channels of the batch the student sees, all by default. The student inside takes these
            alone, and is validated and exported with them.

    Raises:
        ValueError: a projection without a tap of its name; in the forward pass, a channel that the batch does not have.
    """

    def __init__(
        self,
        student: nn.Module,
        taps: Mapping[str, str] | None = None,
        projections: Mapping[str, nn.Module] | None = None,
        input_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.input_channels = None if input_channels is None else [int(channel) for channel in input_channels]
        self.projections = nn.ModuleDict(dict(projections or {}))
        self.taps = Taps(student, taps or {})
        stray = sorted(set(self.projections) - set(self.taps.paths))
        if stray:
            raise ValueError(f"projections without a tap of the same name: {stray}; taps: {sorted(self.taps.paths)}.")

    def forward(self, image: torch.Tensor) -> TappedOutput:
        # every operation on a MetaTensor costs a detour through Python, which the training has no use for
        if isinstance(image, MetaTensor):
            image = image.as_tensor()
        if self.input_channels is not None:
            if max(self.input_channels) >= image.shape[1]:
                raise ValueError(
                    f"the batch has {image.shape[1]} channels and the student sees channels {self.input_channels}."
                )
            image = image[:, self.input_channels]
        with self.taps:
            logits = self.student(image)
        features = self.taps.collect()
        projected = {name: projection(features[name]) for name, projection in self.projections.items()}
        return TappedOutput(logits=logits, features=features, projected=projected)


def attach_student(
    student: nn.Module,
    teacher: FrozenTeacher,
    taps: Mapping[str, str] | None = None,
    projected: Sequence[str] = (),
    input_shape: Sequence[int] = (2, 1, 64, 64),
    seed: int = 0,
    side: str = "student",
) -> DistilledStudent:
    """Tap the student and build a 1x1 projection for every pair of features, with shapes found by one dry run of each.

    Args:
        student: the network that learns.
        teacher: its teacher, with taps of the same names.
        taps: tap name -> module path in the student.
        projected: names whose features must be projected into the teacher's channels (feature losses; attention
            transfer needs none).
        input_shape: (B, C, *spatial) of a training batch.
        seed: the projections start from this seed and leave the global random state as it was, so that switching
            feature terms on or off changes neither the student's start nor the order of the data.
        side: "student" learns projections of the student's features. "teacher" is the reports' literal form: a
            projection of the teacher's features into the student's channels, which must not learn (if it did, it and
            the student's features would both shrink to nothing), so it is random, orthogonal and frozen.

    A tap whose grids are no multiples of each other is warned of: one of the two networks pads its image, and the
    losses would compare places that are not the same.

    Raises:
        ValueError: a tap that the teacher lacks, a projection without a tap, features that have no channel axis, or
            logits of different channels.
    """
    if side not in ("student", "teacher"):
        raise ValueError(f"side must be 'student' or 'teacher', got {side!r}.")
    taps = dict(taps or {})
    missing = sorted(set(taps) - set(teacher.taps.paths))
    if missing:
        raise ValueError(f"the teacher has no taps {missing}; it has {sorted(teacher.taps.paths)}.")
    untapped = sorted(set(projected) - set(taps))
    if untapped:
        raise ValueError(f"features {untapped} are to be projected but not tapped; taps: {sorted(taps)}.")
    logits, shapes = tap_shapes(student, taps, tuple(input_shape))
    device = next(teacher.network.parameters()).device
    answer = teacher(torch.zeros(tuple(input_shape), device=device))
    if logits[1] != answer.logits.shape[1]:
        raise ValueError(
            f"the student gives {logits[1]} output channels, shape {logits}, and the teacher {answer.logits.shape[1]}, "
            f"shape {tuple(answer.logits.shape)}: soft targets need the same classes."
        )
    for name, shape in shapes.items():
        grid_s, grid_t = shape[2:], tuple(answer.features[name].shape[2:])
        if any(max(a, b) % min(a, b) for a, b in zip(grid_s, grid_t)):
            logger.warning(
                f"tap '{name}': the student's map is {_times(grid_s)} and the teacher's {_times(grid_t)} for an image "
                f"of {_times(input_shape[2:])}, so one of the two pads it and their places do not match; take images "
                "of a size that neither has to pad, such as a multiple of 32."
            )
    projections: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in projected:
            source, target = shapes[name], tuple(answer.features[name].shape)
            if len(source) != len(target) or len(source) < 3:
                raise ValueError(
                    f"tap '{name}': the student's feature has shape {source} and the teacher's {target}; "
                    "a 1x1 projection needs two maps of the same number of axes."
                )
            if side == "teacher":
                teacher.projections[name] = FrozenOrthogonalProjector(
                    in_channels=target[1], out_channels=source[1], spatial_dims=len(source) - 2, seed=seed
                ).to(device)
            else:
                projections[name] = ConvProjector(
                    in_channels=source[1], out_channels=target[1], spatial_dims=len(source) - 2
                ).to(next(student.parameters()).device)
    return DistilledStudent(student, taps=taps, projections=projections)


def _times(grid: Sequence[int]) -> str:
    return "x".join(map(str, grid))
