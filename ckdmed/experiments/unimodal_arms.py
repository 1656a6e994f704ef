"""What is compared for students of one modality, and the runs that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckdmed.experiments.plan_checks import check_different, check_regimes
from ckdmed.methods import with_options_of

__all__ = [
    "ALONE",
    "STRATEGIES",
    "UNIMODAL_BUNDLE",
    "Strategy",
    "UnimodalArm",
    "UnimodalRun",
    "strategy",
    "unimodal_runs",
]

UNIMODAL_BUNDLE = "brats_unimodal_kd"
ALONE = "alone"


@dataclass(frozen=True)
class Strategy:
    """One way of training a student, whatever its modality.

    Attributes:
        name: in records and folders.
        label: in the table.
        settings: of the bundle, beside the sizes.
        teachers: whether it has teachers; frozen ones are trained once for each seed, share of labels and choice of
            views, and serve the students of all modalities.
    """

    name: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    teachers: bool = True


#: ``others`` as the teachers stands for one teacher of each modality that the student does not see
OTHERS = "others"

STRATEGIES: dict[str, Strategy] = {
    entry.name: entry
    for entry in (
        Strategy(ALONE, "alone", {"method": "supervised"}, teachers=False),
        Strategy("distilled", "distilled", {"method": "ckd"}),
        Strategy("online", "distilled, teachers learning along", {"method": "ckd", "teacher_mode": "online"}),
        Strategy(
            "published",
            "MTCM-KD as published, per-voxel scale",
            {"method": "mtcm", "teacher_mode": "online", "teachers": OTHERS},
        ),
    )
}


def strategy(name: str, settings: Mapping[str, Any]) -> Strategy:
    """A strategy of one's own: "distilled" with other settings.

    Raises:
        ValueError: the name is taken or cannot be a folder's.
    """
    if name in STRATEGIES or not name.replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"a variant needs a name of its own of letters, digits, '_' and '.', got {name!r}.")
    return Strategy(name, name, {"method": "ckd", **settings})


@dataclass(frozen=True)
class UnimodalArm:
    """A strategy for the student of one choice of modalities."""

    strategy: Strategy
    student: tuple[str, ...]

    @property
    def name(self) -> str:
        """Unique in a comparison."""
        return f"{'+'.join(self.student)}-{self.strategy.name}"

    @property
    def bundle(self) -> str:
        """Whose runs they are."""
        return UNIMODAL_BUNDLE


@dataclass(frozen=True)
class UnimodalRun:
    """One training: an arm with a share of labelled patients and a seed."""

    arm: UnimodalArm
    regime: float
    seed: int

    @property
    def name(self) -> str:
        """Of its folder and record."""
        return f"labelled={self.regime:g}-{self.arm.name}-seed={self.seed}"

    def settings(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The bundle's settings. An epoch has as many slices in every arm; a student alone is shown labelled ones.

        Args:
            base: what all runs share.
        """
        shared = with_options_of(self.arm.strategy.settings.get("method", "ckd"), "unimodal", base)
        made = {**shared, **self.arm.strategy.settings, "seed": self.seed, "label_fraction": self.regime}
        made["student_modalities"] = list(self.arm.student)
        if made.get("teachers") == OTHERS:
            there = base.get("modalities") or ["t1n", "t1c", "t2w", "t2f"]
            made["teachers"] = [[name] for name in there if name not in self.arm.student]
        if not self.arm.strategy.teachers and self.regime < 1:
            made["train#dataset#items"] = "$[item for item in @sections['train'] if item['labelled']]"
        return made


def unimodal_runs(
    strategies: Sequence[Strategy],
    students: Sequence[Sequence[str]],
    regimes: Sequence[float],
    seeds: Sequence[int],
) -> list[UnimodalRun]:
    """All runs, seed by seed, so that a half done comparison is a whole smaller one.

    Raises:
        ValueError: a regime outside (0, 1]; something stands twice or is missing.
    """
    check_different(
        strategies=[entry.name for entry in strategies], students=[tuple(student) for student in students], seeds=seeds
    )
    check_regimes(regimes)
    return [
        UnimodalRun(UnimodalArm(entry, tuple(student)), regime, seed)
        for seed in seeds
        for regime in regimes
        for student in students
        for entry in strategies
    ]
