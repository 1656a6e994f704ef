"""What is compared with what: the arms of a comparison and the settings that each of them is a run of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckdmed.experiments.plan_checks import check_different, check_regimes
from ckdmed.methods import with_options_of

__all__ = ["ARMS", "BASELINE", "PATIENT_METRIC", "Arm", "Run", "planned_runs", "variant"]


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: in records and folders.
        label: in the table.
        bundle: which bundle it is a run of.
        settings: what sets it apart from the other arms.
        teacher: "trained" for the one of its regime and seed, "random" for one that never learned, None for none.
        needs: arms whose records must exist before it can run.
        unlabelled: whether it makes use of images without labels. One that does not is given the labelled images
            alone, for as many steps.
    """

    name: str
    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    bundle: str = "seg_kd"
    teacher: str | None = None
    needs: tuple[str, ...] = ()
    unlabelled: bool = True


BASELINE = "alone"
# the score that a record keeps of each patient too
PATIENT_METRIC = "Dice per patient"
# settings that the teacher's bundle does not have
_STUDENTS_OWN = (
    "student_kind",
    "student_base",
    "student_backbone",
    "student_encoder_pretrained",
    "method",
    "cache_teacher",
    "student_view",
    "teacher_flips",
    "labelled_per_batch",
)

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("teacher", "teacher", bundle="seg_teacher", unlabelled=False),
        Arm(BASELINE, "student alone", {"method": "supervised"}, unlabelled=False),
        Arm(
            "alone_view",
            "student alone, harder views",
            {"method": "supervised", "student_view": "strong"},
            unlabelled=False,
        ),
        Arm("report_kd", "reports' KD", {"method": "report_kd"}, teacher="trained", needs=("teacher",)),
        Arm("report_kdpp", "reports' KD++", {"method": "report_kdpp"}, teacher="trained", needs=("teacher",)),
        Arm("ours", "ours", {"method": "ckd"}, teacher="trained", needs=("teacher",)),
        Arm("hard_pseudo", "hard pseudo-labels", {"method": "hard_pseudo"}, teacher="trained", needs=("teacher",)),
        Arm("untrained_teacher", "ours, untrained teacher", {"method": "ckd"}, teacher="random"),
        Arm(
            "alone_longer",
            "student alone, wall-clock of ours",
            {"method": "supervised"},
            needs=(BASELINE, "ours"),
            unlabelled=False,
        ),
    )
}


def variant(name: str, settings: Mapping[str, Any]) -> Arm:
    """An arm of one's own: "ours" with other settings (or another ``method`` among them).

    Raises:
        ValueError: the name is taken or cannot be a folder's.
    """
    if name in ARMS or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise ValueError(f"a variant needs a name of its own of letters, digits, '_', '-' and '.', got {name!r}.")
    return Arm(name, name, {"method": "ckd", **settings}, teacher="trained", needs=("teacher",))


@dataclass(frozen=True)
class Run:
    """One training of a comparison: an arm with a share of labelled patients and a seed."""

    arm: Arm
    regime: float
    seed: int

    @property
    def name(self) -> str:
        """Unique in a comparison; also the name of its folder and record."""
        return f"labelled={self.regime:g}-{self.arm.name}-seed={self.seed}"

    def settings(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The bundle's settings for this run.

        An arm that sees the labelled images alone has fewer steps an epoch; it gets more epochs and as many steps as
        the others, and is validated as often.

        Args:
            base: what all runs share: sizes, epochs, data.
        """
        shared = with_options_of(self.arm.settings.get("method", "ckd"), "segmentation", base)
        made = {**shared, **self.arm.settings, "seed": self.seed, "label_fraction": self.regime}
        more = 1.0 if self.arm.unlabelled else 1 / self.regime
        if self.arm.bundle == "seg_teacher":
            made["epochs"] = made.pop("teacher_epochs")
            made["learning_rate"] = made.pop("teacher_learning_rate")
            for key in _STUDENTS_OWN:
                made.pop(key, None)
        elif more > 1:
            made["train#dataset#data"] = "$[item for item in @sections['train'] if item['labelled']]"
        made["epochs"] = max(round(made["epochs"] * more), 1)
        made["val_interval"] = max(round(made.get("val_interval", 1) * more), 1)
        return made


def planned_runs(arms: Sequence[Arm], regimes: Sequence[float], seeds: Sequence[int]) -> list[Run]:
    """All runs, an arm after those that it needs; seed by seed, so that a half done comparison is a whole smaller one.

    Pseudo-labels of images that have labels are left out: they would be the student alone once more.

    Raises:
        ValueError: an arm needs another one that is not among them; a regime outside (0, 1]; something stands twice.
    """
    names = [arm.name for arm in arms]
    check_different(arms=names, seeds=seeds)
    check_regimes(regimes)
    for arm in arms:
        missing = [need for need in arm.needs if need not in names]
        if missing:
            raise ValueError(f"the arm '{arm.name}' needs the arms {missing} too; name them as well.")
    ordered: list[Arm] = []
    while len(ordered) < len(arms):
        there = {arm.name for arm in ordered}
        ordered += [arm for arm in arms if arm.name not in there and set(arm.needs) <= there][:1]
    return [
        Run(arm, regime, seed)
        for seed in seeds
        for regime in regimes
        for arm in ordered
        if not (regime == 1 and arm.settings.get("method") == "hard_pseudo")
    ]
