"""The teacher that is made of a bundle."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ckdmed.engines.teachers.training import load_network
from ckdmed.labels import REGIONS
from ckdmed.networks.exclusive_regions import log_odds
from ckdmed.networks.no_teacher import NoTeacher
from ckdmed.networks.segmentation_teacher import segmentation_teacher, segmentation_teacher_taps
from ckdmed.zoo_teacher.bundle_layout import ZooBundle, open_bundle
from ckdmed.zoo_teacher.channel_names import match_modalities, match_regions
from ckdmed.zoo_teacher.decoder_taps import DECODER_STAGES, decoder_taps
from ckdmed.zoo_teacher.errors import TeacherBundleError
from ckdmed.zoo_teacher.grids import warn_of_other_grids
from ckdmed.zoo_teacher.intensities import own_intensities

__all__ = ["ZooTeacher", "segmentation_teacher_of", "taps_of", "zoo_teacher"]

logger = logging.getLogger(__name__)


class ZooTeacher(nn.Module):
    """A bundle's network behind the student's channels and regions; it is trained and never changes.

    Args:
        network: from its own channels to its own outputs, raw logits.
        modalities: which of the batch's channels each of its channels is.
        regions: which of its outputs each region is.
        intensities: from the student's scale to its own.
        taps: of its stages, paths in ``network``; kept as ``decoder_taps``, seen from here.
        source: what the log calls it.
        softmax: its outputs exclude each other; a region is given as its log-odds against all others.

    Shape: (B, C, *spatial) to (B, len(regions), *spatial), of a classifier (B, len(regions)).
    """

    def __init__(
        self,
        network: nn.Module,
        modalities: Sequence[int],
        regions: Sequence[int],
        intensities: nn.Module,
        taps: Mapping[str, str],
        source: str,
        softmax: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.softmax = softmax
        self.intensities = intensities
        self.modalities = list(modalities)
        self.regions = list(regions)
        self.decoder_taps = {name: f"network.{path}" for name, path in taps.items()}
        # whoever trains teachers leaves a network with this as it is
        self.trained_elsewhere = source

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.network(self.intensities(x[:, self.modalities]))
        return log_odds(logits.float(), self.regions) if self.softmax else logits[:, self.regions]


def zoo_teacher(
    bundle: str | os.PathLike[str],
    modalities: Sequence[str],
    size: Sequence[int],
    trusted: bool = False,
    taps: Mapping[str, str] | None = None,
    regions: Sequence[str] = REGIONS,
    scaling: str = "zscore",
    clahe: bool | str = False,
    augmentation: str = "flips",
) -> ZooTeacher:
    """Build a bundle's network, load its weights, and match its channels and regions by name; both are logged.

    Args:
        bundle: folder with an inference configuration, metadata and weights, in the layout of the Model Zoo or of this
            package.
        modalities: of the student's batch, in its order.
        size: spatial size of its images.
        trusted: that the bundle's configuration, which is code, may run.
        taps: d4 to d1 -> paths in its network; found by :func:`decoder_taps` without them.
        regions: that the student learns, in its order.
        scaling, clahe: intensities of its images, see :class:`~ckdmed.transforms.BrainIntensity`.
        augmentation: of these images in the training, see :func:`own_intensities`.

    Raises:
        TeacherBundleError: as the parts of this package; a path of ``taps`` that the network does not have; other
            outputs than the metadata say; outputs that exclude each other, as these regions do not.
        ValueError: the bundle's own code cannot build its network.
    """
    opened = open_bundle(bundle, trusted)
    own_channels = opened.channel_names("inputs", "image")
    own_regions = opened.channel_names("outputs", "pred")
    from_batch = match_modalities(own_channels, modalities)
    to_regions = match_regions(own_regions, regions)
    if opened.softmax_outputs():
        raise TeacherBundleError(
            f"the outputs of '{opened.folder}' exclude each other (a softmax), but the regions {', '.join(regions)} "
            "lie inside one another: choose a bundle with a sigmoid for each region."
        )
    intensities = own_intensities(opened, scaling, clahe, augmentation)
    for number, position in enumerate(from_batch):
        logger.info(f"its channel {number} ('{own_channels[number]}') is the student's {modalities[position]}")
    outputs = dict(zip(regions, to_regions, strict=True))
    return teacher_of_parts(opened, from_batch, outputs, intensities, size, taps)


def teacher_of_parts(
    opened: ZooBundle,
    from_batch: Sequence[int],
    outputs: Mapping[str, int],
    intensities: nn.Module,
    size: Sequence[int],
    taps: Mapping[str, str] | None = None,
    stages: Mapping[str, int] = DECODER_STAGES,
    softmax: bool = False,
) -> ZooTeacher:
    """Build an opened bundle's network and load its weights; what is which was matched before.

    Args:
        opened: the bundle.
        from_batch: which of the batch's channels each of its channels is.
        outputs: what the student learns, in its order -> the bundle's output.
        intensities: from the student's scale to its own, of its channels.
        size: of the images.
        taps: stages -> paths in its network; found by :func:`decoder_taps` without them.
        stages: see there.
        softmax: see :class:`ZooTeacher`.

    Raises:
        TeacherBundleError: as :func:`zoo_teacher`.
    """
    network = _built(opened)
    if not isinstance(network, nn.Module):
        raise TeacherBundleError(f"network_def of '{opened.config}' is a {type(network).__name__}, not a network.")
    load_network(network, str(opened.weights))
    known = {name for name, _ in network.named_modules()}
    if wrong := [path for path in (taps or {}).values() if path not in known]:
        raise TeacherBundleError(f"the network of '{opened.folder}' ({type(network).__name__}) has no modules {wrong}.")
    warn_of_other_grids(opened, size)
    shape = (1, len(from_batch), *size)
    names = opened.channel_names("outputs", "pred")
    found = decoder_taps(network, shape, stages)
    _check_outputs(network, shape, names, str(opened.folder))
    chosen = dict(taps) if taps else found
    logger.info(f"teacher: {type(network).__name__} of the bundle {opened.folder}")
    for name, number in outputs.items():
        logger.info(f"its output {number} ('{names[number]}') is the student's {name}")
    if softmax:
        logger.info("its outputs exclude each other: each is taken as its log-odds against all others")
    logger.info(f"it is tapped at {chosen}; its intensities: {type(intensities).__name__}")
    source = f"the bundle {opened.folder}"
    return ZooTeacher(network, from_batch, list(outputs.values()), intensities, chosen, source, softmax)


def _built(opened: ZooBundle) -> Any:
    try:
        return opened.parser.get_parsed_content("network_def")
    # whatever the bundle's own code raises
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        remedy = "fix its configuration"
        if isinstance(cause, ImportError):
            remedy = f"install what it needs, or name the folder of its own code, such as PYTHONPATH={opened.folder}"
        raise ValueError(
            f"network_def of '{opened.config}' cannot be built ({type(cause).__name__}: {cause}): {remedy}."
        ) from error


@torch.no_grad()
def _check_outputs(network: nn.Module, shape: tuple[int, ...], names: Mapping[int, str], folder: str) -> None:
    was = network.training
    count = network.eval()(torch.zeros(shape)).shape[1]
    network.train(was)
    if count != len(names):
        raise TeacherBundleError(f"the network of '{folder}' has {count} outputs; its metadata name {len(names)}.")


def check_alone(checkpoint: str | None, folds: int) -> None:
    """Refuse other teachers beside a bundle's.

    Raises:
        TeacherBundleError: names what was given.
    """
    if checkpoint or folds != 1:
        given = "--teacher_checkpoint" if checkpoint else f"--teacher_folds {folds}"
        raise TeacherBundleError(
            f"--teacher_bundle brings trained weights, but {given} brings others: give one of the two."
        )


def segmentation_teacher_of(
    bundle: str | None = None,
    trusted: bool = False,
    modalities: Sequence[str] = (),
    size: Sequence[int] = (),
    taps: Mapping[str, str] | None = None,
    checkpoint: str | None = None,
    folds: int = 1,
    scaling: str = "zscore",
    clahe: bool | str = False,
    augmentation: str = "flips",
    regions: Sequence[str] = REGIONS,
    needed: bool = True,
    **settings: Any,
) -> nn.Module:
    """A teacher of a bundle, or without one that of :func:`~ckdmed.networks.segmentation_teacher`.

    Args:
        bundle, trusted, modalities, size, taps, scaling, clahe, augmentation, regions: see :func:`zoo_teacher`.
        checkpoint, folds: what the other settings say of a teacher, which a bundle contradicts.
        needed: whether anything learns from it; :class:`~ckdmed.networks.no_teacher.NoTeacher` takes its place else.
        settings: of ``segmentation_teacher``.

    Raises:
        TeacherBundleError: a bundle beside a checkpoint, folds, or several slices as channels; as both functions.
    """
    if not needed:
        return NoTeacher(settings["out_channels"])
    if not bundle:
        return segmentation_teacher(**settings)
    check_alone(checkpoint, folds)
    if settings.get("in_channels") != len(modalities):
        raise TeacherBundleError(
            "a teacher from a bundle sees one slice or volume of each sequence: give --neighbours 0."
        )
    return zoo_teacher(bundle, modalities, size, trusted, taps, regions, scaling, clahe, augmentation)


def taps_of(teacher: nn.Module, kind: str, options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Paths of a teacher's decoder stages: those of its bundle, else ``segmentation_teacher_taps`` of its kind; none
    where there is no teacher."""
    if isinstance(teacher, ZooTeacher):
        return dict(teacher.decoder_taps)
    return {} if isinstance(teacher, NoTeacher) else segmentation_teacher_taps(kind, options, teacher)
