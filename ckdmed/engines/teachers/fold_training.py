"""Getting cross-fitted teachers: trained one by one, each without the patients for whom it answers, and scored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import Evaluator, default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from torch import distributed, nn
from torch.utils.data import DistributedSampler, RandomSampler, SequentialSampler

from ckdmed.data.brats import BalancedSliceSampler, ForegroundSliceSampler
from ckdmed.engines.teachers.cross_fitted import FoldNetworks
from ckdmed.engines.teachers.folds import FOLDS_NAME, TeacherFolds, check_folds, part_of, positions_of
from ckdmed.engines.teachers.frozen import FrozenTeacher, weights_hash
from ckdmed.engines.teachers.scored_loader import scored_loader
from ckdmed.engines.teachers.training import load_network, prepare_teacher
from ckdmed.metrics import fit_temperature
from ckdmed.networks.no_teacher import check_is_teacher
from ckdmed.networks.prepared import mark_prepared

__all__ = ["load_teacher", "loader_of", "prepare_fold_teachers"]

logger = logging.getLogger(__name__)

# values that the one temperature is fitted to at most; masks have a thousand times as many
_FITTED_VALUES = 1_000_000


def load_teacher(
    network: nn.Module,
    checkpoint: str | None,
    device: str | torch.device = "cpu",
    needed: bool = True,
    calibrate: bool = False,
) -> nn.Module:
    """Load a teacher's checkpoint, or those of cross-fitted teachers; nothing where there is none or it is not needed.

    Args:
        network: that of :func:`~ckdmed.engines.fold_networks`; it is put into evaluation mode.
        checkpoint: of one teacher, or the ``folds.json`` of several.
        device, needed: see :func:`~ckdmed.engines.load_network`.
        calibrate: see :func:`~ckdmed.engines.cross_fit`, which refuses the same settings once there are data.

    Raises:
        FileNotFoundError, ValueError: see :func:`~ckdmed.engines.load_network` and
            :func:`~ckdmed.engines.cross_fit`; ValueError also when weights are not those that the record of the folds
            was written for, and when what is needed is a :class:`~ckdmed.networks.no_teacher.NoTeacher`.
    """
    network.eval()
    if needed:
        check_is_teacher(network)
    check_folds(len(network.networks) if isinstance(network, FoldNetworks) else 1, checkpoint, calibrate)
    if not isinstance(network, FoldNetworks):
        return load_network(network, checkpoint, device, needed)
    if checkpoint and needed:
        folds = TeacherFolds.read(checkpoint)
        network.scores = folds.scores
        for member, file, recorded in zip(network.networks, folds.checkpoints, folds.hashes, strict=True):
            load_network(member, str(file), device)
            if (found := weights_hash(member)) != recorded:
                raise ValueError(
                    f"'{file}' has weights with SHA-256 {found[:12]}..., but {checkpoint} was written for "
                    f"{recorded[:12]}...: which patients it was trained on is unknown. Give the files that its "
                    "training wrote."
                )
    return network


def prepare_fold_teachers(
    network: nn.Module,
    checkpoint: str | None,
    train_data_loader: DataLoader,
    evaluator: Evaluator,
    output_dir: str,
    key_metric: str,
    folds: TeacherFolds | None = None,
    evaluator_of: Callable[..., Evaluator] | None = None,
    link: str = "sigmoid",
    inferer: Inferer | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
    resume: bool = False,
    needed: bool = True,
    prefix: str = "teacher",
    **training: Any,
) -> nn.Module:
    """Load or train the teacher, see :func:`~ckdmed.engines.prepare_teacher`; with folds K of them.

    The teacher of fold k is trained on the labelled patients of all other folds, into ``<output_dir>/fold<k>``, and
    ``<output_dir>/folds.json`` notes on whom. Every teacher is then scored on the patients that it was trained on (in
    fold) and on those that it was not (out of fold): the nearer the first score is to 1, the less its answers there
    add to the labels. The temperature that calibrates the answers out of fold is noted as well; the answers are means
    over mirror images where those of the folds are.

    Args:
        network: that of :func:`~ckdmed.engines.fold_networks`.
        checkpoint: of one teacher, or the ``folds.json`` of K.
        train_data_loader: labelled samples of all folds, with ``patient_group``.
        evaluator: of the network, used where there is one teacher. With folds its inferer and its way of taking
            a batch serve the calibration, and the training samples are prepared for the scores as those of its data
            loader, see :func:`~ckdmed.engines.teachers.scored_loader.scored_loader`.
        output_dir, key_metric, inferer, device, seed, resume, needed: as in ``prepare_teacher``; the teacher of fold k
            is trained with the seed ``seed + k``, counted from 0.
        folds: that of :func:`~ckdmed.engines.cross_fit`.
        evaluator_of: makes the evaluator of a network, ``evaluator_of(network)``; with ``val_data_loader`` on other
            data.
        link: "sigmoid" for masks and regions, "softmax" for classes; of the calibration.
        prefix, training: everything else of ``prepare_teacher``.

    Raises:
        ValueError: folds without what they need; a loader whose sampler cannot be kept to some patients; as
            ``prepare_teacher``; a resumed run whose folds would be others.
    """
    common: dict[str, Any] = {
        "key_metric": key_metric,
        "inferer": inferer,
        "device": device,
        "resume": resume,
        "needed": needed,
    }
    if folds is None or not needed:
        return prepare_teacher(
            network, checkpoint, train_data_loader, evaluator, output_dir=output_dir, seed=seed, prefix=prefix,
            **common, **training,
        )  # fmt: skip
    if evaluator_of is None or not isinstance(network, FoldNetworks):
        raise ValueError("folds need the networks of fold_networks, and evaluator_of.")
    record = Path(output_dir) / FOLDS_NAME
    if checkpoint:
        load_teacher(network, checkpoint, device)
        logger.info(f"teachers of {folds.count} folds: {checkpoint}")
    elif record.is_file():
        _take_up(network, folds, record, resume, device)
    else:
        names = [f"fold{fold + 1}" for fold in range(folds.count)]
        for fold, (name, member) in enumerate(zip(names, network.networks)):
            logger.info(f"teacher {name}, without {len(folds.unseen(fold))} of {len(folds.held_out)} patients")
            prepare_teacher(
                member,
                None,
                loader_of(train_data_loader, positions_of(train_data_loader.dataset, folds.seen(fold))),
                evaluator_of(member),
                output_dir=str(Path(output_dir) / name),
                seed=seed + fold,
                prefix=f"{prefix}/{name}",
                **common,
                **training,
            )
        scored = scored_loader(train_data_loader, evaluator.data_loader)
        folds.scores = _scores(network, folds, evaluator_of, scored, key_metric)
        folds.fitted = _fitted(network, folds, scored, evaluator, link, device)
        if not distributed.is_initialized() or distributed.get_rank() == 0:
            files = [f"{name}/teacher.pt" for name in names]
            folds.write(record, files, [weights_hash(member) for member in network.networks])
    network.scores = folds.scores
    _tell(folds)
    mark_prepared(network)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()


def _take_up(network: FoldNetworks, folds: TeacherFolds, path: Path, resume: bool, device: str | torch.device) -> None:
    """The teachers of the same run, finished before it was interrupted."""
    if not resume:
        raise ValueError(
            f"{path.parent} holds teachers of an earlier run, which are not overwritten: give {path} as the "
            "teacher_checkpoint, resume that run, or give another folder."
        )
    recorded = TeacherFolds.read(path, folds.calibrate, folds.average_flips)
    if recorded.held_out != folds.held_out:
        raise ValueError(
            f"{path} has other folds than this run: resume with the data and the split_seed it began with."
        )
    folds.fitted, folds.scores = recorded.fitted, recorded.scores
    load_teacher(network, str(path), device)


def _scores(
    network: FoldNetworks,
    folds: TeacherFolds,
    evaluator_of: Callable[..., Evaluator],
    loader: DataLoader,
    key_metric: str,
) -> dict[str, Any]:
    """Of each teacher on the patients that it was and was not trained on, and their means over the samples."""
    found: dict[str, list[float]] = {"in_fold": [], "out_of_fold": []}
    counts: dict[str, list[int]] = {"in_fold": [], "out_of_fold": []}
    for fold, member in enumerate(network.networks):
        for part, groups in (("in_fold", folds.seen(fold)), ("out_of_fold", folds.unseen(fold))):
            positions = positions_of(loader.dataset, groups)
            evaluator = evaluator_of(member, val_data_loader=loader_of(loader, positions))
            evaluator.run()
            found[part].append(float(evaluator.state.metrics[key_metric]))
            counts[part].append(len(positions))
    means = {part: float(np.average(values, weights=counts[part])) for part, values in found.items()}
    return {"metric": key_metric, **means, "folds": [dict(zip(found, row)) for row in zip(*found.values())]}


@torch.no_grad()
def _fitted(
    network: FoldNetworks,
    folds: TeacherFolds,
    loader: DataLoader,
    evaluator: Evaluator,
    link: str,
    device: str | torch.device,
) -> float:
    """The temperature of all answers out of fold; of masks as many random pixels of each as the fit can bear."""
    random = torch.Generator().manual_seed(0)
    logits: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    samples = len(loader.dataset)  # type: ignore[arg-type]
    inferer, prepare_batch = _inferer_of(evaluator), getattr(evaluator, "prepare_batch", default_prepare_batch)
    for fold, member in enumerate(network.networks):
        answers = _Answers(member, folds.average_flips)
        for batch in loader_of(loader, positions_of(loader.dataset, folds.unseen(fold))):
            image, label = (_plain(part) for part in prepare_batch(batch, device))
            output, label = _plain(inferer(image, answers)).float().cpu(), label.cpu()
            if link == "softmax":
                logits.append(output)
                labels.append(label.long())
                continue
            output, label = output.flatten(1), label.flatten(1)
            # drawn anew for each sample: a fixed step over the rows of an image meets the same columns in all of them
            step = max(output.shape[1] * samples // _FITTED_VALUES, 1)
            if step > 1:
                drawn = torch.randint(output.shape[1], (len(output), output.shape[1] // step), generator=random)
                output, label = output.gather(1, drawn), label.gather(1, drawn)
            logits.append(_as_two_classes(output))
            labels.append((label > 0.5).long().flatten())
    return fit_temperature(torch.cat(logits), torch.cat(labels))


class _Answers(nn.Module):
    """The logits of a teacher as a student is given them, for an inferer that wants a network of one output."""

    def __init__(self, network: nn.Module, average_flips: bool) -> None:
        super().__init__()
        self.teacher = FrozenTeacher(network, average_flips=average_flips)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.teacher(image).logits
        return logits


def _inferer_of(evaluator: Evaluator) -> Inferer:
    """What runs a network on whole samples, such as a sliding window."""
    found = getattr(evaluator, "inferer", None)
    return SimpleInferer() if found is None else found


def _as_two_classes(logits: torch.Tensor) -> torch.Tensor:
    flat = logits.flatten()
    return torch.stack([torch.zeros_like(flat), flat], dim=1)


def loader_of(loader: DataLoader, positions: Iterable[int]) -> DataLoader:
    """A loader like the given one, restricted to some of its samples.

    Raises:
        ValueError: no samples, or a sampler of which nobody knows how to keep it to some samples.
    """
    chosen = list(positions)
    if not chosen:
        raise ValueError("no sample of these patients is in the data: give fewer teacher_folds.")
    part = part_of(loader.dataset, chosen)
    sampler: Any = loader.sampler
    options: dict[str, Any] = {"batch_size": loader.batch_size, "num_workers": loader.num_workers}
    if isinstance(sampler, (BalancedSliceSampler, ForegroundSliceSampler)):
        options["sampler"] = sampler.within(chosen)
    elif isinstance(sampler, DistributedSampler):
        kept = {name: getattr(sampler, name) for name in ("num_replicas", "rank", "shuffle", "seed", "drop_last")}
        options["sampler"] = type(sampler)(dataset=part, **kept)
    elif isinstance(sampler, (RandomSampler, SequentialSampler)):
        options["shuffle"] = isinstance(sampler, RandomSampler)
    else:
        raise ValueError(f"a {type(sampler).__name__} cannot be restricted to some patients: set teacher_folds to 1.")
    return type(loader)(part, **options)


def _tell(folds: TeacherFolds) -> None:
    scores = folds.scores
    if scores:
        logger.info(
            f"teachers of {folds.count} folds: {scores['metric']} {scores['in_fold']:.4f} on the patients that they "
            f"were trained on, {scores['out_of_fold']:.4f} on the others; temperature that calibrates them "
            f"{folds.fitted:.3f}, {'used' if folds.calibrate else 'not used'}"
        )


def _plain(tensor: Any) -> torch.Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else torch.as_tensor(tensor)
