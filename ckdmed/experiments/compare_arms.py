"""The arms of the comparison of segmentation students, and the settings that each of them is a run of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckdmed.experiments.plan import Arm, Run, check_different, check_label_fractions, checked_variant_name, in_order
from ckdmed.experiments.teacher_settings import settings_of_teacher
from ckdmed.methods import with_options_of

__all__ = ["ARMS", "BASELINE", "check_teachers", "compare_name", "compare_runs", "compare_settings", "variant"]

BASELINE = "alone"
_TEACHER = "teacher"


def _taught(name: str, label: str, settings: Mapping[str, Any]) -> Arm:
    return Arm(name, label, settings, teacher=_TEACHER, needs=(_TEACHER,))


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(_TEACHER, "teacher", bundle="seg_teacher", unlabelled=False),
        Arm(BASELINE, "student alone", {"method": "supervised"}, unlabelled=False),
        Arm(
            "alone_view",
            "student alone, strong augmentation",
            {"method": "supervised", "student_view": "strong"},
            unlabelled=False,
        ),
        _taught("report_kd", "reports' KD", {"method": "report_kd"}),
        _taught("report_kdpp", "reports' KD++", {"method": "report_kdpp"}),
        _taught("ours", "distilled", {"method": "ckd"}),
        _taught("hard_pseudo", "hard pseudo-labels", {"method": "hard_pseudo"}),
        Arm("untrained_teacher", "distilled, untrained teacher", {"method": "ckd"}, teacher="random"),
        Arm(
            "alone_longer",
            "student alone, same time",
            {"method": "supervised"},
            needs=(BASELINE, "ours"),
            unlabelled=False,
        ),
    )
}


def variant(name: str, settings: Mapping[str, Any]) -> Arm:
    """A user's own arm: the distilled student with other settings (or another ``method`` among them).

    Raises:
        ValueError: the name is taken or cannot be a folder's.
    """
    return _taught(checked_variant_name(name, ARMS), name, {"method": "ckd", **settings})


def compare_settings(run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle's settings of a run.

    An arm that sees the labelled images alone has fewer steps an epoch; it gets more epochs and as many steps as the
    others, and is validated as often.

    Args:
        run: of :func:`compare_runs`.
        base: what all runs share: sizes, epochs, data.
    """
    fraction = run.split["label_fraction"]
    shared = with_options_of(run.arm.settings.get("method", "ckd"), "segmentation", base)
    made = {**shared, **run.arm.settings, "seed": run.seed, "label_fraction": fraction}
    more = 1.0 if run.arm.unlabelled else 1 / fraction
    if run.arm.bundle == "seg_teacher":
        made = settings_of_teacher(run.arm.bundle, made)
    elif more > 1:
        made["train#dataset#data"] = "$[item for item in @sections['train'] if item['labelled']]"
    made["epochs"] = max(round(made["epochs"] * more), 1)
    made["val_interval"] = max(round(made.get("val_interval", 1) * more), 1)
    return made


def compare_runs(
    arms: Sequence[Arm], fractions: Sequence[float], seeds: Sequence[int], one_teacher: bool = False
) -> list[Run]:
    """All runs, an arm after those that it needs; seed by seed, so that a half done comparison is a whole smaller one.

    Pseudo-labels of images that have labels are left out: they would be the student alone once more.

    Args:
        arms, fractions, seeds: of the comparison.
        one_teacher: train the teacher with the first seed alone; the students of all seeds learn from it.

    Raises:
        ValueError: an arm needs another one that is not among them; a label fraction outside (0, 1]; something stands
            twice.
    """
    check_different(seeds=seeds)
    check_label_fractions(fractions)
    ordered = in_order(arms)
    return [
        _run(arm, fraction, seed, seeds[0] if one_teacher else seed)
        for seed in seeds
        for fraction in fractions
        for arm in ordered
        if not (fraction == 1 and arm.settings.get("method") == "hard_pseudo")
        and not (one_teacher and arm.name == _TEACHER and seed != seeds[0])
    ]


def _run(arm: Arm, fraction: float, seed: int, teacher_seed: int) -> Run:
    teacher = compare_name(arm.teacher, fraction, teacher_seed) if arm.teacher and arm.teacher != "random" else None
    return Run(arm, seed, compare_name(arm.name, fraction, seed), {"label_fraction": fraction}, teacher)


def check_teachers(students: Iterable[tuple[str, float, int, str | None]]) -> None:
    """Refuse students of one teacher for all seeds together with those of another.

    Args:
        students: arm, label fraction, seed and, where it is not that of the seed itself, the name of the teacher's run;
            arms that have no teacher are passed over.

    Raises:
        ValueError: with one label fraction, a teacher that some share and another one.
    """
    of_fractions: dict[float, dict[str, str]] = {}
    shared: dict[float, str] = {}
    for arm, fraction, seed, teacher in students:
        # an arm that is not among these is a variant of the distilled student
        if arm not in ARMS or ARMS[arm].teacher == _TEACHER:
            used = teacher or compare_name(_TEACHER, fraction, seed)
            of_fractions.setdefault(fraction, {}).setdefault(used, compare_name(arm, fraction, seed))
            if teacher:
                shared[fraction] = teacher
    for fraction, one in shared.items():
        for other, student in of_fractions[fraction].items():
            if other != one:
                raise ValueError(
                    f"{one} teaches the students of several seeds, but {student} learnt from {other}: an interval over "
                    "these seeds would mean neither. Give --one_teacher with the same first seed, or use another "
                    "output folder."
                )


def compare_name(arm: str, fraction: float, seed: int) -> str:
    """The name of the run of an arm with a label fraction and a seed."""
    return f"labelled={fraction:g}-{arm}-seed={seed}"
