"""The ledger of an inference: what was finished, and whether it still lies there as it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.atomic_files import write_atomic
from ckdmed.data.image_files import FoundInputs, InputItem
from ckdmed.data.input_walk import SkippedFile
from ckdmed.data.written_files import checksum
from ckdmed.files import naming_full_disk
from ckdmed.json_files import parse_json

__all__ = [
    "OF_OTHERS",
    "add_checksums",
    "add_line",
    "fingerprint",
    "gone_inputs",
    "line_of_undone",
    "lines_of_others",
    "outputs_are_whole",
    "places",
    "read_ledger",
]

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


def add_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append a record to a ledger; the last one of a name counts."""
    with naming_full_disk(path), open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def places(item: InputItem) -> list[str]:
    """Where its files lie, for whoever reads the report from another folder."""
    return [str(file.absolute()) for file in item.files]


def line_of_undone(item: InputItem, checksums: object = None) -> dict[str, Any]:
    """The record of an input that is still to be done, by which a later run knows that it was there.

    Args:
        item: the input.
        checksums: of the files of an earlier result, which may be corrected before this input's turn comes.
    """
    line: dict[str, Any] = {"name": item.name, "input": places(item), "outputs": []}
    return {**line, "checksums": checksums} if checksums else line


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


def gone_inputs(records: Mapping[str, Mapping[str, Any]], found: FoundInputs) -> list[SkippedFile]:
    """Inputs of the run that wrote the records that are not there any more."""
    gone = []
    there = {item.name for item in found.items} | {str(entry.path.absolute()) for entry in found.skipped}
    for name, record in records.items():
        if record.get(OF_OTHERS):
            continue
        files = [str(file) for file in record.get("input") or [name]]
        if name not in there and not there.intersection(str(Path(file).absolute()) for file in files):
            kept = "; its earlier result is kept" if record.get("outputs") else ""
            reason = f"{files[0]}: it was an input of the resumed run, and no longer exists{kept}."
            gone.append(SkippedFile(Path(files[0]), reason))
    return gone


def lines_of_others(
    records: Mapping[str, dict[str, Any]], names: Collection[str], folder: Path
) -> list[dict[str, Any]]:
    """Results of other inputs than these that still lie in the folder: who makes them anew asks whether they were
    corrected."""
    others = [record for name, record in records.items() if name not in names]
    # of one that was to be done anew the checksums alone tell of files
    files = [{*(one.get("outputs") or ()), *(one.get("checksums") or ())} for one in others]
    there = [one for one, own in zip(others, files) if any((folder / str(name)).exists() for name in own)]
    return [{**record, OF_OTHERS: True} for record in there]


def _stamp(file: Path) -> tuple[str, int, int]:
    """Name, size and time of change of an input, by which it is known again."""
    stat = file.stat()
    # a link of the same name may lead to another patient's file of the same size and time
    name = str(file.resolve()) if file.is_symlink() else file.name
    return name, stat.st_size, stat.st_mtime_ns


def fingerprint(files: Sequence[Path], state: Sequence[Any]) -> str:
    """By which a result is known to be of these files and this state, such as weights and settings."""
    members = [member for file in files for member in (sorted(file.iterdir()) if file.is_dir() else [file])]
    whole = [[_stamp(file) for file in members], *state]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()
