"""The table of patients, one row each, of all calls that wrote into a folder."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.files import write_atomic
from ckdmed.paths import output_path

__all__ = ["TABLE", "write_rows"]

TABLE = "patients.csv"


def write_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output_dir: Path, folders: Collection[str]
) -> None:
    """Write the rows of a call behind those of earlier calls whose results are still there.

    Args:
        rows: of this call.
        columns: of the table, ``folder`` and ``outputs`` among them.
        output_dir: where it lies.
        folders: of this call's patients, of whom no earlier row stays: one that was skipped now may have other masks
            than its row says.
    """
    earlier = [row for row in _earlier(output_dir / TABLE, columns) if row["folder"] not in folders]
    kept = [row for row in earlier if any((output_dir / file).exists() for file in _outputs(row))]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *rows])
    text = table.getvalue().encode("utf-8", "backslashreplace")
    write_atomic(output_path(output_dir, TABLE), lambda path: path.write_bytes(text))


def _outputs(row: Mapping[str, str]) -> list[str]:
    """The files of a row, which begin with the patient's folder; a patient's or a file's name may hold blanks."""
    return re.split(rf" (?={re.escape(row['folder'])}/)", row["outputs"])


def _earlier(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (FileNotFoundError, csv.Error):
        return []
    # of another version, or of another program
    return [row for row in rows if list(row) == list(columns) and None not in row.values()]
