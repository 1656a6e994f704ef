"""Which taps of a student and its teacher a method may compare."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckdmed.networks.vit import TRANSFORMER_TAPS

__all__ = ["shared_taps"]

# of a classifier's early exits, which stand beside the stage that is compared
_EXIT = "exit"
# of its stages by their grid: "s8" lies on an eighth of the image's
_LEVEL = re.compile(r"s\d+")


def shared_taps(task: str, student_taps: Iterable[str], teacher_taps: Iterable[str]) -> dict[str, list[str]]:
    """The names that a :class:`~ckdmed.methods.Task` is given: ``layers``, ``levels``, ``tokens`` and ``exits``.

    Args:
        task: one of :data:`~ckdmed.methods.TASKS`.
        student_taps, teacher_taps: names of the taps of each, deepest first; paths may stand behind them.
    """
    of_student, of_teacher = list(student_taps), set(teacher_taps)
    stages = [name for name in of_student if name not in TRANSFORMER_TAPS]
    levels = [name for name in stages if task == "classification" and _LEVEL.fullmatch(name)]
    return {
        "layers": [name for name in stages if name in of_teacher and name not in levels],
        "levels": [name for name in levels if name in of_teacher],
        "tokens": [name for name in TRANSFORMER_TAPS if name in of_student and name in of_teacher],
        "exits": [name for name in stages if task != "classification" or name.startswith(_EXIT)],
    }
