"""How students of one modality are trained: the strategies, and the settings that each run of them has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckdmed.experiments.label_fractions import LABELLED_ITEMS
from ckdmed.experiments.plan import Arm, Run, check_different, check_label_fractions, checked_variant_name, in_order
from ckdmed.methods import with_options_of

__all__ = [
    "ALONE",
    "ALONE_LONGER",
    "DISTILLED",
    "STRATEGIES",
    "UNIMODAL_BUNDLE",
    "Strategy",
    "check_teacher_seeds",
    "strategy",
    "unimodal_arm",
    "unimodal_name",
    "unimodal_runs",
    "unimodal_settings",
]

UNIMODAL_BUNDLE = "brats_unimodal_kd"
ALONE, ALONE_LONGER, DISTILLED = "alone", "alone_longer", "distilled"


@dataclass(frozen=True)
class Strategy:
    """One way of training a student, whatever its modality.

    Attributes:
        name: in records and folders.
        label: in the table.
        settings: of the bundle, beside the sizes.
        teachers: whether it has teachers; frozen ones are trained once for each seed, share of labels and choice of
            views, and serve the students of all modalities.
        needs: names of strategies whose runs must be done before.
    """

    name: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    teachers: bool = True
    needs: tuple[str, ...] = ()


#: ``others`` as the teachers stands for one teacher of each modality that the student does not see
OTHERS = "others"

STRATEGIES: dict[str, Strategy] = {
    entry.name: entry
    for entry in (
        Strategy(ALONE, "alone", {"method": "supervised"}, teachers=False),
        Strategy(DISTILLED, "distilled", {"method": "ckd"}),
        Strategy("hard_pseudo", "hard pseudo-labels", {"method": "hard_pseudo"}),
        Strategy("online", "distilled, teachers learning along", {"method": "ckd", "teacher_mode": "online"}),
        Strategy(
            "published",
            "MTCM-KD as published, per-voxel scale",
            {"method": "mtcm", "teacher_mode": "online", "teachers": OTHERS},
        ),
        Strategy(ALONE_LONGER, "alone, same time", {"method": "supervised"}, teachers=False, needs=(ALONE, DISTILLED)),
    )
}


def strategy(name: str, settings: Mapping[str, Any]) -> Strategy:
    """A strategy of one's own: "distilled" with other settings.

    Raises:
        ValueError: the name is taken or cannot be a folder's.
    """
    return Strategy(checked_variant_name(name, STRATEGIES), name, {"method": "ckd", **settings})


def unimodal_settings(run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle's settings of a run. An epoch has as many slices in every arm; a student alone sees labelled ones.

    Args:
        run: of :func:`unimodal_runs`.
        base: what all runs share.
    """
    fraction = run.split["label_fraction"]
    shared = with_options_of(run.arm.settings.get("method", "ckd"), "unimodal", base)
    made = {**shared, **run.arm.settings, "seed": run.seed, "label_fraction": fraction}
    if made.get("teachers") == OTHERS:
        there = base.get("modalities") or ["t1n", "t1c", "t2w", "t2f"]
        made["teachers"] = [[name] for name in there if name not in made["student_modalities"]]
    if not run.arm.unlabelled and fraction < 1:
        made["train#dataset#items"] = LABELLED_ITEMS
    return made


def unimodal_runs(
    strategies: Sequence[Strategy],
    students: Sequence[Sequence[str]],
    fractions: Sequence[float],
    seeds: Sequence[int],
) -> list[Run]:
    """All runs, seed by seed, so that a half done comparison is a whole smaller one.

    Pseudo-labels of images that have labels are left out: they would be the student alone once more.

    Raises:
        ValueError: a label fraction outside (0, 1]; something stands twice or is missing; a strategy needs another one
            that is not among them, or patients without labels where all have them.
    """
    check_different(
        strategies=[entry.name for entry in strategies], students=[tuple(student) for student in students], seeds=seeds
    )
    check_label_fractions(fractions)
    if min(fractions) == 1 and (pseudo := [entry.name for entry in strategies if _labels_the_rest(entry.settings)]):
        raise ValueError(
            f"the strategies {pseudo} label the patients who have no labels, but with --label_fractions 1 all have "
            "some: also give a fraction below 1."
        )
    arms = in_order([unimodal_arm(entry, student) for student in students for entry in strategies])
    return [
        Run(arm, seed, unimodal_name(arm.name, fraction, seed), {"label_fraction": fraction})
        for seed in seeds
        for fraction in fractions
        for arm in arms
        if fraction < 1 or not _labels_the_rest(arm.settings)
    ]


def unimodal_name(arm: str, fraction: float, seed: int) -> str:
    """The name of the run of an arm with a label fraction and a seed."""
    return f"labelled={fraction:g}-{arm}-seed={seed}"


def check_teacher_seeds(students: Iterable[tuple[str, int, int]]) -> None:
    """Refuse the students of one arm whose frozen teachers do not go together.

    Either the teachers of one seed have taught all of them, or each has those of its own seed.

    Args:
        students: name of the run, its seed, and the seed of its teachers.

    Raises:
        ValueError: they do not.
    """
    found = list(students)
    if len({taught_by for _, _, taught_by in found}) < 2:
        return
    for name, seed, taught_by in found:
        if taught_by == seed:
            continue
        other, own = next((one, its) for one, _, its in found if its != taught_by)
        raise ValueError(
            f"{name} learns from the teachers of seed {taught_by}, but {other} from those of seed {own}: an interval "
            "over these seeds would describe neither. Give --teacher_seed as before, or use another output folder."
        )


def _labels_the_rest(settings: Mapping[str, Any]) -> bool:
    return settings.get("method") == "hard_pseudo"


def unimodal_arm(entry: Strategy, student: Sequence[str]) -> Arm:
    """The arm of a strategy and the modalities that its student sees."""
    seen = "+".join(student)
    settings = {**entry.settings, "student_modalities": list(student)}
    needs = tuple(f"{seen}-{name}" for name in entry.needs)
    return Arm(
        f"{seen}-{entry.name}", entry.label, settings, bundle=UNIMODAL_BUNDLE, needs=needs, unlabelled=entry.teachers
    )
