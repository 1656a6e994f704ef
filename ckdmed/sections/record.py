"""Which patients a training used for what, kept beside its weights, so that nobody it knows is taken for a new one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ckdmed.bundle_files import weights_in
from ckdmed.counted import counted
from ckdmed.data.splits import GROUP_KEY
from ckdmed.file_hash import sha256_of
from ckdmed.files import write_json
from ckdmed.json_files import read_json

__all__ = [
    "NEW",
    "RECORD_NAME",
    "SECTION_NAMES",
    "SHOWN",
    "SectionOverlapError",
    "SectionRecord",
    "find_own_or_shipped",
    "find_record",
    "item_name",
    "known_to",
    "listed",
    "record_of_scored",
    "taught_the_network",
]

RECORD_NAME = "sections.json"
SECTION_NAMES = ("train", "validation", "test")
# of patients that a training did not know
NEW = "new"
_FORMAT = "ckdmed sections 1"
#: names in a message at most
SHOWN = 5
# the record of a run lies in its output folder, its weights in a folder in there or one further below
_FOLDERS_UP = 2
logger = logging.getLogger(__name__)


class SectionOverlapError(ValueError):
    """A patient would be scored that a network was trained or chosen on."""


@dataclass(frozen=True)
class SectionRecord:
    """The patients of each section of a training.

    Args:
        path: its file, for messages.
        patients: section -> patient group -> the identifiers that its person has. A training on the validation patients
            too has them in both sections.
        items: section -> what was used of its patients: ids of slices, or names of cases.
        by_item: the split was one of single slices, so that patients stand on both sides and only `items` tell them
            apart.
        shipped: of weights that everybody has, most of whom have data of other people, see `concerns`.
        earlier: the same as of a section, of those whom the training itself did not have, but what it began with or
            learnt from was trained or chosen on.
    """

    path: Path
    patients: Mapping[str, Mapping[str, Sequence[str]]]
    items: Mapping[str, Sequence[str]]
    by_item: bool = False
    shipped: bool = False
    earlier: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, sections: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]) -> SectionRecord:
        """The record of sections of items, to be written to ``path``."""
        patients: dict[str, dict[str, list[str]]] = {}
        for name in SECTION_NAMES:
            groups: dict[str, set[str]] = {}
            for item in sections[name]:
                groups.setdefault(str(item[GROUP_KEY]), set()).add(str(item["patient"]))
            patients[name] = {group: sorted(groups[group]) for group in sorted(groups)}
        crossing = set(patients["test"]) & {*patients["train"], *patients["validation"]}
        items = {name: sorted({item_name(item) for item in sections[name]}) for name in SECTION_NAMES}
        return cls(Path(path), patients, items, by_item=bool(crossing))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SectionRecord:
        """Read what `write` wrote.

        Raises:
            ValueError: the file is no such record.
        """
        try:
            content = read_json(path)
        except ValueError as error:
            raise _no_record(Path(path), error) from error
        return cls.from_content(content, path)

    @classmethod
    def from_content(cls, content: Any, path: str | os.PathLike[str]) -> SectionRecord:
        """The record of which `content` tells, that lies in ``path``.

        Raises:
            ValueError: it is no such record.
        """
        path = Path(path)
        try:
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
            parts = {name: content["sections"][name] for name in SECTION_NAMES}
            patients = {name: _persons(part["patients"]) for name, part in parts.items()}
            items = {name: [str(item) for item in part["items"]] for name, part in parts.items()}
            shipped = bool(content.get("shipped", False))
            earlier = _persons(content.get("earlier", {}))
            return cls(path, patients, items, content["split_by"] == "item", shipped, earlier)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_record(path, error) from error

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, whole or not at all."""
        write_json(path, self.content())

    def content(self) -> dict[str, Any]:
        """What `write` writes."""
        sections = {name: {"patients": self.patients[name], "items": self.items[name]} for name in SECTION_NAMES}
        split_by = "item" if self.by_item else "patient"
        # of what is made of weights that ship, which are of other people wherever they go
        shipped = {"shipped": True} if self.shipped else {}
        earlier = {"earlier": self.earlier} if self.earlier else {}
        return {"format": _FORMAT, "split_by": split_by, **shipped, "sections": sections, **earlier}

    def sections_of(self, identifiers: Iterable[str]) -> list[str]:
        """The sections in which a person of any of these identifiers is, in the order train, validation, test.

        Whom only earlier trainings had is in "train".
        """
        wanted = set(identifiers)
        return [
            name for name in SECTION_NAMES if any(wanted & {group, *known} for group, known in self._known_in(name))
        ]

    def _known_in(self, name: str) -> list[tuple[str, Sequence[str]]]:
        return [*self.patients[name].items(), *(self.earlier.items() if name == "train" else ())]

    def concerns(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Whether sections of these items are those of the record: of shipped weights, where it knows a person."""
        return not self.shipped or any(self.sections_of([str(item[GROUP_KEY]), str(item["patient"])]) for item in items)

    def assign(self, items: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Deal items that lie in a folder today to the recorded sections; no split is drawn.

        What a section has of its patients is what it had in the training. Items of unknown patients are the section
        "new". Further items of known patients, and those of earlier trainings' patients, are in none: they are neither
        new nor what was scored before.

        Args:
            items: with ``id`` (or ``case``), ``patient`` and ``patient_group``.

        Returns:
            "train", "validation", "test", "new" -> items in their given order.

        Raises:
            SectionOverlapError: persons of today's items are in several sections of the record, or a recorded item is
                of a patient of another section now.
        """
        dealt: dict[str, list[Any]] = {name: [] for name in (*SECTION_NAMES, NEW)}
        recorded = {name: set(self.items[name]) for name in SECTION_NAMES}
        left_over: dict[str, int] = {}
        before = {one for group, known in self.earlier.items() for one in (group, *known)}
        where = {} if self.by_item else self._sections_of_groups(items)
        for item in items:
            name, group = item_name(item), str(item[GROUP_KEY])
            homes = [section for section in SECTION_NAMES if name in recorded[section]]
            if self.by_item:
                homes = homes or ([] if {group, str(item["patient"])} & before else [NEW])
            elif not where[group]:
                if homes:
                    raise SectionOverlapError(
                        f"{self.path}: '{name}' was in the section {homes[0]} of the training, but now belongs to the "
                        f"patient '{item['patient']}', who was in none; give the data that the network was trained on."
                    )
                homes = [NEW]
            elif not set(homes) <= set(where[group]):
                raise SectionOverlapError(
                    f"{self.path}: '{name}' was in the section {homes[0]} of the training, but now belongs to the "
                    f"patient '{item['patient']}', who was in {where[group][0]}; give the data that the network was "
                    "trained on."
                )
            if not homes:
                left_over[group] = left_over.get(group, 0) + 1
            for section in homes:
                dealt[section].append(item)
        self._tell(dealt, left_over)
        return dealt

    def _sections_of_groups(self, items: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        """The recorded sections of each group of today's items."""
        section_of: dict[str, list[str]] = {}
        for name in SECTION_NAMES:
            for group, known in self._known_in(name):
                for one in {group, *known}:
                    section_of.setdefault(one, []).append(name)
        found: dict[str, set[str]] = {}
        for item in items:
            homes = found.setdefault(str(item[GROUP_KEY]), set())
            for identifier in {str(item[GROUP_KEY]), str(item["patient"])}:
                homes.update(section_of.get(identifier, ()))
        sections = {group: [name for name in SECTION_NAMES if name in homes] for group, homes in found.items()}
        if crossing := {group: homes for group, homes in sections.items() if "test" in homes and len(homes) > 1}:
            shown = "; ".join(f"'{group}' is in {' and '.join(crossing[group])}" for group in sorted(crossing)[:SHOWN])
            raise SectionOverlapError(
                f"{self.path}: {counted(len(crossing), 'patient')} of the present data were in several sections of "
                f"the training: {shown}. The network cannot be scored on them; leave their files out."
            )
        return sections

    def _tell(self, dealt: Mapping[str, Sequence[Any]], left_over: Mapping[str, int]) -> None:
        logger.info(f"the sections are those that the training recorded in {self.path}; no split is drawn")
        for name in ("validation", "test"):
            if missing := sorted(set(self.items[name]) - {item_name(item) for item in dealt[name]}):
                logger.warning(f"missing {counted(len(missing), f'recorded {name} item')}: {listed(missing)}")
        if groups := sorted({str(item[GROUP_KEY]) for item in dealt[NEW]}):
            logger.warning(
                f"{counted(len(groups), 'patient')} in none of the training's sections, such as those added later "
                f"(--section {NEW} scores them): {listed(groups)}"
            )
        if left_over:
            logger.warning(
                f"left out {counted(sum(left_over.values()), 'item')} of {counted(len(left_over), 'known patient')}, "
                "added after the training or used by the networks that it started or learned from: "
                f"{listed(sorted(left_over))}"
            )


def _persons(content: Mapping[Any, Iterable[Any]]) -> dict[str, list[str]]:
    return {str(group): [str(one) for one in known] for group, known in content.items()}


def _no_record(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path}: not a record of a training's sections ({type(error).__name__}: {error}); copy {RECORD_NAME} from "
        "the output folder of the training that made the weights."
    )


def find_record(checkpoint: str | os.PathLike[str]) -> SectionRecord | None:
    """The record that lies beside a checkpoint, or in the output folder of the run that the checkpoint is in.

    Raises:
        ValueError: there is one that cannot be read.
    """
    folder = Path(checkpoint).expanduser().absolute().parent
    if (folder / RECORD_NAME).is_file():
        return SectionRecord.read(folder / RECORD_NAME)
    for parent in list(folder.parents)[:_FOLDERS_UP]:
        # settings.json tells that the folder is a run's
        if (parent / RECORD_NAME).is_file() and (parent / "settings.json").is_file():
            return SectionRecord.read(parent / RECORD_NAME)
    return None


def find_own_or_shipped(checkpoint: str | os.PathLike[str]) -> SectionRecord | None:
    """As `find_record`; of a checkpoint that ships with a bundle what its ``model.json`` tells of its patients.

    Args:
        checkpoint: its path, or the folder of a bundle, which stands for its weights.

    Raises:
        ValueError: there is one that cannot be read.
    """
    checkpoint = weights_in(Path(checkpoint).expanduser())
    if (own := find_record(checkpoint)) is not None:
        return own
    place = checkpoint.with_suffix(".json")
    content = read_json(place) if place.is_file() and checkpoint.is_file() else None
    # weights that were put into a bundle's folder are others than its record tells of
    if not isinstance(content, Mapping) or "sections" not in content or content.get("sha256") != sha256_of(checkpoint):
        return None
    return replace(SectionRecord.from_content(content["sections"], place), shipped=True)


def record_of_scored(checkpoint: str | None) -> SectionRecord | None:
    """The record of a checkpoint that is to be scored; None without a checkpoint, or with a warning that it has none.

    Args:
        checkpoint: None where a network is trained, not scored.
    """
    record = None if checkpoint is None else find_own_or_shipped(checkpoint)
    if checkpoint is not None and record is None:
        logger.warning(
            f"{checkpoint} has no record of the patients that it was trained on ({RECORD_NAME} beside it): a new "
            "split is drawn, which is that of the training only if the folder and the settings of the split are the "
            "same."
        )
    return record


def known_to(record: SectionRecord, patients: Mapping[str, Iterable[str]]) -> list[str]:
    """The groups on whose persons a network was trained or chosen."""
    return sorted(group for group, names in patients.items() if taught_the_network(record.sections_of([group, *names])))


def taught_the_network(sections: Iterable[str]) -> bool:
    """Whether a network was trained or chosen on a patient of these sections: not on one of the test set alone."""
    return bool({"train", "validation"} & set(sections))


def item_name(item: Mapping[str, Any]) -> str:
    """By which a record knows an item."""
    return str(item.get("case", item["id"]))


def listed(names: Sequence[str]) -> str:
    """The first names, and how many there are beside them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
