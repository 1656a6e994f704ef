"""The networks that are scored: one of a run or a bundle, and a teacher beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ckdmed.bundle.setting_check import check_given, taken_settings
from ckdmed.deploy.source import DeploySource, find_source
from ckdmed.file_hash import sha256_of
from ckdmed.json_files import read_json
from ckdmed.sections.record import find_record

__all__ = ["MADE", "STUDENT", "TEACHER", "ScoredNetwork", "networks_of"]

STUDENT, TEACHER = "student", "teacher"
CONFIGS = ("train.json", "evaluate.json")
#: settings that every evaluation here is given
MADE = (
    *("checkpoint", "section", "corruption", "dataset_dir", "output_dir", "evaluation_dir", "resume", "bundle_root"),
    "distributed",
)
# a bundle that distils -> the one that scores a teacher
_TEACHER_BUNDLES = {
    "seg_kd": "seg_teacher",
    "cls_kd": "cls_teacher",
    "brats_seg_kd": "brats_seg_teacher",
    "brats_unimodal_kd": "brats_seg_teacher",
}


@dataclass(frozen=True)
class ScoredNetwork:
    """A trained network and the bundle that evaluates it.

    Attributes:
        name: "student" or "teacher".
        source: see there.
    """

    name: str
    source: DeploySource

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the configuration of its evaluation says, before anything is evaluated."""
        return {key: value for name in CONFIGS for key, value in read_json(self.source.configs / name).items()}

    @cached_property
    def sha256(self) -> str:
        """Of the checkpoint."""
        return sha256_of(self.source.checkpoint)

    def own(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the settings that its bundle has: a teacher's has none of the student."""
        known = {*self.config, *taken_settings(self.config)}
        return {name: value for name, value in settings.items() if name.split("#")[0] in known}

    def trained_on(self) -> set[str] | None:
        """The patient groups of its training, by the record beside the checkpoint; None where nothing tells them."""
        record = find_record(self.source.checkpoint)
        if record is not None:
            # slices were dealt one by one: patients are on both sides by intention
            return set() if record.by_item else set(record.patients["train"])
        return _groups_of_shipped(self.source.checkpoint)


def networks_of(
    given: str,
    checkpoint: str | Path | None = None,
    teacher_checkpoint: str | Path | None = None,
    dataset_dir: str | Path | None = None,
) -> list[ScoredNetwork]:
    """The network of a run or a bundle, and the teacher beside it where there is a checkpoint of one.

    Args:
        given, checkpoint, dataset_dir: see :func:`~ckdmed.deploy.source.find_source`.
        teacher_checkpoint: of a teacher, scored by the bundle that trains teachers for this one.

    Raises:
        ValueError: as ``find_source``; a bundle that cannot evaluate; a teacher for a network that is one itself.
    """
    source = find_source(given, checkpoint, dataset_dir)
    is_student = source.bundle in _TEACHER_BUNDLES
    if missing := [name for name in CONFIGS if not (source.configs / name).is_file()]:
        raise ValueError(f"{source.configs}: there is no {missing[0]}, so this bundle cannot be evaluated.")
    found = [ScoredNetwork(STUDENT if is_student else TEACHER, source)]
    if teacher_checkpoint is not None:
        if not is_student:
            raise ValueError(
                f"{given} is of the bundle {source.bundle}, whose network has no teacher: leave --teacher_checkpoint "
                "out."
            )
        found.append(ScoredNetwork(TEACHER, find_source(_TEACHER_BUNDLES[source.bundle], teacher_checkpoint)))
    return found


def check_settings_of(networks: list[ScoredNetwork], settings: Mapping[str, Any]) -> None:
    """Raise ValueError where settings for all evaluations are made here, or the first network's bundle lacks them, or
    their values are wrong."""
    if taken := sorted(set(settings) & set(MADE)):
        raise ValueError(f"the command sets {', '.join(taken)} itself; use its own arguments.")
    check_given(networks[0].config, settings)


def _groups_of_shipped(checkpoint: Path) -> set[str] | None:
    """What ``model.json`` of a shipped checkpoint says of its split."""
    path = checkpoint.with_suffix(".json")
    content = read_json(path) if path.is_file() else None
    split = content.get("split") if isinstance(content, Mapping) else None
    if not isinstance(split, Mapping) or not {"patient_groups", "trained_on"} <= set(split):
        return None
    return {str(group) for part in split["trained_on"] for group in split["patient_groups"].get(part, ())}
