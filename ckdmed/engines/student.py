"""The student together with what only its training needs: taps and projections into the teacher's space."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer
from torch import nn

from ckdmed.engines.teachers.cross_fitted import CrossFittedTeacher
from ckdmed.engines.teachers.frozen import FrozenTeacher
from ckdmed.losses.multi_head import checked_head_weights
from ckdmed.losses.total import DistillationLoss
from ckdmed.networks.projectors import FrozenOrthogonalProjector, conv_projector
from ckdmed.networks.segmentation_kinds import head_weights
from ckdmed.networks.taps import TappedOutput, Taps, tap_shapes

__all__ = ["DistilledStudent", "attach_student"]

logger = logging.getLogger(__name__)


class DistilledStudent(nn.Module):
    """A student whose forward pass also gives tapped features and their projections.

    This is what the optimiser, DistributedDataParallel and ``torch.compile`` are given, so that the projections and the
    loss's own parameters train with the student and are part of the resumed state. The student inside stays a plain
    network: validate ``.student`` and save its ``state_dict()``. Call ``.taps.remove()`` before it is scripted or
    pickled as a whole, for which its hooks are in the way.

    Args:
        student: any network that maps (B, C, *spatial) to raw logits; in training, with deep supervision, to those of
            several heads, (B, heads, N, *spatial), the main one first, with an attribute ``head_weights``.
        taps: tap name -> module path in the student.
        projections: tap name -> module that maps the student's feature to the teacher's channels and grid.
        input_channels: which channels of the batch the student sees, all by default. The student inside takes these
            alone, and is validated and exported with them.
        loss: whose own parameters, such as learned weights of scales, learn with the student; most have none.

    Raises:
        ValueError: a projection without a tap of its name; in the forward pass, a channel that the batch does not have.
        TypeError: in the forward pass, a student that gives something else than one tensor.
    """

    def __init__(
        self,
        student: nn.Module,
        taps: Mapping[str, str] | None = None,
        projections: Mapping[str, nn.Module] | None = None,
        input_channels: Sequence[int] | None = None,
        loss: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.input_channels = None if input_channels is None else [int(channel) for channel in input_channels]
        self.projections = nn.ModuleDict(dict(projections or {}))
        # the same objects as the loss's, whose buffers (shares of teachers) are not this module's to keep
        self.loss_parameters = nn.ParameterList(() if loss is None else loss.parameters())
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
        if not isinstance(logits, torch.Tensor):
            raise TypeError(
                f"the student {type(self.student).__name__} returned a {type(logits).__name__}; a student must return "
                "its logits as one tensor, in training those of several heads as (B, heads, N, *spatial): wrap the "
                "network so that it does."
            )
        features = self.taps.collect()
        projected = {name: projection(features[name]) for name, projection in self.projections.items()}
        if logits.ndim != image.ndim + 1:
            return TappedOutput(logits=logits, features=features, projected=projected)
        # (B, heads, C, *spatial): deep supervision, the main head first
        main, *heads = logits.unbind(1)
        weights = checked_head_weights(head_weights(self.student), 1 + len(heads))
        return TappedOutput(main, features, projected, tuple(heads), tuple(weights))


def attach_student(
    student: nn.Module,
    teacher: FrozenTeacher,
    taps: Mapping[str, str] | None = None,
    loss: DistillationLoss | None = None,
    input_shape: Sequence[int] = (2, 1, 64, 64),
    seed: int = 0,
    teacher_shape: Sequence[int] | None = None,
    teacher_inferer: Inferer | None = None,
) -> DistilledStudent:
    """Tap the student where the loss reads it, and build the projections that its terms ask for.

    Shapes are found by one dry run of each network. Unless a term brings a projector of its own, a feature of the
    student is projected to the teacher's channels by a 1x1 convolution. Where the loss has its projections on the
    teacher's side (the reports' literal form), the teacher's feature is projected into the student's channels, which
    must not learn (if it did, it and the student's features would both shrink to nothing), so that projection is
    random, orthogonal and frozen. Attention transfer and other terms that compare features as they are need none.

    Args:
        student: the network that learns.
        teacher: its teacher, with taps of the same names.
        taps: tap name -> module path in the student; those that the loss reads are tapped, all where there is no loss.
        loss: the terms, with their projections; its own parameters learn with the student.
        input_shape: (B, C, *spatial) of a training batch.
        seed: the projections start from this seed and leave the global random state as it was, so that switching
            feature terms on or off changes neither the student's start nor the order of the data.

        teacher_shape: of a batch of the teacher's own images; by default ``input_shape``.
        teacher_inferer: runs the teacher in the training, where it brings its maps to the student's grid.

    Losses with networks of their own, such as a discriminator, make them here (:meth:`DistillationLoss.build`). A
    teacher of whom no term asks anything is not run: it need not take the student's images.

    A tap whose grids are no multiples of each other is warned of: one of the two networks pads its image, and the
    losses would compare places that are not the same. So are terms that compare the channels of cross-fitted teachers,
    whose networks have none in common, and a projection behind a ReLU to a teacher's feature that has values below 0.

    Raises:
        ValueError: a layer of the loss without a tap, a tap that the teacher lacks, one to be projected of a name that
            no submodule can have, features to be projected that have no channel axis, or logits of different channels.
    """
    taps = dict(taps or {}) if loss is None else loss.select_taps(taps or {}, of_student=True)
    shared = list(taps) if loss is None else loss.layers
    missing = sorted(set(shared) - set(teacher.taps.paths))
    if missing:
        raise ValueError(f"the teacher has no taps {missing}; it has {sorted(teacher.taps.paths)}.")
    if isinstance(teacher, CrossFittedTeacher) and loss is not None and (terms := loss.channel_terms):
        logger.warning(
            f"the teacher consists of {teacher.folds.count} networks, whose channels have nothing in common, but the "
            f"terms {', '.join(terms)} compare channels: the target of the student's features would change from "
            "patient to patient. Use a method that compares logits (kd, dist, dkd, cwd) or maps without channels (at, "
            "similarity), or set the weights of these terms to 0, or teacher_folds to 1."
        )
    if loss is not None and not loss.needs_teacher:
        return DistilledStudent(student, taps=taps, loss=loss)
    logits, shapes = tap_shapes(student, taps, tuple(input_shape))
    device = next(teacher.network.parameters()).device
    shown = torch.zeros(tuple(teacher_shape or input_shape), device=device)
    teacher_output: Any = (teacher_inferer or SimpleInferer())(shown, teacher)
    if logits[1] != teacher_output.logits.shape[1]:
        raise ValueError(
            f"the student gives {logits[1]} output channels, shape {logits}, but the teacher "
            f"{teacher_output.logits.shape[1]}, shape {tuple(teacher_output.logits.shape)}: soft targets need the "
            "same classes."
        )
    targets = {name: tuple(teacher_output.features[name].shape) for name in shared}
    for name, shape in ((name, shapes[name]) for name in shared):
        _check_grids(name, shape, targets[name], input_shape)
    projections: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in () if loss is None else loss.projected_layers:
            source, target = shapes[name], targets[name]
            # a projection becomes a submodule of this name
            if hasattr(nn.ModuleDict(), name) or "." in name:
                raise ValueError(
                    f"tap '{name}': PyTorch's modules have an attribute of that name, or the name contains a dot; "
                    "give the tap another name in both networks."
                )
            own = loss.projectors.get(name) if loss is not None else None
            if own is None and (len(source) != len(target) or len(source) < 3):
                raise ValueError(
                    f"tap '{name}': the student's feature has shape {source} and the teacher's {target}; "
                    "a 1x1 projection needs two maps of the same number of axes."
                )
            if loss is not None and loss.projection_side == "teacher":
                teacher.projections[name] = FrozenOrthogonalProjector(
                    in_channels=target[1], out_channels=source[1], spatial_dims=len(source) - 2, seed=seed
                ).to(device)
            else:
                made = (own or conv_projector)(source, target)
                projections[name] = made.to(next(student.parameters()).device)
        if loss is not None:
            projected = {name: _output_shape(made, shapes[name]) for name, made in projections.items()}
            said = {**targets, "logits": tuple(teacher_output.logits.shape)}
            loss.build({**shapes, "logits": logits}, projected, said)
            loss.to(next(student.parameters()).device)
    if rectified := [name for name, made in projections.items() if isinstance(getattr(made, "act", None), nn.ReLU)]:
        image = torch.randn(shown.shape, generator=torch.Generator().manual_seed(seed)).to(device)
        _check_signs(rectified, (teacher_inferer or SimpleInferer())(image, teacher))
    return DistilledStudent(student, taps=taps, projections=projections, loss=loss)


@torch.no_grad()
def _output_shape(projection: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    mode = projection.training
    device = next((value.device for value in projection.parameters()), torch.device("cpu"))
    found = tuple(projection.eval()(torch.zeros(tuple(shape), device=device)).shape)
    projection.train(mode)
    return found


def _check_grids(name: str, student: Sequence[int], teacher: Sequence[int], image: Sequence[int]) -> None:
    grid_s, grid_t = student[2:], teacher[2:]
    if len(grid_s) != len(grid_t) or not any(max(a, b) % min(a, b) for a, b in zip(grid_s, grid_t)):
        # tokens have no grid to compare
        return
    logger.warning(
        f"tap '{name}': the student's map is {_times(grid_s)} and the teacher's {_times(grid_t)} for an image of "
        f"{_times(image[2:])}, so one of the two pads it and their positions do not match; use images of a size that "
        "neither has to pad, such as a multiple of 32."
    )


def _check_signs(names: Sequence[str], teacher: Any) -> None:
    for name in names:
        below = float((teacher.features[name] < 0).float().mean())
        if below > 0:
            logger.warning(
                f"tap '{name}': {max(below, 0.01):.0%} of the teacher's feature for a random image lie below 0, where "
                "the student's projection, which ends in a ReLU, never gets: use a teacher whose stages end in a ReLU, "
                "such as a VGG, or another method, such as hcl."
            )


def _times(grid: Sequence[int]) -> str:
    return "x".join(map(str, grid))
