"""What an experiment trains: arms, the runs that follow from them, and what every plan must hold."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ARM_OF_BEFORE",
    "Arm",
    "Run",
    "check_different",
    "check_label_fractions",
    "checked_variant_name",
    "in_order",
    "of_own_networks",
]

#: the name in records of earlier versions of the student that the default method distils in `compare`
ARM_OF_BEFORE = "ours"


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: in records and folders.
        label: in the table.
        settings: what sets it apart from the other arms.
        bundle: which bundle it is a run of.
        teacher: the arm whose weights teach it, "random" for a teacher that was never trained, None for none or for one
            that its own bundle trains.
        needs: arms whose runs must be done before it can run.
        unlabelled: whether it makes use of images without labels.
    """

    name: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    bundle: str = "seg_kd"
    teacher: str | None = None
    needs: tuple[str, ...] = ()
    unlabelled: bool = True


@dataclass(frozen=True)
class Run:
    """One training: an arm with a seed.

    Attributes:
        arm: what it is a run of.
        seed: of the training.
        name: unique in an experiment; also that of its folder and record.
        split: what its record says of its patients beside the datalist, such as the label fraction or the fold.
        teacher: name of the run whose weights teach it, None for none.
    """

    arm: Arm
    seed: int
    name: str
    split: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None


def of_own_networks(runs: Sequence[Run]) -> list[Run]:
    """The runs whose networks and epochs are their own: what needs other arms than its teacher has these arms' networks
    and weights, and takes its epochs from their times.
    """
    return [run for run in runs if {*run.arm.needs} <= {run.arm.teacher}]


def check_different(**choices: Sequence[Hashable]) -> None:
    """Raise ValueError, with the kind's name, unless there is at least one choice of each kind and none stands twice.

    Args:
        choices: kind ("seeds", "arms" ...) -> the choices.
    """
    for kind, given in choices.items():
        if len(set(given)) != len(given) or not given:
            raise ValueError(f"{kind} must be one or more different values, got {list(given)}.")


def check_label_fractions(fractions: Sequence[float]) -> None:
    """Raise ValueError unless all fractions of patients with labels lie in (0, 1] and differ."""
    check_different(label_fractions=fractions)
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if wrong:
        raise ValueError(f"a label fraction must be above 0 and at most 1, got {wrong}.")


def checked_variant_name(name: str, taken: Collection[str]) -> str:
    """The name of an arm of one's own.

    Raises:
        ValueError: the name is taken, now or in records of before, or cannot be a folder's.
    """
    if name in {*taken, ARM_OF_BEFORE} or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise ValueError(f"a variant needs a name of its own of letters, digits, '_', '-' and '.', got {name!r}.")
    return name


def in_order(arms: Sequence[Arm]) -> list[Arm]:
    """The arms, each after those that it needs.

    Raises:
        ValueError: an arm stands twice, or needs another one that is not among them.
    """
    check_different(arms=[arm.name for arm in arms])
    ordered: list[Arm] = []
    while len(ordered) < len(arms):
        there = {arm.name for arm in ordered}
        ready = [arm for arm in arms if arm.name not in there and set(arm.needs) <= there]
        if not ready:
            arm = next(arm for arm in arms if arm.name not in there)
            missing = [need for need in arm.needs if need not in there]
            raise ValueError(f"the arm '{arm.name}' needs the arms {missing} too; name them as well.")
        ordered.append(ready[0])
    return ordered
