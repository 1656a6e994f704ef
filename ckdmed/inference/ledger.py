"""The ledger of an inference: what was finished, and whether it still lies there as it was written."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckdmed.data.nifti_files import is_whole_nifti
from ckdmed.json_files import parse_json

__all__ = ["checksum", "edited_output", "outputs_are_whole", "read_ledger", "stamp"]


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


def outputs_are_whole(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether all files of a result lie in the folder as they were written."""
    outputs, checksums = record.get("outputs"), record.get("checksums")
    if not outputs or not isinstance(outputs, list) or not isinstance(checksums, dict):
        return False
    return all(checksum(folder / str(name)) == checksums.get(name) for name in outputs)


def edited_output(record: Mapping[str, Any], folder: Path) -> Path | None:
    """A volume of a result that somebody may have corrected since it was written; what is damaged cannot be read."""
    checksums = record.get("checksums")
    for name, stated in checksums.items() if isinstance(checksums, dict) else ():
        path = folder / str(name)
        if checksum(path) not in (None, stated) and is_whole_nifti(path):
            return path
    return None


def checksum(path: Path) -> list[int] | None:
    """Size and CRC-32 of a file, which may have been damaged since it was written; None where there is none."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return [len(content), zlib.crc32(content)]


def stamp(file: Path) -> tuple[str, int, int]:
    """Name, size and time of change of an input, by which it is known again."""
    stat = file.stat()
    # a link of the same name may lead to another patient's file of the same size and time
    name = str(file.resolve()) if file.is_symlink() else file.name
    return name, stat.st_size, stat.st_mtime_ns
