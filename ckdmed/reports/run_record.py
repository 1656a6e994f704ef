from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.json_files import JsonFileError, read_json

from .files import plain, write_json

__all__ = ["RunRecord", "machine_in_words", "package_versions", "read_records"]

_PACKAGES = ("ckdmed", "torch", "monai", "pytorch-ignite", "numpy", "scipy", "scikit-image", "h5py", "nibabel")
_SCHEMA = 1


@dataclass(frozen=True)
class RunRecord:
    """One run on one page: what was run, on what, and what came out. The tables of the documentation are made of these.

    Attributes:
        name: of the run, unique in its folder.
        arm: what is compared ("student_alone", "kd" ...); runs of one arm differ in seed or fold only.
        command: the command line, one entry per word.
        seed: random seed.
        split: how patients were divided, for example {"name": "official", "fold": 1}.
        data_sha256: hash of the datalist or manifest that the run read; empty where it read none, as of phantoms.
        metrics: numbers by name, None where undefined; compared in tables.
        patients: of some metrics, the number of each patient group by its name; empty where a run keeps none.
        costs: what the run took, by name, such as "ms per step"; another number on every machine and in every run.
        settings: everything that was configured.
        options: what the options of the distillation's method were, their defaults of then among them; empty where the
            run has no method, or an earlier version made the record.
        packages: versions by package.
        machine: in words, without names of hosts or users.
        seconds: how long the run took, None where unknown.
        notes: what a reader must know.
        schema: version of this format.
    """

    name: str
    arm: str
    command: list[str]
    seed: int
    split: dict[str, Any]
    metrics: dict[str, float | None]
    patients: dict[str, dict[str, float | None]] = field(default_factory=dict)
    costs: dict[str, float | None] = field(default_factory=dict)
    data_sha256: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=lambda: package_versions())
    machine: str = field(default_factory=lambda: machine_in_words())
    seconds: float | None = None
    notes: str = ""
    schema: int = _SCHEMA

    def __post_init__(self) -> None:
        _check(vars(self), f"record {self.name!r}")

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the record as JSON, whole or not at all."""
        return write_json(path, asdict(self))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> RunRecord:
        """Read a record.

        Raises:
            ValueError: when the file is not JSON, lacks a field, has an unknown one, or one of the wrong type; the
                message names file and field.
        """
        try:
            content = read_json(path)
        except JsonFileError as error:
            raise ValueError(f"{path} is not a run record: {error}") from error
        return cls.from_plain(content, str(path))

    def to_json(self) -> str:
        """The record on one line, in ASCII."""
        return json.dumps(plain(asdict(self)), allow_nan=False)

    @classmethod
    def from_plain(cls, content: Any, where: str) -> RunRecord:
        """The record of what JSON holds.

        Args:
            content: of a file of :meth:`write`, or of :meth:`to_json`.
            where: names it in an error.

        Raises:
            ValueError: as :meth:`read`.
        """
        if not isinstance(content, dict):
            raise ValueError(f"{where} is not a run record: it holds {type(content).__name__}, not an object")
        content = {**{name: {} for name in _LATER}, **content}
        _check(content, where)
        return cls(**content)


def read_records(paths: Sequence[str | os.PathLike[str]]) -> list[RunRecord]:
    """The records of files, and of all ``*.json`` in folders among ``paths``, sorted by name.

    Raises:
        ValueError: when a folder has none, two records have one name, or a file is not a record.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = record_files(path) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"{path} has no run records (*.json)")
        files += found
    records = sorted((RunRecord.read(file) for file in files), key=lambda record: record.name)
    names = [record.name for record in records]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several records have the name {twice[0]!r}; a run counts once")
    return records


def record_files(folder: Path) -> list[Path]:
    """The records in a folder; hidden files, such as a killed process leaves half written, are none."""
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def package_versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Versions of the packages that are installed, and of Python."""
    return {"python": platform.python_version()} | _installed(tuple(packages))


# an experiment plans a run many times, and to parse the packages' metadata took most of that
@lru_cache
def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def machine_in_words() -> str:
    """Processor, cores, memory and GPUs of this machine; no names of hosts or users.

    The cores are those that this process may use, which is less than the machine has within a container.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [f"{_processor()}, {counted(cores, 'core')}"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB memory")
    # tables are read and written without torch as well
    try:
        import torch
    except ImportError:
        return ", ".join(parts)
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    parts += [f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus)] or ["no GPU"]
    return ", ".join(parts)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine() or "unknown processor"


# fields that the first records of this schema do not have
_LATER = ("patients", "costs", "options")

_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "arm": (str,),
    "command": (list,),
    "seed": (int,),
    "split": (dict,),
    "metrics": (dict,),
    "patients": (dict,),
    "costs": (dict,),
    "data_sha256": (str,),
    "settings": (dict,),
    "options": (dict,),
    "packages": (dict,),
    "machine": (str,),
    "seconds": (int, float, type(None)),
    "notes": (str,),
    "schema": (int,),
}


def _check(content: Mapping[str, Any], where: str) -> None:
    names = [f.name for f in fields(RunRecord)]
    lacking, unknown = [n for n in names if n not in content], sorted(set(content) - set(names))
    if lacking or unknown:
        raise ValueError(f"{where} is not a run record: lacks {lacking or 'nothing'}, unknown {unknown or 'nothing'}")
    for name, types in _TYPES.items():
        if not isinstance(content[name], types) or isinstance(content[name], bool):
            allowed = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise ValueError(f"{where}: {name} must be {allowed}, got {content[name]!r}")
    if content["schema"] != _SCHEMA:
        raise ValueError(f"{where}: schema {content['schema']} is not known; this version reads schema {_SCHEMA}")
    if not content["name"] or not content["arm"]:
        raise ValueError(f"{where}: name and arm must not be empty")
    if any(not isinstance(word, str) for word in content["command"]):
        raise ValueError(f"{where}: command must be a list of words, got {content['command']!r}")
    numbers = {f"metric {name!r}": value for name, value in content["metrics"].items()}
    numbers |= {f"cost {name!r}": value for name, value in content["costs"].items()}
    for name, scores in content["patients"].items():
        if not isinstance(scores, Mapping):
            raise ValueError(f"{where}: patients: {name!r} must map patients to numbers, got {scores!r}")
        numbers |= {f"patients: {name!r} of {patient!r}": value for patient, value in scores.items()}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(plain(value), (int, float, type(None))):
            raise ValueError(f"{where}: {name} must be a number or null, got {value!r}")
