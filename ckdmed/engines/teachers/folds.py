"""Which patients' labels each of several cross-fitted teachers does without, and the record of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from torch.utils.data import Dataset, Subset

from ckdmed.counted import counted
from ckdmed.data.brats import BratsSliceDataset
from ckdmed.data.splits import CLASS_KEY, GROUP_KEY, k_folds
from ckdmed.files import write_json
from ckdmed.json_files import read_json

__all__ = ["FOLDS_NAME", "TeacherFolds", "check_folds", "cross_fit", "folds_in", "part_of", "positions_of"]

FOLDS_NAME = "folds.json"


@dataclass
class TeacherFolds:
    """The patients of each fold; the teacher of a fold is trained without their labels.

    Attributes:
        count: K, how many teachers there are.
        held_out: patient group -> the fold whose teacher has not seen its labels. A group that is not among them was
            labelled for none of the teachers.
        calibrate: whether the teachers' logits are divided by the temperature that was fitted out of fold.
        fitted: that temperature, once it is.
        average_flips: whether it is that of answers which are means over mirror images.
        scores: of the teachers, see :func:`~ckdmed.engines.prepare_fold_teachers`.
        checkpoints: the trained teachers' files, where they are given.
        hashes: of their weights.
    """

    count: int
    held_out: Mapping[str, int]
    calibrate: bool = False
    fitted: float = 1.0
    scores: dict[str, Any] = field(default_factory=dict)
    checkpoints: tuple[Path, ...] = ()
    hashes: tuple[str, ...] = ()
    average_flips: bool = False

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return self.fitted if self.calibrate else 1.0

    def unseen(self, fold: int) -> list[str]:
        """The groups that the teacher of a fold was trained without."""
        return sorted(group for group, own in self.held_out.items() if own == fold)

    def seen(self, fold: int) -> list[str]:
        """The groups whose labels the teacher of a fold was trained on."""
        return sorted(group for group, own in self.held_out.items() if own != fold)

    def write(self, path: PathLike, files: Sequence[str], hashes: Sequence[str]) -> None:
        """Note who was trained on whom, and what came of it, beside the teachers."""
        teachers = [
            {
                "checkpoint": file,
                "weights_sha256": weights,
                "trained_on": self.seen(fold),
                "held_out": self.unseen(fold),
            }
            for fold, (file, weights) in enumerate(zip(files, hashes, strict=True))
        ]
        record = {
            "teacher_folds": self.count,
            "temperature": self.fitted,
            "average_flips": self.average_flips,
            "scores": self.scores,
            "teachers": teachers,
        }
        write_json(Path(path), record)

    @classmethod
    def read(cls, path: PathLike, calibrate: bool = False, average_flips: bool | None = None) -> TeacherFolds:
        """The folds that a training recorded.

        Args:
            path: of the record.
            calibrate: see the class.
            average_flips: of the answers that are to be calibrated, None for those of the record.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no such record, or by it a teacher was trained on a patient that it should not know; the
                temperature is of other answers than those that are to be calibrated.
        """
        content = read_json(path)
        try:
            teachers = [(str(t["checkpoint"]), set(t["trained_on"]), set(t["held_out"])) for t in content["teachers"]]
            found = cls(
                count=int(content["teacher_folds"]),
                held_out={str(group): fold for fold, (_, _, groups) in enumerate(teachers) for group in groups},
                calibrate=calibrate,
                fitted=float(content["temperature"]),
                scores=dict(content["scores"]),
                checkpoints=tuple(Path(path).parent / file for file, _, _ in teachers),
                hashes=tuple(str(t["weights_sha256"]) for t in content["teachers"]),
                # records from before it was noted are of answers to the images as they are
                average_flips=bool(content.get("average_flips", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a record of cross-fitted teachers ({type(error).__name__}: {error}): give the "
                f"{FOLDS_NAME} that a training with teacher_folds writes to its folder 'teacher'."
            ) from error
        if found.count != len(teachers) or found.count < 2 or not found.fitted > 0:
            raise ValueError(
                f"{path} says teacher_folds {found.count}, temperature {found.fitted}, and has {len(teachers)} "
                "teachers: it was changed; give it as the training wrote it."
            )
        if calibrate and average_flips not in (None, found.average_flips):
            raise ValueError(
                f"the temperature of {path} was fitted with teacher_flips {str(found.average_flips).lower()} and "
                "calibrates no other outputs: give that, or set calibrate_teacher to false."
            )
        for fold, (file, trained_on, held_out) in enumerate(teachers):
            known = sorted(trained_on & held_out)
            if known or held_out != set(found.unseen(fold)):
                raise ValueError(
                    f"{path}: the teacher '{file}' would teach on patients that it was trained on or that another one "
                    f"teaches on ({', '.join(known[:5]) or 'the folds overlap'}): give the record as its training "
                    "wrote it."
                )
        return found


def cross_fit(
    count: int,
    items: Sequence[Mapping[str, Any]],
    seed: int = 0,
    checkpoint: str | None = None,
    calibrate: bool = False,
    average_flips: bool = False,
) -> TeacherFolds | None:
    """The folds of a training: drawn by patient group and class, or those of given teachers.

    Args:
        count: K; 1 for one teacher of all patients.
        items: of the training section, with ``patient_group``, ``labelled`` (those without labels are passed over), and
            the class as ``tumor_label`` or ``label``.
        seed: of the folds.
        checkpoint: the ``folds.json`` of teachers that exist; None draws folds for new ones.
        calibrate, average_flips: see :class:`TeacherFolds`.

    Returns:
        None for one teacher.

    Raises:
        ValueError: fewer patient groups than folds; a checkpoint of one teacher for several folds, the other way
            round, or of another number of folds; calibration of one teacher, or by a temperature of other answers.
    """
    check_folds(count, checkpoint, calibrate)
    if count == 1:
        return None
    if checkpoint:
        return TeacherFolds.read(checkpoint, calibrate, average_flips)
    known = [item for item in items if item["labelled"]]
    groups = [str(item[GROUP_KEY]) for item in known]
    if len(set(groups)) < count:
        raise ValueError(
            f"teacher_folds is {count}, but the training section has {counted(len(set(groups)), 'labelled patient')}: "
            "give fewer folds or more patients."
        )
    classes = [_class_of(item) for item in known]
    folds = k_folds(groups, classes, count, seed)
    held_out = {groups[index]: fold for fold, part in enumerate(folds) for index in part}
    return TeacherFolds(count, held_out, calibrate, average_flips=average_flips)


def _class_of(item: Mapping[str, Any]) -> int:
    found = item.get(CLASS_KEY, item.get("label"))
    return int(found) if isinstance(found, (int, np.integer)) else 0


def check_folds(count: int, checkpoint: str | None, calibrate: bool = False) -> None:
    """Refuse settings of folds that contradict each other or the checkpoint.

    Raises:
        ValueError: see :func:`cross_fit`.
    """
    given = folds_in(checkpoint)
    if checkpoint and given != count:
        raise ValueError(
            f"teacher_folds is {count}, but '{checkpoint}' is of {counted(given, 'teacher')}: "
            + (
                f"give the {FOLDS_NAME} of cross-fitted teachers as the teacher_checkpoint, or teacher_folds 1."
                if given == 1
                else f"leave teacher_folds out, or give it as {given}."
            )
        )
    if count == 1 and calibrate:
        raise ValueError(
            "calibrate_teacher fits a temperature on patients that a teacher has not seen, but a single teacher has "
            "seen all of them: set teacher_folds to 2 or more."
        )


def folds_in(checkpoint: str | None) -> int:
    """How many teachers a checkpoint holds: those of a ``folds.json``, else 1."""
    if not checkpoint or Path(checkpoint).suffix != ".json":
        return 1
    content = read_json(checkpoint)
    found = content.get("teacher_folds", 1) if isinstance(content, Mapping) else 1
    return found if isinstance(found, int) else 1


def positions_of(dataset: Dataset, groups: Sequence[str]) -> list[int]:
    """The positions of a dataset that hold samples of some patient groups."""
    wanted = set(groups)
    return [position for position, group in enumerate(_groups(dataset)) if group in wanted]


def _groups(dataset: Any) -> list[str]:
    if isinstance(dataset, BratsSliceDataset):
        return [str(item[GROUP_KEY]) for item in dataset.items()]
    if isinstance(dataset, Subset):
        inner = _groups(dataset.dataset)
        return [inner[index] for index in dataset.indices]
    return [str(item[GROUP_KEY]) for item in dataset.data]


def part_of(dataset: Dataset, positions: Sequence[int]) -> Dataset:
    """Those samples of a dataset, with the same transform and the same cache."""
    if isinstance(dataset, BratsSliceDataset):
        return dataset.subset(np.asarray(positions, dtype=np.int64))
    return Subset(dataset, list(positions))
