"""What earlier runs wrote into an output folder, by what, and of which inputs: so that no run replaces another's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.data.image_files import InputItem
from ckdmed.data.written_files import as_written, checksum
from ckdmed.file_hash import content_mark, sha256_of
from ckdmed.json_files import parse_json
from ckdmed.paths import output_path
from ckdmed.runtime.predict import Predictor

__all__ = ["TABLE_OF_ALL", "EarlierRuns"]

#: Under which name the record stands of a table of all inputs; no input has it.
TABLE_OF_ALL = ""


class EarlierRuns:
    """The record that each run adds to: a line for each result as it is written, also of a run that was killed.

    Args:
        path: of the record; there may be none.
        predictor: of this run.
        items: the inputs of this run.
    """

    def __init__(self, path: Path, predictor: Predictor, items: Iterable[InputItem]) -> None:
        self._path = path
        self._network = _digest(predictor)
        self._marks = {item.name: _mark(item) for item in items}
        self._known = _read(path)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def checksums(self, name: str) -> Any:
        """Of the files of a result, as they were written; None of one that no run wrote."""
        return self._known[name].get("files") if name in self._known else None

    def refuse_to_replace(self, names: Iterable[str]) -> None:
        """See to it that this run replaces no whole result that it would not make again.

        Args:
            names: of the results that it makes.

        Raises:
            ValueError: names the folder, and what to do.
        """
        folder = self._path.parent
        others = [
            name
            for name in names
            if as_written(self.checksums(name), folder) and not self._is_of_this_run(self._known[name])
        ]
        if others:
            such_as = "" if others == [TABLE_OF_ALL] else f", such as {others[0]}"
            raise ValueError(
                f"'{folder}' holds {counted(len(others), 'result')} of another deployed file, threshold or setting, or "
                f"of inputs that have changed since{such_as}; nothing in it is overwritten. To redo them there: "
                "--replace | To leave them as they are: another --output_dir"
            )

    def _is_of_this_run(self, record: Mapping[str, Any]) -> bool:
        inputs = record.get("inputs")
        if record.get("network") != self._network or not isinstance(inputs, Mapping):
            return False
        # what cannot be read is skipped, and its result stays
        return all(self._marks.get(name) in (None, mark) for name, mark in inputs.items())

    def note(self, name: str, inputs: Sequence[str], files: Sequence[str]) -> None:
        """Note a result, or, with no files, that it is about to be written.

        Args:
            name: of the result.
            inputs: names of those that it is of.
            files: relative to the folder.
        """
        folder = self._path.parent
        record = {
            "network": self._network,
            "inputs": {name: self._marks[name] for name in inputs},
            "files": {file: checksum(folder / file) for file in files},
        }
        with open(output_path(folder, self._path.name), "a", encoding="utf-8") as stream:
            stream.write(f"{json.dumps({name: record})}\n")


def _digest(predictor: Predictor) -> str:
    """By which results of a deployed file and its settings are known from those of others, wherever the file lies."""
    form = predictor.form.path
    # OpenVINO has the weights in a file of their own
    files = [form, form.with_suffix(".bin")] if form.suffix.lower() == ".xml" else [form]
    parts = [[sha256_of(file) for file in files], predictor.threshold, predictor.tta, predictor.slice_axis]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _mark(item: InputItem) -> str | None:
    try:
        return " ".join(map(content_mark, item.files))
    except OSError:
        return None


def _read(path: Path) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return known
    for line in lines:
        try:
            for name, record in parse_json(line, path.name).items():
                # earlier versions noted the files alone
                known[name] = record if "files" in record else {"files": record}
        # the last one of a killed run may be half a line
        except (ValueError, TypeError, AttributeError):
            continue
    return known
