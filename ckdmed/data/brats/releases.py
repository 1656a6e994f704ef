"""Which release's labels the masks of a data set have: decided by names and labels together, or left to an option."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ckdmed.data.brats.headers import VolumeFileError
from ckdmed.data.brats.masks import read_mask
from ckdmed.labels import brats_labels
from ckdmed.limits import FileTooLargeError

__all__ = ["OpenReleaseError", "decided_releases", "labels_of"]

# The scheme of names says this much: 2023 or later.
_FROM_2023 = "2023"


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
    undecided = [case for case in cases if case.release in ("", _FROM_2023)]
    decided = {case.case: case.release for case in cases}
    if release is not None:
        return decided | {case.case: release for case in undecided or cases}
    groups: dict[tuple[str, str], list[_Named]] = {}
    for case in undecided:
        groups.setdefault((case.release, case.tumour_type), []).append(case)
    for (stated, kind), members in groups.items():
        values = {case.case: set(labels[case.case]) for case in members if case.case in labels}
        decided |= dict.fromkeys((case.case for case in members), _common_release(stated, kind, values))
    return decided


def labels_of(cases: Iterable[_Named], masks: Mapping[str, Path | None]) -> dict[str, set[int]]:
    """The values of the masks at which `decided_releases` looks; those of damaged ones, whose reader says so, are left
    out.

    Args:
        cases: see `decided_releases`.
        masks: case -> its mask.
    """
    found: dict[str, set[int]] = {}
    for case in cases:
        mask = masks.get(case.case)
        if mask is None or case.release not in ("", _FROM_2023) or case.tumour_type not in ("", "GLI", "PED"):
            continue
        try:
            found[case.case] = {int(value) for value in np.unique(read_mask(mask))}
        except (VolumeFileError, FileTooLargeError):
            # it is refused by name when the case is read
            continue
    return found


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
