"""How an inference shows scans that bear no name of BraTS, where it is not told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.trained import recorded_entry
from ckdmed.data.brats.names import parse_case_name
from ckdmed.deployed_network import read_description
from ckdmed.runtime import is_deployed
from ckdmed.sections.record import find_record

__all__ = ["BRATS_NAMES", "brats_names_of", "made_like_brats"]

#: Under which name a record of weights, and a deployed file, tell whether any case of the training bore a BraTS name.
BRATS_NAMES = "brats_names"


def brats_names_of(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, bool]:
    """What the record of a training says of its cases' names, for weights that are moved without `sections.json`.

    Args:
        sections: "train" -> items.

    Returns:
        `BRATS_NAMES` -> whether a training case has one; empty for data that are no cases.
    """
    cases = [str(item["case"]) for item in sections["train"] if "case" in item]
    return {BRATS_NAMES: _any_of_brats(cases)} if cases else {}


def made_like_brats(checkpoint: str) -> bool:
    """Whether scans of other names are brought to the field of view, spacing and brain of BraTS for a network.

    The cases of a training are shown as they are. Where none of them bore a name of BraTS, the network knows scans as
    its user has them, and would be shown them otherwise than in the training and the evaluation.

    Args:
        checkpoint: the network's weights, or a deployed file. Where neither its training's sections nor the record of
            the weights or the file tell, it is True.

    Raises:
        ValueError: a record beside it, or the deployed file, cannot be read.
    """
    if (record := find_record(checkpoint)) is not None:
        return _any_of_brats(record.items["train"])
    path = Path(checkpoint)
    told: Mapping[str, Any]
    if is_deployed(path):
        told = read_description(path).preprocessing if path.is_file() else {}
    else:
        told = recorded_entry(path) or {}
    return told.get(BRATS_NAMES) is not False


def _any_of_brats(names: Iterable[str]) -> bool:
    return any(parse_case_name(name) is not None for name in names)
