"""Whether a teacher has learnt what its student is to learn, by the record beside the teacher's checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.setting_check import WrongSettingError, checked
from ckdmed.bundle.settings_table import settings_for
from ckdmed.bundle.trained import Trained, trained_with
from ckdmed.data import region_names

__all__ = ["check_taught"]


def _as_given(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _regions(value: Any) -> list[Any]:
    return region_names(value) if value is None or isinstance(value, Mapping) else list(value)


# what the channels of a teacher's inputs and outputs mean, in their order; labels may name a region by other values
_MEANINGS: Mapping[str, Callable[[Any], Any]] = {
    "task": _as_given,
    "modalities": _as_given,
    "class_names": _as_given,
    "regions": _regions,
}


def check_taught(parser: ConfigParser) -> None:
    """Refuse a teacher's checkpoint whose record tells of other inputs or outputs than this training has.

    A teacher without a record, or with one from before such a setting was there, is accepted. Of several teachers, each
    of its own sequences, the outputs alone are checked. Nothing is checked where no student is trained.

    Args:
        parser: of the bundle, with what is given.

    Raises:
        WrongSettingError: names each setting with both values and the checkpoint.
    """
    config = parser.get()
    if "taught" not in config or "trained" in config:
        return
    if "teacher_checkpoint" in config:
        option, records, meanings = "teacher_checkpoint", [parser.get_parsed_content("taught")], _MEANINGS
    elif "teacher_checkpoints" in config:
        option, given = "teacher_checkpoints", parser.get_parsed_content("teacher_checkpoints") or {}
        records = [trained_with(checkpoint, teacher=True) for checkpoint in given.values()]
        meanings = {"regions": _regions}
    else:
        return
    wrong = [line for record in records for line in _differences(parser, record, meanings)]
    if wrong:
        raise WrongSettingError(
            " ".join(wrong) + " A teacher takes and gives the same channels as its student, in the same order: give "
            f"these settings as the teacher's training had them, or another --{option}."
        )


def _differences(parser: ConfigParser, record: Trained, meanings: Mapping[str, Callable[[Any], Any]]) -> list[str]:
    config = parser.get()
    table = settings_for(config)
    wrong = []
    for name, meaning in meanings.items():
        if record.settings is None or name not in record.settings or name not in config:
            continue
        own = parser.get_parsed_content(name)
        own, taught = (checked(name, value, table[name]) for value in (own, record[name]))
        if meaning(own) != meaning(taught):
            wrong.append(f"--{name} is {own!r}, but '{record.checkpoint}' was trained with {taught!r}.")
    return wrong
