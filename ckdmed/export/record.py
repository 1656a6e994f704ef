"""The records that go along with exported weights: with which settings they were trained."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.trained import (
    check_trained,
    portable_settings,
    record_to_ship,
    recorded_settings,
    told_by_teacher,
    trained_with,
)
from ckdmed.export.configs import component_settings

__all__ = ["student_record", "teacher_record"]

Config = Mapping[str, Any]


def student_record(configs: Mapping[str, Config], checkpoint: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the training of the weights that an inference uses.

    They are those of the training's own record, with what an inference reads of it and the record, from before such a
    setting, lacks.

    Args:
        configs: file name -> content, in the source tree.
        checkpoint: the weights.
        overrides: settings as given; they stand for a record where there is none, and must not contradict one.

    Raises:
        WrongSettingError: they contradict it; names each with both values.
        RefusedStart: there is neither a record nor all that it would tell.
    """
    inference = configs["inference.json"]
    parser = _with_checkpoint(inference, "checkpoint", checkpoint, overrides)
    known = recorded_settings(checkpoint)
    if known is not None:
        # an evaluation reads more of it, such as what teacher to show beside
        evaluation = {**configs["train.json"], **configs["evaluate.json"]}
        _with_checkpoint(evaluation, "checkpoint", checkpoint, overrides)
    return record_to_ship(parser, inference, known)


def teacher_record(train: Config, checkpoint: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a teacher that is shipped for further training: what tells its network, and what its record holds.

    Args:
        train: content of ``train.json`` in the source tree.
        checkpoint: its weights.
        overrides: settings as given.

    Raises:
        WrongSettingError: they contradict its record; names each with both values.
    """
    parser = _with_checkpoint(train, "teacher_checkpoint", checkpoint, overrides)
    of_network = told_by_teacher(train) & set(component_settings(train, ["teacher_def"]))
    known = trained_with(str(checkpoint), teacher=True).settings or {}
    return {**portable_settings(known, train), **{name: parser.get_parsed_content(name) for name in of_network}}


def _with_checkpoint(config: Config, name: str, checkpoint: Path, overrides: Mapping[str, Any]) -> ConfigParser:
    # a parser rewrites the references in what it is given
    parser = ConfigParser(deepcopy({**config, name: str(checkpoint.absolute())}))
    parser.update({key: value for key, value in overrides.items() if key in config})
    check_trained(parser, {key: [value] for key, value in config.items()}, option="--override ")
    return parser
