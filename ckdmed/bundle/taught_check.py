"""Whether a teacher, or what a student starts from, has learnt what the student is to learn, by its own record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.setting_check import WrongSettingError, checked
from ckdmed.bundle.settings_table import settings_for
from ckdmed.bundle.started_from import started_from
from ckdmed.bundle.trained import Trained, trained_with
from ckdmed.data import region_names
from ckdmed.runtime import is_deployed

__all__ = ["check_started_from", "check_taught"]


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
# of its outputs alone: a student may start from what was learnt of other images
_OF_OUTPUTS = {name: _MEANINGS[name] for name in ("class_names", "regions")}
# which network weights are of; its options may differ where the weights fit, as a dropout does
_OF_NETWORK = {name: _as_given for name in ("student_kind", "student_base", "student_backbone")}


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
        meanings = _OF_OUTPUTS
    else:
        return
    wrong = [line for record in records for line in _differences(parser, record, meanings)]
    if wrong:
        raise WrongSettingError(
            " ".join(wrong)
            + " A teacher has the same input and output channels as its student, in the same order: give these "
            f"settings the values of the teacher's training, or give another --{option}."
        )


def check_started_from(parser: ConfigParser) -> None:
    """Refuse weights that a student is to start from whose record tells of other outputs than this training has, or of
    another network, and a deployed file, which cannot learn.

    Weights without a record, or with one from before such a setting was there, are accepted. Nothing is checked where
    no student is trained.

    Args:
        parser: of the bundle, with what is given.

    Raises:
        WrongSettingError: names each setting with both values and the file, or the deployed file.
    """
    config = parser.get()
    given = parser.get_parsed_content("student_pretrained") if "student_pretrained" in config else None
    # what is not there is told of where it is loaded
    if "trained" in config or given is None or not Path(given).is_file():
        return
    if is_deployed(given):
        raise WrongSettingError(
            f"--student_pretrained '{given}' is a deployed file, which cannot be trained: give the weights that it "
            "was made from, models/model.pt of their training."
        )
    if wrong := _differences(parser, trained_with(given), _OF_OUTPUTS):
        raise WrongSettingError(
            " ".join(wrong)
            + " The student's outputs must be those of its initial weights, in the same order: give these settings the "
            "values of their training, or give other weights with --student_pretrained."
        )
    # the layers of a pruned network have channels of their own, so that its weights fit whatever base is given
    if wrong := _differences(parser, started_from(given), _OF_NETWORK):
        raise WrongSettingError(" ".join(wrong) + " Leave them out: they are taken from the record of the weights.")


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
