"""Who the phantom patients are: identifiers, classes, folds, slice numbers. No pictures yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["PhantomPatient", "PhantomSlice", "plan_patients"]

LABELS = (1, 2, 3)
# One person in this many has two identifiers, as a few persons of the published set have.
_VARIANT_PERIOD = 10
_VARIANT_PLACE = 4


@dataclass(frozen=True)
class PhantomSlice:
    """One slice to be written.

    Args:
        id: file name without suffix, counted from 1 over all patients.
        patient: the identifier (PID) that the file holds.
        fold: 1 to 5, for ``cvind.mat``.
        position: from -1 to 1, where across the tumour the slice lies.
        view: "axial", "coronal" or "sagittal".
    """

    id: int
    patient: str
    fold: int
    position: float
    view: str


@dataclass(frozen=True)
class PhantomPatient:
    """One person and the slices taken.

    Args:
        index: place in the sequence of patients, from 0; with the seed it decides everything about the patient.
        group: identifier of the person, common to all variants of the PID.
        label: 1 meningioma, 2 glioma, 3 pituitary tumour.
        exposure: raw value of white matter. It is drawn once for three neighbours of three classes, so it says nothing
            about the class.
        slices: at least one.
    """

    index: int
    group: str
    label: int
    exposure: float
    slices: tuple[PhantomSlice, ...]


def _views(rng: np.random.Generator, label: int, count: int) -> list[str]:
    # Pituitary tumours are imaged in coronal and sagittal planes, the others mostly in axial ones.
    weights = (0.1, 0.5, 0.4) if label == 3 else (0.5, 0.25, 0.25)
    names = ("axial", "coronal", "sagittal")
    first, second = rng.choice(3, 2, replace=False, p=weights)
    switch = count if rng.random() > 0.3 else max(1, count // 2)
    return [names[first] if i < switch else names[second] for i in range(count)]


def plan_patients(n_patients: int, slices_per_patient: tuple[int, int], seed: int) -> list[PhantomPatient]:
    """List the patients and their slices; a longer list begins with the shorter one.

    Classes come in blocks of three, each class once, in random order. About a quarter of the identifiers begin with MR
    (in every class), and every tenth person has two identifiers, one with a letter behind.

    Args:
        n_patients: at least 1.
        slices_per_patient: fewest and most slices, both included, 1 <= fewest <= most.
        seed: 0 or more.
    """
    low, high = slices_per_patient
    patients: list[PhantomPatient] = []
    next_id = 1
    for index in range(n_patients):
        block, place = divmod(index, len(LABELS))
        shared = np.random.default_rng([seed, block, 1])
        label = int(shared.permutation(LABELS)[place])
        exposure = float(np.exp(shared.uniform(np.log(250.0), np.log(1800.0))))
        rng = np.random.default_rng([seed, index, 2])
        exposure *= float(rng.lognormal(0.0, 0.05))
        number = 70_000 + 41 * index + int(rng.integers(41))
        two_names = index % _VARIANT_PERIOD == _VARIANT_PLACE
        group = f"MR{number % 1_000_000:06d}" if two_names or rng.random() < 0.2 else str(number)
        count = int(rng.integers(low, high + 1))
        names = [group] * count
        if two_names:
            names[count // 2 :] = [group + str(rng.choice(list("BCE")))] * (count - count // 2)
        views = _views(rng, label, count)
        spread = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count * 1.4 - 0.7
        folds = [(block + label) % 5 + 1, (block + label + 2) % 5 + 1]
        slices = tuple(
            PhantomSlice(next_id + i, names[i], folds[int(names[i] != group)], float(spread[i]), views[i])
            for i in range(count)
        )
        next_id += count
        patients.append(PhantomPatient(index, group, label, exposure, slices))
    return patients
