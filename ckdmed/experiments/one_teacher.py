"""The teacher that all students of a comparison share, whatever their seeds."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["TEACHER", "check_one_teacher"]

#: the arm of the teacher that all share
TEACHER = "teacher"


def check_one_teacher(runs: Sequence[tuple[str, int]]) -> None:
    """Refuse students of several seeds' teachers: each student is named by its own seed, and the table would mix them.

    Args:
        runs: arm and seed.

    Raises:
        ValueError: a teacher of several seeds.
    """
    seeds: dict[str, set[int]] = {}
    for arm, seed in runs:
        if arm == TEACHER or arm.startswith(f"{TEACHER}_"):
            seeds.setdefault(arm, set()).add(seed)
    for arm, found in seeds.items():
        if len(found) > 1:
            first, *others = sorted(found)
            raise ValueError(
                f"{arm} is trained once, with the first seed, for all students, and here it would be trained with "
                f"the seeds {first} and {', '.join(map(str, others))}. Keep the first seed, or use another folder."
            )
