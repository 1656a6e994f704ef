"""Which network a student starts from, by the record of its weights."""

from __future__ import annotations

from pathlib import Path

from ckdmed.bundle.trained import Trained, is_of_a_student, trained_with

__all__ = ["started_from"]


def started_from(checkpoint: str | None) -> Trained:
    """The settings of the student whose weights another one starts from; none where no record tells, or a teacher's.

    Args:
        checkpoint: its path; None for none.

    Raises:
        ValueError: a record that cannot be read, or is one of other weights.
    """
    found = trained_with(checkpoint)
    of_a_student = found.settings is not None and is_of_a_student(Path(str(checkpoint)), found.settings)
    return found if of_a_student else Trained(checkpoint, None)
