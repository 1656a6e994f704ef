"""Several teachers as one module: side by side, and with what they find together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from torch import nn

from ckdmed.engines.teachers.frozen import FrozenTeacher
from ckdmed.losses.cooperative import HEAD
from ckdmed.losses.performance_weights import TeacherShares
from ckdmed.networks.cooperative_fusion import CooperativeFusion
from ckdmed.networks.segmentation_kinds import head_weights, middle_stage
from ckdmed.networks.segmentation_teacher import HYBRID_TEACHERS, segmentation_teacher, segmentation_teacher_taps
from ckdmed.networks.taps import TappedOutput, Taps, tap_shapes
from ckdmed.paths import checked_name

__all__ = [
    "CooperativeTeachers",
    "MODES",
    "TeacherAverage",
    "TeacherEnsemble",
    "attach_fusion",
    "group_teachers",
    "parallel_teachers",
    "teacher_ensemble",
]

# what learns beside the student: nothing, the fusion of frozen teachers, or teachers and fusion
MODES = ("frozen", "fusion", "online")


class TeacherEnsemble(nn.Module):
    """Several networks, each of which sees its own channels of the batch; their logits one after another.

    Frozen teachers are ``FrozenTeacher(TeacherEnsemble(...))``, with everything that a frozen teacher can do.

    Args:
        networks: name -> network from its channels to C logits on the grid of the image.
        views: name -> the channels that it sees, see :class:`~ckdmed.engines.ChannelMap`.

    Shape: (B, channels of the batch, *spatial) to (B, K * C, *spatial).

    Raises:
        ValueError: no networks, views of other names, or a name that cannot be that of a file; in forward, a view of
            channels that the batch does not have.
    """

    def __init__(self, networks: Mapping[str, nn.Module], views: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        if not networks or list(networks) != list(views):
            raise ValueError(f"networks {list(networks)} and views {list(views)} must have the same names.")
        for name in networks:
            checked_name(name, "the teacher")
        self.networks = nn.ModuleDict(dict(networks))
        self.views = {name: [int(channel) for channel in view] for name, view in views.items()}

    @property
    def names(self) -> list[str]:
        """Of the teachers, in order."""
        return list(self.views)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        wanted = max(max(view) for view in self.views.values())
        if image.shape[1] <= wanted:
            raise ValueError(f"the batch has {image.shape[1]} channels, but a teacher sees channel {wanted}.")
        return torch.cat([network(image[:, self.views[name]]) for name, network in self.networks.items()], dim=1)


class TeacherAverage(nn.Module):
    """The teachers' mean, each weighted by its share: one network, to evaluate or to compare a student with.

    It is the logits that are averaged. Like a frozen teacher it is always in evaluation mode: an evaluator that puts a
    network back into the mode in which it found it would set the teachers learning their batches' statistics.

    Shape: (B, channels of the batch, *spatial) to (B, C, *spatial).
    """

    def __init__(self, ensemble: TeacherEnsemble, shares: TeacherShares) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.shares = shares
        # not recursively: teachers that learn keep their mode until it is set explicitly
        self.training = False

    def train(self, mode: bool = True) -> TeacherAverage:
        """Stay in evaluation mode, whatever ``mode`` is given."""
        return super().train(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        output = self.ensemble(image)
        apart = output.unflatten(1, (len(self.ensemble.names), -1))
        weights = self.shares.shares.to(apart)
        return (apart * weights.reshape(*weights.shape, *(1,) * (apart.ndim - 3))).sum(dim=1)


class CooperativeTeachers(nn.Module):
    """Teachers together with the fusion of their decoder features; trained by an optimiser of their own.

    Args:
        ensemble: the teachers.
        taps: name -> path of the decoder feature that enters the fusion, in each teacher's network.
        fusion: from those features, in the order of the teachers, to C logits; None for teachers without it.
        learning: True: the teachers learn, with the fusion. False: they stay as they are, buffers included, and the
            fusion alone learns.

    Shape: (B, channels of the batch, *spatial) to a :class:`~ckdmed.networks.taps.TappedOutput` with logits
        (B, K * C, *spatial) and the cooperative logits as feature ``HEAD``.

    Raises:
        ValueError: taps of other names than the teachers; a path that names no submodule; neither fusion nor learning.
    """

    def __init__(
        self,
        ensemble: TeacherEnsemble,
        taps: Mapping[str, str] | None = None,
        fusion: CooperativeFusion | None = None,
        learning: bool = True,
    ) -> None:
        super().__init__()
        paths = _paths(ensemble, taps or {}) if fusion is not None else {}
        if fusion is None and not learning:
            raise ValueError("nothing would learn; for frozen teachers without fusion use FrozenTeacher(ensemble).")
        self.learning = learning
        self.fusion = fusion
        self.teachers: nn.Module
        if learning:
            self.teachers = ensemble
            self.taps = Taps(ensemble, paths)
        else:
            self.teachers = FrozenTeacher(ensemble, taps=paths)

    @property
    def ensemble(self) -> TeacherEnsemble:
        """The teachers alone."""
        found: Any = self.teachers if self.learning else self.teachers.network
        return found

    def forward(self, image: torch.Tensor) -> TappedOutput:
        if isinstance(image, MetaTensor):
            image = image.as_tensor()
        if self.learning:
            with self.taps:
                logits = self.teachers(image)
            features = self.taps.collect()
        else:
            output = self.teachers(image)
            logits, features = output.logits, output.features
        if self.fusion is None:
            return TappedOutput(logits, {}, {})
        return TappedOutput(logits, {HEAD: self.fusion([features[name] for name in self.ensemble.names])}, {})


def attach_fusion(
    ensemble: TeacherEnsemble,
    taps: Mapping[str, str],
    classes: int,
    input_shape: Sequence[int],
    seed: int = 0,
) -> CooperativeFusion:
    """Build the fusion for the teachers' features, with their channels found by one dry run.

    Args:
        ensemble, taps: see :class:`CooperativeTeachers`.
        classes: C.
        input_shape: (B, channels of the batch, *spatial).
        seed: the fusion starts from this seed; the global random state stays as it was.

    Raises:
        ValueError: see :class:`CooperativeTeachers`; features on several grids.
    """
    _, shapes = tap_shapes(ensemble, _paths(ensemble, taps), tuple(input_shape))
    found = [shapes[name] for name in ensemble.names]
    if len({shape[2:] for shape in found}) != 1:
        raise ValueError(
            f"the teachers' features lie on several grids, {dict(zip(ensemble.names, found))}: tap decoder stages of "
            "one resolution."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fusion = CooperativeFusion([shape[1] for shape in found], classes, spatial_dims=len(found[0]) - 2)
    return fusion.to(next(ensemble.parameters()).device)


def teacher_ensemble(
    views: Mapping[str, Sequence[int]], kind: str | Sequence[str] = "unet_vit", **settings: Any
) -> TeacherEnsemble:
    """Teachers of :func:`~ckdmed.networks.segmentation_teacher`, one for each view.

    Args:
        views: see :class:`TeacherEnsemble`; a network has as many inputs as its view has channels.
        kind: of all, or a list of one kind each.
        settings: everything else that the function takes, the same for all; of several kinds, what joins two networks
            is for those that have two.

    Raises:
        ValueError: another number of kinds than views; deep supervision; see the function.
    """
    kinds = _kinds(kind, len(views))
    for_one = {key: value for key, value in settings.items() if key not in ("fuse", "resolutions", "map_weights")}
    hybrids = set(kinds) & set(HYBRID_TEACHERS)
    networks = {
        name: segmentation_teacher(
            kind=own, in_channels=len(view), **(settings if own in hybrids or not hybrids else for_one)
        )
        for own, (name, view) in zip(kinds, views.items())
    }
    for own, network in zip(kinds, networks.values()):
        if head_weights(network):
            raise ValueError(
                f"a {own} teacher with deep supervision has several outputs in training, which teachers of several "
                "views cannot have: set deep_supervision to false in its options."
            )
    return TeacherEnsemble(networks, views)


def group_teachers(
    ensemble: TeacherEnsemble,
    mode: str,
    kind: str | Sequence[str],
    classes: int,
    input_shape: Sequence[int],
    seed: int = 0,
) -> FrozenTeacher | CooperativeTeachers:
    """The teachers as the trainer takes them: "frozen", "fusion" (of frozen teachers' features) or "online".

    The fusion reads the decoder stages of half the image's resolution, of DeepMedic its features on the whole grid.

    Args:
        ensemble, kind: see :func:`teacher_ensemble`.
        classes, input_shape, seed: see :func:`attach_fusion`.

    Raises:
        ValueError: an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"the teachers' mode must be one of {', '.join(MODES)}, got {mode!r}.")
    if mode == "frozen":
        return FrozenTeacher(ensemble)
    kinds = _kinds(kind, len(ensemble.names))
    own = {name: segmentation_teacher_taps(kind_of) for name, kind_of in zip(ensemble.names, kinds)}
    # a network of another make brings its own
    brought = {name: getattr(network, "decoder_taps", None) for name, network in ensemble.networks.items()}
    taps = {name: middle_stage(brought[name] or own[name]) for name in ensemble.names}
    fusion = attach_fusion(ensemble, taps, classes, input_shape, seed)
    return CooperativeTeachers(ensemble, taps, fusion, learning=mode == "online")


def parallel_teachers(teachers: nn.Module, device: torch.device, learn: bool) -> nn.Module:
    """The teachers of a run of several processes: those that learn share their gradients."""
    if not learn:
        return teachers
    return nn.parallel.DistributedDataParallel(teachers, device_ids=[device] if device.type == "cuda" else None)


def _kinds(kind: str | Sequence[str], count: int) -> list[str]:
    kinds = [kind] * count if isinstance(kind, str) else list(kind)
    if len(kinds) != count:
        raise ValueError(f"there are {len(kinds)} kinds of teachers, {kinds}, but {count} views.")
    return kinds


def _paths(ensemble: TeacherEnsemble, taps: Mapping[str, str]) -> dict[str, str]:
    if list(taps) != ensemble.names:
        raise ValueError(f"each teacher needs a tap for the fusion: teachers {ensemble.names}, taps {list(taps)}.")
    return {name: f"networks.{name}.{path}" for name, path in taps.items()}
