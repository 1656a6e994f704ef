"""What an inference left in its output folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckdmed.json_files import read_json
from ckdmed.paths import output_path
from ckdmed.sections.record import taught_the_network

__all__ = ["InferenceRun", "Result", "read_inference_run"]

REPORT, SETTINGS = "report.json", "settings.json"


@dataclass(frozen=True)
class Result:
    """What was found of one input.

    Attributes:
        name: of its files.
        inputs: its images.
        outputs: its files that are there.
        missing: names of those that are not.
        known_from: sections of the network's training that hold this patient.
        more: whatever else the report says of it.
    """

    name: str
    inputs: Sequence[Path]
    outputs: Sequence[Path]
    missing: Sequence[str]
    known_from: Sequence[str]
    more: Mapping[str, Any]

    @property
    def taught(self) -> bool:
        """Whether the network was trained or chosen on this patient, whose result then says little of others."""
        return taught_the_network(self.known_from)

    @property
    def warnings(self) -> list[str]:
        """What a person must know before believing the result, in sentences."""
        found = []
        if self.taught:
            sections = ", ".join(self.known_from)
            found.append(f"The network was trained or chosen on this patient (sections of its training: {sections}).")
        unlike = self.more.get("intended_inputs")
        if isinstance(unlike, Mapping) and unlike.get("warning"):
            reasons = "; ".join(str(reason) for reason in unlike.get("reasons") or ())
            found.append(f"{unlike['warning']}{f': {reasons}' if reasons else ''}.")
        return found

    @property
    def facts(self) -> Mapping[str, Any]:
        """What else the report says of it, without what is in the warnings."""
        return {name: value for name, value in self.more.items() if name != "intended_inputs"}


@dataclass(frozen=True)
class InferenceRun:
    """An inference, by its files.

    Attributes:
        folder: of its files.
        report: its ``report.json``.
        results: of the inputs, in the order of the report.
        command, versions: of the run, empty where it left no ``settings.json``.
    """

    folder: Path
    report: Mapping[str, Any]
    results: Sequence[Result]
    command: Sequence[str]
    versions: Mapping[str, str]

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the results depend on."""
        found = self.report.get("settings")
        return found if isinstance(found, Mapping) else {}

    @property
    def skipped(self) -> Sequence[Mapping[str, Any]]:
        """File and cause of each input that could not be used."""
        return [entry for entry in self.report.get("skipped") or () if isinstance(entry, Mapping)]


def read_inference_run(folder: Path) -> InferenceRun:
    """Read the report of an inference.

    Raises:
        ValueError: it is damaged, or names an output outside of the folder; names the file.
    """
    path = folder / REPORT
    report = read_json(path)
    if not isinstance(report, dict) or not isinstance(report.get("results"), list):
        raise ValueError(f"{path}: is not a report of an inference (no list of 'results').")
    if not isinstance(report.get("counts") or {}, dict):
        raise ValueError(f"{path}: its counts are not an object, got {report['counts']!r}.")
    record = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    record = record if isinstance(record, dict) else {}
    return InferenceRun(
        folder=folder,
        report=report,
        results=[_result(folder, entry, number) for number, entry in enumerate(report["results"], 1)],
        command=[str(word) for word in record.get("command") or ()],
        versions={str(name): str(value) for name, value in (record.get("versions") or {}).items()},
    )


def _result(folder: Path, entry: Any, number: int) -> Result:
    where = f"{folder / REPORT}: result {number}"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError(f"{where} has no name.")
    lists = {key: entry.get(key) or [] for key in ("input", "outputs", "known_from")}
    for key, value in lists.items():
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise ValueError(f"{where} ({entry['name']}): {key} must be a list of names, got {value!r}.")
    places = {name: output_path(folder, name, make_parents=False) for name in lists["outputs"]}
    return Result(
        name=entry["name"],
        inputs=[Path(file) for file in lists["input"]],
        outputs=[place for place in places.values() if place.is_file()],
        missing=[name for name, place in places.items() if not place.is_file()],
        known_from=lists["known_from"],
        more={key: value for key, value in entry.items() if key not in ("name", *lists)},
    )
