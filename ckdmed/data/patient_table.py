"""A table of the patient of each case, where names do not show it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from monai.config import PathLike

from ckdmed.counted import counted

__all__ = ["check_patients", "read_patient_table"]

_COLUMNS = ("case", "patient")


def read_patient_table(path: PathLike) -> dict[str, str]:
    """Read a CSV file with the columns `case` and `patient`; others are not looked at.

    Returns:
        case -> patient.

    Raises:
        ValueError: no such file, no text, a column is missing, a cell is empty, or a case stands there with two
            patients.
    """
    table: dict[str, str] = {}
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such table of patients.")
    try:
        # spreadsheets write a mark at the beginning
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in _COLUMNS if name not in (reader.fieldnames or ())]:
                raise ValueError(
                    f"{path}: lacks the column {' and '.join(missing)}; its first line has to be 'case,patient', got "
                    f"{','.join(reader.fieldnames or ()) or 'nothing'}."
                )
            for row in reader:
                case, patient = ((row[name] or "").strip() for name in _COLUMNS)
                if not case or not patient:
                    raise ValueError(f"{path}: line {reader.line_num}: case and patient must be given, got {row}.")
                if table.setdefault(case, patient) != patient:
                    raise ValueError(
                        f"{path}: line {reader.line_num}: {case} belongs to {patient} here and to {table[case]} above."
                    )
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV table in UTF-8 ({error}).") from error
    return table


def check_patients(patients: Mapping[str, str], cases: Iterable[str], source: PathLike) -> None:
    """Check that a table names only existing cases: a misspelled name would have no effect.

    Raises:
        ValueError: a patient is given for a case that is not there.
    """
    if absent := sorted(set(patients) - set(cases)):
        raise ValueError(
            f"{source}: the table of patients names {counted(len(absent), 'absent case')} ({', '.join(absent[:3])}); "
            "use the case names with which the file names begin."
        )
