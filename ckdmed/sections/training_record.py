"""What a training notes of its patients, and the checks of whom the checkpoints know that it starts or learns from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.data.splits import GROUP_KEY
from ckdmed.sections.record import (
    RECORD_NAME,
    SECTION_NAMES,
    SHOWN,
    SectionOverlapError,
    SectionRecord,
    find_own_or_shipped,
    item_name,
    known_to,
    listed,
)

__all__ = ["check_unknown_to", "learned_of_validation", "record_sections"]

logger = logging.getLogger(__name__)


def record_sections(
    sections: Mapping[str, Sequence[Mapping[str, Any]]],
    output_dir: str,
    ckpt_dir: str,
    resume: bool = False,
    made_from: Sequence[str | None] = (),
    save: bool = True,
    parts: Sequence[str | None] = (),
) -> None:
    """Note the patients of a training's sections as ``sections.json``, in its output folder and beside its weights.

    Args:
        sections: "train", "validation", "test" -> items.
        output_dir, ckpt_dir: of the run.
        resume: the run goes on; its sections must be those it began with.
        made_from: checkpoints, or folders of bundles, that the training starts or learns from, such as its teacher's;
            the record has whom they know and this training does not. A run without any may hold None here.
        save: False on every rank but one, which checks only.
        parts: files that parts of a network start from, such as its encoder. Most are published weights, which know no
            patients and have no record; one that has a record is like the others.

    Raises:
        SectionOverlapError: a resumed run would have other patients in a section, or a checkpoint that it is made from
            was trained or chosen on one of its test patients.
    """
    record = SectionRecord.of(sections, Path(output_dir) / RECORD_NAME)
    if resume:
        if record.path.is_file():
            before = SectionRecord.read(record.path)
            _check_same(before, record)
            # what the run began with may lie elsewhere by now, without its own record beside it
            record = replace(record, earlier=before.earlier)
            made_from = [checkpoint for checkpoint in made_from if checkpoint and Path(checkpoint).exists()]
        elif any(Path(ckpt_dir).glob("*.pt")):
            # without weights there is no run to go on with: it begins here
            logger.warning(f"{output_dir} has no record of the run's sections; whether they are the same is unknown")
    # not each a file: "imagenet" is a word
    recorded = [part for part in parts if part and Path(part).expanduser().is_file() and find_own_or_shipped(part)]
    for checkpoint in [*filter(None, made_from), *recorded]:
        check_unknown_to(checkpoint, record)
        _tell_of_learned(checkpoint, sections)
        record = replace(record, earlier={**record.earlier, **_known_before(checkpoint, record)})
    if save:
        for folder in dict.fromkeys((output_dir, ckpt_dir)):
            record.write(Path(folder) / RECORD_NAME)


def _check_same(before: SectionRecord, now: SectionRecord) -> None:
    if before.items == now.items and before.patients == now.patients:
        return
    moved = []
    for name in SECTION_NAMES:
        for group in now.patients[name]:
            homes = [section for section in SECTION_NAMES if group in before.patients[section]]
            if homes and name not in homes:
                moved.append(f"'{group}' was in {homes[0]} and would be in {name}")
    earlier = {group for part in before.patients.values() for group in part}
    today = {group for part in now.patients.values() for group in part}
    changes = [f"{counted(len(moved), 'patient')} would change sections ({'; '.join(moved[:SHOWN])})"] if moved else []
    for words, groups in (("new", today - earlier), ("missing", earlier - today)):
        if groups:
            changes.append(f"{counted(len(groups), f'{words} patient')} ({listed(sorted(groups))})")
    raise SectionOverlapError(
        f"the run in {before.path.parent} cannot be resumed with different data: "
        f"{'; '.join(changes) or 'the items of its patients differ'}. Give the data and the settings of the split "
        "that it began with, or start a new run in another output_dir."
    )


def check_unknown_to(checkpoint: str, record: SectionRecord) -> None:
    """Raise SectionOverlapError where a checkpoint was trained or chosen on test patients of a record.

    Where single slices were dealt to its sections, patients stand on both sides, and its test slices count.
    """
    other = find_own_or_shipped(checkpoint)
    if other is None:
        logger.warning(
            f"{checkpoint} has no record of its patients; whether it was trained on test patients is unknown"
        )
        return
    known, what = known_to(other, record.patients["test"]), "patients"
    if known and record.by_item:
        known, what = sorted({*record.items["test"]} & {*other.items["train"], *other.items["validation"]}), "slices"
    if known:
        raise SectionOverlapError(
            f"{checkpoint} was trained or chosen on {len(known)} of this run's test {what} ({listed(known)}"
            f"; see {other.path}): give one that was trained on the same split."
        )


def learned_of_validation(sections: Mapping[str, Sequence[Mapping[str, Any]]], *checkpoints: str | None) -> list[str]:
    """The groups of a training's validation patients that some of the checkpoints were trained on.

    Args:
        sections: "train", "validation", "test" -> items.
        checkpoints: or folders of bundles; each with a record, or it tells nothing. None for one that is trained on
            the training section.
    """
    people: dict[str, set[str]] = {}
    for item in sections["validation"]:
        people.setdefault(str(item[GROUP_KEY]), set()).add(str(item["patient"]))
    learned: set[str] = set()
    for checkpoint in checkpoints:
        other = None if checkpoint is None else find_own_or_shipped(checkpoint)
        if other is not None and not other.by_item:
            # "validation" would be of any network that was chosen on the same split
            learned.update(group for group, names in people.items() if "train" in other.sections_of([group, *names]))
        elif other is not None or checkpoint is None:
            # of a split of single slices the patients stand on both sides, and only the slices tell
            used = {item_name(item) for item in sections["train"]} if other is None else {*other.items["train"]}
            learned.update(str(item[GROUP_KEY]) for item in sections["validation"] if item_name(item) in used)
    return sorted(learned)


def _tell_of_learned(checkpoint: str, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Warn of validation patients that a checkpoint learned and the training itself does not."""
    learned = sorted({*learned_of_validation(sections, checkpoint)} - {*learned_of_validation(sections, None)})
    if learned:
        logger.warning(
            f"{checkpoint} was trained on {counted(len(learned), 'validation patient')} of this run "
            f"({listed(learned)}): their scores are too high, and the best epoch and the thresholds would be chosen "
            "on patients already trained on. Give one that was trained on the same split, or set train_on_validation "
            "to true, which chooses nothing by them."
        )


def _known_before(checkpoint: str, record: SectionRecord) -> dict[str, list[str]]:
    """Patients that a checkpoint was trained or chosen on, and a record's own training was not."""
    other = find_own_or_shipped(checkpoint)
    if other is None:
        return {}
    found: dict[str, set[str]] = {}
    for known in (other.earlier, other.patients["train"], other.patients["validation"]):
        for group, names in known.items():
            found.setdefault(group, set(record.earlier.get(group, ()))).update(names)
    own = {group: {*names} for name in ("train", "validation") for group, names in record.patients[name].items()}
    return {group: sorted(names) for group, names in sorted(found.items()) if not names <= own.get(group, set())}
