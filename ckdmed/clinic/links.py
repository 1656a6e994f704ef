"""Links to the series that were chosen, under names that their results get, and whose results lie there already."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.clinic.patients import ChosenSeries, Patient
from ckdmed.files import write_json
from ckdmed.inference.job import LEDGER
from ckdmed.inference.ledger import read_ledger
from ckdmed.json_files import JsonFileError, read_json
from ckdmed.paths import output_path

__all__ = ["INPUTS", "clear_links", "link_series", "note_sources", "numbered", "place_of"]

INPUTS = "inputs"
#: of each place for links that any call used, the files that they led to
SOURCES = "sources.json"


def clear_links(inputs: Path) -> None:
    """Remove the links of an earlier call.

    Raises:
        ValueError: something is no link, so that it was put there by somebody else.
    """
    there = [path for path in sorted(inputs.rglob("*")) if path.is_symlink() or not path.is_dir()]
    if others := [path for path in there if not path.is_symlink()]:
        raise ValueError(f"{others[0]}: not a link that this command made; give another folder for the results.")
    for link in there:
        link.unlink()


def link_series(inputs: Path, patient: Patient, number: int, series: ChosenSeries) -> Path:
    """Links to the files of a series; returns the link, or the folder of the links of a DICOM series."""
    place = _planned(inputs, patient, number, series)
    links = {place: series.files[0]}
    if series.kind == "dicom":
        links = {place / name: file for name, file in zip(numbered(series.files), series.files)}
    for link, file in links.items():
        output_path(inputs, link.relative_to(inputs)).symlink_to(os.path.realpath(file))
    return place


def numbered(files: Sequence[Path]) -> list[str]:
    """Names of the links to the files of a DICOM series."""
    return [f"{index:05d}.dcm" for index in range(len(files))]


def place_of(path: Path, placed: Mapping[Path, tuple[Patient, ChosenSeries]]) -> Path | None:
    """Of the series that an input is, or lies in the folder of; None for another input."""
    file = path.absolute()
    return next((place for place in (file, file.parent) if place in placed), None)


def note_sources(output_dir: Path, patients: Sequence[Patient]) -> None:
    """Note where the series of patients lie, so that no later call takes others of the same names for them.

    Raises:
        ValueError: results of another file or folder lie where those of a series would be written.
    """
    inputs = output_dir / INPUTS
    planned = {
        _planned(inputs, patient, number, series): (patient, series)
        for patient in patients
        for number, series in enumerate(patient.chosen)
    }
    known = _known_sources(output_dir)
    done = _places_with_results(output_dir)
    new = {}
    for place, (patient, series) in planned.items():
        name = place.relative_to(inputs).as_posix()
        real = [os.path.realpath(file) for file in series.files]
        # a series may have got further files
        new[name] = sorted({os.path.dirname(file) for file in real}) if series.kind == "dicom" else real
        if place.absolute() in done and (earlier := known.get(name)) and not set(earlier) & set(new[name]):
            raise ValueError(
                f"{output_dir / patient.name}: holds the results of {earlier[0]}, which those of {new[name][0]} would "
                "replace. Give another folder for the results, or move these away."
            )
    write_json(output_path(output_dir, SOURCES), {**known, **new})


def _known_sources(output_dir: Path) -> dict[str, list[str]]:
    try:
        known = read_json(output_dir / SOURCES)
    # of earlier versions; or it was damaged since, and says nothing
    except (FileNotFoundError, JsonFileError):
        return {}
    return {name: files for name, files in known.items() if isinstance(files, list)} if isinstance(known, dict) else {}


def _places_with_results(output_dir: Path) -> set[Path]:
    """Of all calls: the links, and folders of links, of which results lie in the output folder."""
    places: set[Path] = set()
    for record in read_ledger(output_dir / LEDGER).values():
        if any((output_dir / str(file)).exists() for file in _outputs(record)):
            for file in record.get("input") or ():
                places |= {Path(str(file)).absolute(), Path(str(file)).absolute().parent}
    return places


def _outputs(record: Mapping[str, Any]) -> set[str]:
    # of one that was to be done anew the checksums alone tell of files
    return {*(record.get("outputs") or ()), *(record.get("checksums") or ())}


def _planned(inputs: Path, patient: Patient, number: int, series: ChosenSeries) -> Path:
    if series.kind != "dicom":
        return inputs / patient.name / series.files[0].name
    return inputs / patient.name / (f"series{number}" if len(patient.chosen) > 1 else "series")
