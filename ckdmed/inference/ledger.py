"""The ledger of an inference: what was finished, and whether it still lies there as it was written."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.atomic_files import write_atomic
from ckdmed.data.written_files import checksum
from ckdmed.json_files import parse_json

__all__ = ["OF_OTHERS", "add_checksums", "lines_of_others", "outputs_are_whole", "read_ledger", "stamp"]

#: marks a line that is kept for a later run over its input
OF_OTHERS = "of_other_inputs"


def read_ledger(path: Path) -> dict[str, dict[str, Any]]:
    """The records of a ledger by name, the last one of each; lines that are none are passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    records = {}
    for line in lines:
        try:
            record = parse_json(line, path.name)
            records[str(record["name"])] = record
        # the last line of a run that was killed may be half a line
        except (ValueError, KeyError, TypeError):
            continue
    return records


def add_checksums(path: Path, name: str, files: Sequence[str]) -> None:
    """Note files that were made of a result after its inference, so that a later run knows them again.

    Args:
        path: of the ledger.
        name: of the result.
        files: relative to the ledger's folder.
    """
    records = read_ledger(path)
    if name not in records:
        return
    known = dict(records[name].get("checksums") or {})
    records[name]["checksums"] = known | {file: checksum(path.parent / file) for file in files}
    text = "".join(json.dumps(record) + "\n" for record in records.values())
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def outputs_are_whole(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether all files of a result lie in the folder as they were written."""
    outputs, checksums = record.get("outputs"), record.get("checksums")
    if not outputs or not isinstance(outputs, list) or not isinstance(checksums, dict):
        return False
    return all(checksum(folder / str(name)) == checksums.get(name) for name in outputs)


def lines_of_others(
    records: Mapping[str, dict[str, Any]], names: Collection[str], folder: Path
) -> list[dict[str, Any]]:
    """Results of other inputs than these that still lie in the folder: who makes them anew asks whether they were
    corrected."""
    others = [record for name, record in records.items() if name not in names]
    there = [one for one in others if any((folder / str(file)).exists() for file in one.get("outputs") or ())]
    return [{**record, OF_OTHERS: True} for record in there]


def stamp(file: Path) -> tuple[str, int, int]:
    """Name, size and time of change of an input, by which it is known again."""
    stat = file.stat()
    # a link of the same name may lead to another patient's file of the same size and time
    name = str(file.resolve()) if file.is_symlink() else file.name
    return name, stat.st_size, stat.st_mtime_ns
