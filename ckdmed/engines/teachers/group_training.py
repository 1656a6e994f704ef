"""Several teachers around a training: trained or loaded before it, resumed, and saved after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.inferers import Inferer
from torch import nn

from ckdmed.engines.teachers.frozen import weights_hash
from ckdmed.engines.teachers.group import CooperativeTeachers, TeacherEnsemble
from ckdmed.engines.teachers.performance import TeacherPerformance
from ckdmed.engines.teachers.training import load_network, prepare_teacher
from ckdmed.files import save_weights
from ckdmed.inferers.channels import ChannelsInferer
from ckdmed.networks.no_teacher import check_is_teacher

__all__ = ["TeachersState", "load_teachers", "prepare_teachers", "save_teachers"]

logger = logging.getLogger(__name__)


def prepare_teachers(
    ensemble: TeacherEnsemble,
    checkpoints: Mapping[str, str] | None,
    train_data_loader: DataLoader,
    val_data_loader: Iterable[Any],
    loss_function: Callable,
    output_dir: str,
    learning: bool = False,
    postprocessing: Callable | None = None,
    inferer: Inferer | None = None,
    val_inferer: Inferer | None = None,
    device: str | torch.device = "cpu",
    needed: bool = True,
    metric: Callable[[], Any] | None = None,
    **training: Any,
) -> None:
    """Load each teacher, or train it alone on its own channels, see :func:`~ckdmed.engines.prepare_teacher`.

    Args:
        ensemble: the teachers.
        checkpoints: teacher's name -> plain ``state_dict`` file; those without one are trained, into
            ``<output_dir>/<name>/teacher.pt``.
        train_data_loader: labelled samples with the channels of all.
        val_data_loader, postprocessing: of the validation, its mean Dice decides which weights are saved.
        learning: True for teachers that learn together with the student: those with a checkpoint start from it, and
            nothing is trained here.
        metric: makes the metric of a validation; MONAI's ``MeanDice`` of each sample by default.
        inferer, val_inferer: for training and validation; each teacher gets its channels before them.
        training: epochs, learning_rate, weight_decay, seed, resume, val_interval, summary_writer.

    Raises:
        ValueError: a checkpoint of a teacher that does not exist; see ``prepare_teacher``.
    """
    given = dict(checkpoints or {})
    if not needed:
        logger.info("no term of the loss uses a teacher: none is loaded or trained")
        return
    load_teachers(ensemble, given, device)
    for name, network in ensemble.networks.items():
        if learning:
            if name in given:
                logger.info(f"teacher {name} starts from {given[name]}")
            continue
        evaluator = SupervisedEvaluator(
            device=torch.device(device),
            val_data_loader=val_data_loader,
            network=network,
            inferer=ChannelsInferer(ensemble.views[name], val_inferer),
            postprocessing=postprocessing,  # type: ignore[arg-type]
            key_val_metric={"val_mean_dice": metric() if metric is not None else _mean_dice()},
        )
        logger.info(f"teacher {name}, of channels {ensemble.views[name]}")
        prepare_teacher(
            network,
            given.get(name),
            train_data_loader,
            evaluator,
            loss_function,
            str(Path(output_dir) / name),
            "val_mean_dice",
            inferer=ChannelsInferer(ensemble.views[name], inferer),
            device=device,
            prefix=f"teacher/{name}",
            **training,
        )


def load_teachers(
    ensemble: TeacherEnsemble,
    checkpoints: Mapping[str, str] | None,
    device: str | torch.device = "cpu",
    needed: bool = True,
) -> None:
    """Put all into evaluation mode and load those that have a checkpoint; none where no term of the loss has a teacher.

    Raises:
        ValueError: a checkpoint of a teacher that does not exist; see :func:`~ckdmed.engines.load_network`; a needed
            teacher that is a :class:`~ckdmed.networks.no_teacher.NoTeacher`.
    """
    ensemble.eval()
    if needed:
        check_is_teacher(ensemble)
    given = dict(checkpoints or {}) if needed else {}
    if unknown := sorted(set(given) - set(ensemble.names)):
        raise ValueError(f"there are no teachers {unknown}; there are {', '.join(ensemble.names)}.")
    for name, checkpoint in given.items():
        load_network(ensemble.networks[name], checkpoint, device)


def _mean_dice() -> MeanDice:
    return MeanDice(output_transform=from_engine(["pred", "label"]))


def save_teachers(ensemble: TeacherEnsemble, folder: str, save: bool = True) -> list[Path]:
    """Write each teacher's weights as ``<folder>/<name>.pt``, a plain ``state_dict``; on one rank alone (``save``)."""
    if not save:
        return []
    return [
        save_weights(Path(folder) / f"{name}.pt", {k: v.detach().cpu() for k, v in network.state_dict().items()})
        for name, network in ensemble.networks.items()
    ]


class TeachersState:
    """All that a resumed training needs of its teachers: give it to ``ResumeCheckpoint`` among the objects.

    Of what learns the weights and the state of optimiser and schedule, of frozen teachers the hash, by which a resumed
    run notices that its teachers are others; and the shares.

    Args:
        teacher: a frozen teacher, or :class:`~ckdmed.engines.CooperativeTeachers`.
        optimizer, lr_scheduler: of what learns.
        performance: keeps the shares.
        alignment: of peers, with the states of its own optimisers.

    Raises:
        ValueError: on loading, when frozen teachers have other weights, or a run of learning teachers is resumed with
            frozen ones or the other way round.
    """

    def __init__(
        self,
        teacher: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        lr_scheduler: Any = None,
        performance: TeacherPerformance | None = None,
        alignment: nn.Module | None = None,
    ) -> None:
        self.teacher = teacher
        self.learns = isinstance(teacher, CooperativeTeachers) and teacher.learning
        parts = {"optimizer": optimizer, "lr_scheduler": lr_scheduler, "performance": performance}
        parts["alignment"] = alignment  # type: ignore[assignment]
        if isinstance(teacher, CooperativeTeachers):
            parts["weights"] = teacher if teacher.learning else teacher.fusion  # type: ignore[assignment]
        self.parts: dict[str, Any] = {name: part for name, part in parts.items() if part is not None}
        self._hash: str | None = None

    def _frozen(self) -> str:
        """Hash of what does not learn, taken once."""
        if self._hash is None:
            frozen = self.teacher.teachers if isinstance(self.teacher, CooperativeTeachers) else self.teacher
            self._hash = "" if self.learns else weights_hash(frozen)
        return self._hash

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {"sha256": self._frozen(), **{name: part.state_dict() for name, part in self.parts.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Compare what is frozen and restore the rest."""
        if set(state) != {"sha256", *self.parts}:
            raise ValueError(f"teachers with {sorted(state)}, now with {sorted({'sha256', *self.parts})}")
        if state["sha256"] != self._frozen():
            raise ValueError(f"weights with SHA-256 {state['sha256'][:12]}..., now {self._frozen()[:12]}...")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
