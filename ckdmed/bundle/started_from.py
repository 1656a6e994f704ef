"""Which network a student starts from, by the record of its weights."""

from __future__ import annotations

from pathlib import Path

from ckdmed.bundle.as_teacher import is_of_a_student
from ckdmed.bundle.first_weights import of_resumed_run
from ckdmed.bundle.renamed_settings import as_of_now
from ckdmed.bundle.resume_check import run_record
from ckdmed.bundle.trained import Trained, trained_with

__all__ = ["started_from"]


def started_from(checkpoint: str | None) -> Trained:
    """The settings of the student whose weights another one starts from; none where no record tells, or a teacher's.

    Where they are gone and their training is resumed, its own record tells.

    Args:
        checkpoint: its path; None for none.

    Raises:
        ValueError: a record that cannot be read, or is one of other weights.
    """
    if checkpoint and not Path(checkpoint).expanduser().is_file() and (folder := of_resumed_run("output_dir")):
        record = run_record(Path(folder))
        return Trained(checkpoint, None if record is None else as_of_now(record["settings"]))
    found = trained_with(checkpoint)
    of_a_student = found.settings is not None and is_of_a_student(Path(str(checkpoint)), found.settings)
    return found if of_a_student else Trained(checkpoint, None)
