"""Teachers that answer for patients whose labels they have not seen."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from torch import nn

from ckdmed.data.splits import GROUP_KEY
from ckdmed.engines.teachers.folds import TeacherFolds
from ckdmed.engines.teachers.frozen import FrozenTeacher, weights_hash
from ckdmed.networks.taps import TappedOutput

__all__ = ["CrossFittedTeacher", "FoldNetworks", "fold_networks", "frozen_teacher"]


class FoldNetworks(nn.Module):
    """The K networks of cross-fitted teachers; as one network it gives the mean of their logits.

    The mean is what patients get whom none of them was trained on, such as those of the validation.

    Attributes:
        scores: of the trained teachers, see :func:`~ckdmed.engines.prepare_fold_teachers`.

    Shape: as each network.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.scores: dict[str, Any] = {}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.stack([network(image) for network in self.networks]).mean(dim=0)


def fold_networks(network: nn.Module, count: int) -> nn.Module:
    """``network`` itself for one fold; else K copies of it, which start from the same weights."""
    if count == 1:
        return network
    return FoldNetworks([network, *(copy.deepcopy(network) for _ in range(count - 1))])


class CrossFittedTeacher(FrozenTeacher):
    """K frozen teachers, each of which answers for the patients whose labels it was not trained on.

    A sample of a patient group of fold k gets the logits and features of teacher k; a sample of any other patient,
    who was labelled for none of them, the mean of all K. Logits are divided by the temperature of the folds.

    Features of different networks have no channels in common, though these start from the same weights: terms that
    compare logits, or maps without their channels, are what cross-fitting is made for.

    Args:
        network: the K networks.
        folds: who was trained without whom.
        taps, input_channels, spatial_dims, average_flips: of each, see :class:`~ckdmed.engines.FrozenTeacher`.

    Attributes:
        answered: patient group -> the folds whose teachers have answered for it so far (-1 for the mean).

    Raises:
        ValueError: another number of networks than folds; in the training, a batch without ``patient_group``.

    Source: Dao et al. 2021 (arXiv 2104.09732), section 4.
    """

    def __init__(
        self,
        network: FoldNetworks,
        folds: TeacherFolds,
        taps: Mapping[str, str] | None = None,
        input_channels: Sequence[int] | None = None,
        spatial_dims: int | None = None,
        average_flips: bool = False,
    ) -> None:
        if len(network.networks) != folds.count:
            raise ValueError(f"{len(network.networks)} networks for {folds.count} folds.")
        super().__init__(network, None, input_channels, spatial_dims, average_flips)
        self.folds = folds
        self.members = nn.ModuleList(
            FrozenTeacher(member, taps, input_channels, spatial_dims, average_flips) for member in network.networks
        )
        # of the same paths in each; read for the names alone
        self.taps = self.members[0].taps  # type: ignore[assignment]
        self.answered: dict[str, set[int]] = {}

    def for_samples(self, batch: Mapping[Hashable, Any], rows: Sequence[int] | None = None) -> nn.Module:
        """The teacher of these samples of a batch, each by its patient."""
        groups = batch.get(GROUP_KEY) if isinstance(batch, Mapping) else None
        if groups is None:
            raise ValueError(
                f"the batch has no '{GROUP_KEY}', which is needed to choose the teacher that has not seen a patient's "
                "label."
            )
        chosen = [str(groups[row]) for row in (range(len(groups)) if rows is None else rows)]
        found = [self.folds.held_out.get(group, -1) for group in chosen]
        for group, fold in zip(chosen, found):
            self.answered.setdefault(group, set()).add(fold)
        return _Answers(self, found)

    @torch.no_grad()
    def forward(self, image: torch.Tensor) -> TappedOutput:
        """The mean of all: for patients whom none was trained on."""
        return self.answers(image, [-1] * len(image))

    @torch.no_grad()
    def answers(self, image: torch.Tensor, folds: Sequence[int]) -> TappedOutput:
        """Each image by the teacher of its fold, -1 for the mean of all."""
        if isinstance(image, MetaTensor):
            image = image.as_tensor()
        if len(folds) != len(image):
            raise ValueError(f"{len(image)} images and {len(folds)} folds.")
        rows_of = {fold: [row for row, own in enumerate(folds) if own == fold] for fold in sorted(set(folds))}
        parts = {fold: self._of_fold(image[rows], fold) for fold, rows in rows_of.items()}
        # from the order of the folds back to that of the batch
        order = torch.tensor([row for rows in rows_of.values() for row in rows], device=image.device).argsort()
        logits = torch.cat([logits for logits, _ in parts.values()])[order] / self.folds.temperature
        features = {
            name: torch.cat([features[name] for _, features in parts.values()])[order] for name in self.taps.paths
        }
        return TappedOutput(logits=logits, features=features, projected=self.project(features))

    def _of_fold(self, image: torch.Tensor, fold: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        asked = list(self.members) if fold < 0 else [self.members[fold]]
        outputs = [member(image) for member in asked]
        features = {name: _mean([output.features[name] for output in outputs]) for name in self.taps.paths}
        return _mean([output.logits for output in outputs]), features

    def state_hash(self) -> str:
        """SHA-256 over the weights, who answers for whom, and the temperature."""
        parts = [weights_hash(self.network), sorted(self.folds.held_out.items()), self.folds.temperature]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class _Answers(nn.Module):
    """What an inferer runs: a cross-fitted teacher for the samples of one batch."""

    def __init__(self, teacher: CrossFittedTeacher, folds: Sequence[int]) -> None:
        super().__init__()
        self.teacher = teacher
        self.folds = list(folds)

    def forward(self, image: torch.Tensor) -> TappedOutput:
        return self.teacher.answers(image, self.folds)


def frozen_teacher(network: nn.Module, folds: TeacherFolds | None = None, **options: Any) -> FrozenTeacher:
    """A :class:`FrozenTeacher`, or with folds a :class:`CrossFittedTeacher`.

    Args:
        network: that of :func:`fold_networks`.
        folds: that of :func:`~ckdmed.engines.cross_fit`.
        options: of the teacher.
    """
    if folds is None:
        return FrozenTeacher(network, **options)
    if not isinstance(network, FoldNetworks):
        raise ValueError(f"{folds.count} folds need the networks of fold_networks, got a {type(network).__name__}.")
    return CrossFittedTeacher(network, folds, **options)


def _mean(values: Sequence[torch.Tensor]) -> torch.Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(dim=0)
