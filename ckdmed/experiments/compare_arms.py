"""The arms of the comparison of segmentation students, and the settings that each of them is a run of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckdmed.experiments.label_fractions import longer, on_labelled_images
from ckdmed.experiments.plan import Arm, Run, check_different, check_label_fractions, checked_variant_name, in_order
from ckdmed.experiments.teacher_settings import settings_of_teacher
from ckdmed.methods import with_options_of

__all__ = [
    "ARMS",
    "BASELINE",
    "DISTILLED",
    "TEACHER",
    "check_teachers",
    "compare_name",
    "compare_runs",
    "compare_settings",
    "variant",
]

BASELINE = "alone"
#: by the default method, whose name it has
DISTILLED = "ckd"
TEACHER = "teacher"


def _taught(name: str, label: str, settings: Mapping[str, Any]) -> Arm:
    return Arm(name, label, settings, teacher=TEACHER, needs=(TEACHER,))


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(TEACHER, "teacher", bundle="seg_teacher", unlabelled=False),
        Arm(BASELINE, "student alone", {"method": "supervised"}, unlabelled=False),
        Arm(
            "alone_view",
            "student alone, strong augmentation",
            {"method": "supervised", "student_view": "strong"},
            unlabelled=False,
        ),
        _taught("report_kd", "reports' KD", {"method": "report_kd"}),
        _taught("report_kdpp", "reports' KD++", {"method": "report_kdpp"}),
        _taught(DISTILLED, "distilled", {"method": "ckd"}),
        _taught("hard_pseudo", "hard pseudo-labels", {"method": "hard_pseudo"}),
        Arm("untrained_teacher", "distilled, untrained teacher", {"method": "ckd"}, teacher="random"),
        Arm(
            "alone_longer",
            "student alone, same time",
            {"method": "supervised"},
            needs=(BASELINE, DISTILLED),
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


def compare_settings(
    run: Run, base: Mapping[str, Any], config: Mapping[str, Any], in_datalist: float = 1.0
) -> dict[str, Any]:
    """The bundle's settings of a run.

    An arm that sees the labelled images alone has fewer steps an epoch; it gets more epochs and as many steps as the
    others, and is validated as often.

    Args:
        run: of :func:`compare_runs`.
        base: what all runs share: sizes, epochs, data.
        config: of the students' bundle, ``train.json``.
        in_datalist: share of the training images that have a label at all.
    """
    fraction = run.split["label_fraction"]
    shared = with_options_of(run.arm.settings.get("method", "ckd"), "segmentation", base)
    # records of before have the interval in any case
    made = {"val_interval": 1, **shared, **run.arm.settings, "seed": run.seed, "label_fraction": fraction}
    if run.arm.bundle == "seg_teacher":
        # it is trained on labelled images whatever there is
        return longer(settings_of_teacher(run.arm.bundle, made), 1 / (fraction * in_datalist))
    return made if run.arm.unlabelled else on_labelled_images(made, config, in_datalist)


def compare_runs(
    arms: Sequence[Arm],
    fractions: Sequence[float],
    seeds: Sequence[int],
    one_teacher: bool = False,
    teacher_fraction: float | None = None,
) -> list[Run]:
    """All runs, an arm after those that it needs; seed by seed, so that a half done comparison is a whole smaller one.

    Pseudo-labels of images that have labels are left out: they would be the student alone once more.

    Args:
        arms, fractions, seeds: of the comparison.
        one_teacher: train the teacher with the first seed alone; the students of all seeds learn from it.
        teacher_fraction: label fraction of the teachers; None for that of their students.

    Raises:
        ValueError: an arm needs another one that is not among them; a label fraction outside (0, 1], or one of teachers
            where no arm has any; something stands twice.
    """
    check_different(seeds=seeds)
    check_label_fractions(fractions)
    if teacher_fraction is not None:
        check_label_fractions([teacher_fraction])
        if not any(TEACHER in (arm.name, arm.teacher) for arm in arms):
            raise ValueError(
                f"--teacher_label_fraction {teacher_fraction:g} is for teachers, but none of the arms "
                f"{', '.join(arm.name for arm in arms)} is one or learns from one: leave it out, or add {TEACHER} and "
                f"{DISTILLED} to --arms."
            )
    ordered = in_order(arms)
    runs = []
    for seed in seeds:
        for fraction in fractions:
            for arm in ordered:
                if fraction == 1 and arm.settings.get("method") == "hard_pseudo":
                    continue
                if arm.name == TEACHER and one_teacher and seed != seeds[0]:
                    continue
                if arm.name == TEACHER and teacher_fraction is not None and fraction != fractions[0]:
                    continue  # one teacher for the students of all label fractions
                taught_by = (teacher_fraction or fraction, seeds[0] if one_teacher else seed)
                runs.append(_run(arm, fraction, seed, *taught_by))
    return runs


def _run(arm: Arm, fraction: float, seed: int, teacher_fraction: float, teacher_seed: int) -> Run:
    if arm.name == TEACHER:
        fraction = teacher_fraction
    taught = arm.teacher and arm.teacher != "random"
    teacher = compare_name(str(arm.teacher), teacher_fraction, teacher_seed) if taught else None
    return Run(arm, seed, compare_name(arm.name, fraction, seed), {"label_fraction": fraction}, teacher)


def check_teachers(students: Iterable[tuple[str, float, int, str | None]]) -> None:
    """Refuse students of one label fraction whose teachers do not go together.

    Either one teacher has taught all seeds, or each seed's own teacher its students, and with one label fraction.

    Args:
        students: arm, label fraction, seed and, where it is not that of the seed and label fraction themselves, the
            name of the teacher's run; arms that have no teacher are passed over.

    Raises:
        ValueError: they do not.
    """
    of_fractions: dict[float, dict[str, tuple[int, str]]] = {}
    for arm, fraction, seed, teacher in students:
        # an arm that is not among these is a variant of the distilled student
        if arm not in ARMS or ARMS[arm].teacher == TEACHER:
            used = teacher or compare_name(TEACHER, fraction, seed)
            student = (seed, compare_name(arm, fraction, seed))
            known = of_fractions.setdefault(fraction, {})
            # of a teacher's students, one of another seed says more: that it is shared
            if used not in known or _is_of_seed(used, known[used][0]):
                known[used] = student
    for taught in of_fractions.values():
        each_its_own = all(_is_of_seed(teacher, seed) for teacher, (seed, _) in taught.items())
        label_fractions = {teacher.rsplit("-seed=", 1)[0] for teacher in taught}
        if len(taught) == 1 or (each_its_own and len(label_fractions) == 1):
            continue
        # the shared one first, where one is
        ordered = sorted(taught.items(), key=lambda item: _is_of_seed(item[0], item[1][0]))
        (one, (_, its_student)), (other, (_, its_own)) = ordered[:2]
        raise ValueError(
            f"{its_student} learns from {one}, but {its_own} learned from {other}: an interval over these seeds would "
            "describe neither. Give --one_teacher with the same first seed and --teacher_label_fraction as before, or "
            "use another output folder."
        )


def _is_of_seed(teacher: str, seed: int) -> bool:
    return teacher.rsplit("-seed=", 1)[-1] == str(seed)


def compare_name(arm: str, fraction: float, seed: int) -> str:
    """The name of the run of an arm with a label fraction and a seed."""
    return f"labelled={fraction:g}-{arm}-seed={seed}"
