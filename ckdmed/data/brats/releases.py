"""Which release's labels the masks of a data set have: decided by names and labels together, or left to an option."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ckdmed.counted import counted
from ckdmed.data.brats.headers import VolumeFileError
from ckdmed.data.brats.masks import read_mask
from ckdmed.labels import brats_labels
from ckdmed.limits import FileTooLargeError

__all__ = ["OpenReleaseError", "decided_releases", "labels_of"]

# The scheme of names says this much: 2023 or later.
_FROM_2023 = "2023"

# So many cases a warning names.
_NAMED_AT_MOST = 20


class _Named(Protocol):
    @property
    def case(self) -> str: ...

    @property
    def release(self) -> str: ...

    @property
    def tumour_type(self) -> str: ...


class OpenReleaseError(ValueError):
    """Names and labels leave several releases open, whose labels mean different things."""


def decided_releases(
    cases: Sequence[_Named], labels: Mapping[str, Iterable[int]], release: str | None = None
) -> dict[str, str]:
    """The release of each case, see `ckdmed.labels.brats_labels`.

    A name of 2017 to 2021 or of the Decathlon states it. The others are decided together, by tumour type and by whether
    the name is one of 2023's:

    - labels 1 to 3 mean the same in gliomas of 2023 and 2024, and 1 and 2 the same in all: "2023";
    - gliomas under names of 2023 of which a mask holds both 3 and 4: "2024", which alone has both;
    - other gliomas with a 4 have the enhancing tumour of before 2023, or the cavity of 2024;
    - paediatric masks have other parts from 2024 on under the same names and numbers.

    Of gliomas of 2024 and later a warning names those with a 4 and no 3, whether the release was given or found: they
    may be older masks, whose enhancing tumour would be read as a cavity.

    Args:
        cases: with `case`, `release` and `tumour_type` as names tell.
        labels: case -> the values of its mask; a case without a mask is left out.
        release: of the cases whose names do not state it; where all do, of all. None: not given.

    Returns:
        case -> release.

    Raises:
        OpenReleaseError: `release` is None and one of the last two holds.
        ValueError: there is no such release.
    """
    if release is not None:
        brats_labels(release)
    undecided = _left_open(cases, release)
    decided = {case.case: case.release for case in cases}
    values = {case.case: set(labels[case.case]) for case in undecided if case.case in labels}
    if release is not None:
        decided |= {case.case: release for case in undecided}
    else:
        groups: dict[tuple[str, str], list[_Named]] = {}
        for case in undecided:
            groups.setdefault((case.release, case.tumour_type), []).append(case)
        for (stated, kind), members in groups.items():
            known = {case.case: values[case.case] for case in members if case.case in values}
            decided |= dict.fromkeys((case.case for case in members), _common_release(stated, kind, known))
    _warn_of_cavities(
        {c.case: values[c.case] for c in undecided if c.case in values and _has_cavities(decided[c.case], c)}
    )
    return decided


def labels_of(
    cases: Sequence[_Named], masks: Mapping[str, Path | None], release: str | None = None
) -> dict[str, set[int]]:
    """The values of the masks at which `decided_releases` looks; those of damaged ones, whose reader says so, are left
    out.

    Args:
        cases, release: see `decided_releases`.
        masks: case -> its mask.
    """
    found: dict[str, set[int]] = {}
    for case in _left_open(cases, release):
        mask = masks.get(case.case)
        looked_at = case.tumour_type in ("", "GLI", "PED") if release is None else _has_cavities(release, case)
        if mask is None or not looked_at:
            continue
        try:
            found[case.case] = {int(value) for value in np.unique(read_mask(mask))}
        except (VolumeFileError, FileTooLargeError):
            # it is refused by name when the case is read
            continue
    return found


def _left_open(cases: Sequence[_Named], release: str | None) -> Sequence[_Named]:
    """The cases whose names leave the release open; where none does, a given release is of all."""
    undecided = [case for case in cases if case.release in ("", _FROM_2023)]
    return undecided or ([] if release is None else cases)


def _has_cavities(release: str, case: _Named) -> bool:
    """Whether the labels have a 4 that is a resection cavity."""
    return release.isdigit() and int(release) >= 2024 and case.tumour_type in ("", "GLI")


def _warn_of_cavities(values: Mapping[str, set[int]]) -> None:
    doubtful = sorted(case for case, labels in values.items() if 4 in labels and 3 not in labels)
    if not doubtful:
        return
    more = f" and {len(doubtful) - _NAMED_AT_MOST} more" if len(doubtful) > _NAMED_AT_MOST else ""
    apart = not any({3, 4} <= labels for labels in values.values()) and any(3 in labels for labels in values.values())
    warnings.warn(
        f"label 4 without a 3 in {counted(len(doubtful), 'mask')} read as of 2024 or later, where 4 is the resection "
        f"cavity and in no region: {', '.join(doubtful[:_NAMED_AT_MOST])}{more}. "
        + ("No mask holds both 3 and 4, as if masks of two releases were mixed here. " if apart else "")
        + "If these are masks of 2017 to 2022, their 4 is the enhancing tumour: replace it with 3.",
        stacklevel=3,
    )


def _common_release(stated: str, kind: str, values: Mapping[str, set[int]]) -> str:
    if kind == "PED" and values:
        raise OpenReleaseError(
            f"{_named(values)}: in paediatric masks of 2023, label 1 is core, 2 oedema and 3 enhancing tumour; from "
            "2024 on, the same numbers stand for other parts. The names do not show which applies. Give --release "
            "2023 if they are from 2023 (as phantoms are); others must be converted first."
        )
    with_four = {case: labels for case, labels in values.items() if 4 in labels}
    if kind not in ("", "GLI") or not with_four:
        return _FROM_2023
    if stated and any(3 in labels for labels in with_four.values()):
        return "2024"
    with_three = {case: labels for case, labels in values.items() if 3 in labels}
    # 2021 has no 3, and in 2024 the 4 would be no tumour: of masks of both kinds neither is the answer
    mixed = (
        f" {_named(with_three)}: label 3 without a 4, as in the releases from 2023 on. If masks of both kinds are "
        "mixed here, no release fits all of them: replace the 4 with 3 in the older masks first."
    )
    raise OpenReleaseError(
        f"{_named(with_four)}: label 4 is the enhancing tumour in the releases of 2017 to 2022, or the resection "
        "cavity in that of 2024, and neither names nor labels show which applies. Give --release 2021 or --release "
        "2024." + (mixed if with_three and not with_three.keys() & with_four.keys() else "")
    )


def _named(cases: Iterable[str]) -> str:
    names = sorted(cases)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
