"""The table of patients, one row each, of all calls that wrote into a folder."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ckdmed.files import write_atomic
from ckdmed.paths import output_path

__all__ = ["TABLE", "write_rows"]

logger = logging.getLogger(__name__)

TABLE = "patients.csv"


def write_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output_dir: Path, folders: Collection[str]
) -> None:
    """Write the rows of a call behind those of earlier calls whose results are still there.

    Columns that somebody added are kept. A table that cannot be read as one of these, such as one with other separators
    that a spreadsheet has saved, gets another name.

    Args:
        rows: of this call.
        columns: of the table, ``folder`` and ``outputs`` among them.
        output_dir: where it lies.
        folders: of this call's patients, of whom no earlier row stays: one that was skipped now may have other masks
            than its row says.
    """
    found = _earlier(output_path(output_dir, TABLE), columns)
    earlier = [row for row in found if row["folder"] not in folders]
    kept = [row for row in earlier if any((output_dir / file).exists() for file in _outputs(row))]
    added = [name for name in (found[0] if found else ()) if name not in columns]
    notes = {row["folder"]: {name: row[name] for name in added} for row in found}
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, [*columns, *added], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *({**notes.get(row["folder"], {}), **row} for row in rows)])
    text = table.getvalue().encode("utf-8", "backslashreplace")
    write_atomic(output_path(output_dir, TABLE), lambda path: path.write_bytes(text))


def _outputs(row: Mapping[str, str]) -> list[str]:
    """The files of a row, which begin with the patient's folder; a patient's or a file's name may hold blanks."""
    return re.split(rf" (?={re.escape(row['folder'])}/)", row["outputs"])


def _earlier(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        # some spreadsheets put a byte order mark before the text
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except FileNotFoundError:
        return []
    except csv.Error:
        rows, names = [], []
    else:
        names = list(reader.fieldnames or ())
    # a line that is too long has a key None, one that is too short has values None
    if set(columns) <= set(names) and all(None not in (*row, *row.values()) for row in rows):
        return rows
    if path.stat().st_size:
        aside = next(p for n in count(1) if not os.path.lexists(p := path.with_stem(f"{path.stem}-{n}")))
        os.replace(path, aside)
        logger.warning(f"{path}: is not as segment wrote it, and is kept as {aside}; the new table begins without it.")
    return []
