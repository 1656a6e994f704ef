"""What is scored: the images as they are, and those of every corruption and severity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckdmed.transforms.corruption import CORRUPTIONS, parse_corruption

__all__ = ["CLEAN", "OF_POINT", "OF_SECTION", "SEVERITIES", "Point", "points_of"]

#: the images as they are
CLEAN = "clean"
SEVERITIES = (1, 2, 3)
#: in what the settings of one network's records may differ, within a section and between sections
OF_POINT = frozenset({"corruption", "severity_value"})
OF_SECTION = OF_POINT | {"images", "images_sha256", "files_sha256"}


@dataclass(frozen=True)
class Point:
    """One evaluation's images.

    Attributes:
        corruption: such as "noise-2", as the bundles' setting has it; None for the images as they are.
    """

    corruption: str | None = None

    @property
    def name(self) -> str:
        """In file names."""
        return self.corruption or CLEAN

    @property
    def kind(self) -> str:
        """The kind of corruption, or "clean"."""
        return CLEAN if self.corruption is None else parse_corruption(self.corruption)[0]

    @property
    def severity(self) -> int:
        """1 to 3; 0 for the images as they are."""
        return 0 if self.corruption is None else parse_corruption(self.corruption)[1]

    @property
    def value(self) -> float | None:
        """What the severity is of this kind, see :class:`~ckdmed.transforms.corruption.Corruptiond`."""
        return None if self.corruption is None else CORRUPTIONS[self.kind][self.severity - 1]


def points_of(chosen: Sequence[str] = ()) -> list[Point]:
    """The images as they are, then each corruption by kind and severity.

    Args:
        chosen: kinds ("noise") and single points ("noise-2"); all there are by default.

    Raises:
        ValueError: something else; lists the kinds.
    """
    wanted: set[str] = set()
    for word in chosen or CORRUPTIONS:
        if word in CORRUPTIONS:
            wanted |= {f"{word}-{severity}" for severity in SEVERITIES}
        else:
            parse_corruption(word)
            wanted.add(word)
    every = [f"{kind}-{severity}" for kind in CORRUPTIONS for severity in SEVERITIES]
    return [Point(), *(Point(corruption) for corruption in every if corruption in wanted)]
