"""What a page is made of, before it is HTML or Markdown: both forms show the same blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Block",
    "Bars",
    "Cards",
    "Card",
    "Facts",
    "Intervals",
    "Line",
    "LineChart",
    "Page",
    "Picture",
    "Section",
    "SliceViewer",
    "Table",
    "Text",
    "VolumeViewer",
]


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: plain text; nothing in it is markup.
        kind: "plain", "note" (small) or "warning".
    """

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Facts:
    """A few numbers to see at once.

    Attributes:
        items: (what it is, value, what else there is to say of it or "").
    """

    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Table:
    """Rows of cells, all of them text.

    Attributes:
        head: as many as each row has cells.
        rows: the first cell of each names the row.
        caption: above it.
        folded: closed until it is asked for, for long ones.
        prose: the cells beyond the first are words, not numbers.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG.

    Attributes:
        data: of the file.
        name: of its copy beside the Markdown, unique in a report; without folder.
        alt: what it shows, for those who do not see it.
        caption: below it.
    """

    data: bytes
    name: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: for the key.
        points: (x, y), finite.
        dashed: for what belongs to another.
        dots: points only.
    """

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class LineChart:
    """Lines over one axis; drawn on a logarithmic scale where positive values span more than a factor of 30.

    Attributes:
        title: above it.
        x, y: names of the axes.
        lines: those without points are left out.
        mark: (x, y, words) of a point that is ringed.
        y_range: limits of the vertical axis; by default those of the points.
        diagonal: whether the line y = x is drawn, for calibration.
        picture: the same as PNG, for the Markdown.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    mark: tuple[float, float, str] | None = None
    y_range: tuple[float, float] | None = None
    diagonal: bool = False
    picture: Picture | None = None


@dataclass(frozen=True)
class Intervals:
    """Estimates with intervals, one a row (forest plot).

    Attributes:
        title: above it.
        x: name of the axis.
        rows: (name, estimate, inner interval or None, outer interval or None).
        key: what the inner and the outer interval are.
        zero: whether 0 is marked, for differences.
        picture: the same as PNG, for the Markdown.
    """

    title: str
    x: str
    rows: Sequence[tuple[str, float, tuple[float, float] | None, tuple[float, float] | None]]
    key: tuple[str, str] = ("", "")
    zero: bool = False
    picture: Picture | None = None


@dataclass(frozen=True)
class Bars:
    """Bars from 0, one a row.

    Attributes:
        title: above it, with the unit.
        rows: (name, value, value in words).
    """

    title: str
    rows: Sequence[tuple[str, float, str]]


@dataclass(frozen=True)
class Card:
    """A case in a list.

    Attributes:
        title: its name.
        lines: what there is to say in short.
        href: its own page, relative; "" where it has none.
        picture: a small JPEG or PNG, or b"".
    """

    title: str
    lines: Sequence[str]
    href: str = ""
    picture: bytes = b""


@dataclass(frozen=True)
class Cards:
    """A list of cases."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class SliceViewer:
    """Slices with masks over them, of which one is seen at a time.

    Attributes:
        frames: JPEG of each slice.
        masks: transparent PNG of each slice, b"" where nothing is marked; none where there are no masks.
        size: width and height of all, px.
        first: the slice to begin with.
        regions: name -> colour, "#rrggbb", for the key.
        edges: letters at the left and right edge ("R", "L"), or None where the orientation is not known.
        captions: of each slice what there is to say of it.
    """

    frames: Sequence[bytes]
    masks: Sequence[bytes]
    size: tuple[int, int]
    first: int = 0
    regions: Mapping[str, str] = field(default_factory=dict)
    edges: tuple[str, str] | None = None
    captions: Sequence[str] = ()


@dataclass(frozen=True)
class VolumeViewer:
    """A volume with its mask in NiiVue.

    Attributes:
        script: NiiVue's bundle.
        licence: of it, in words that go with it into the page.
        image, mask: NIfTI files.
        regions: value in the mask -> (name, colour "#rrggbb").
        centre_mm: the place to begin with, RAS.
    """

    script: str
    licence: str
    image: bytes
    mask: bytes
    regions: Mapping[int, tuple[str, str]]
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Section:
    """A part of a page under a title.

    Attributes:
        title: above it.
        blocks: in their order; charts that follow each other stand side by side where there is room.
        folded: closed until it is asked for.
    """

    title: str
    blocks: Sequence[Any]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        title: at its top.
        subtitle: below it.
        sections: in their order.
        up: (address, words) of the page above, or None.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    up: tuple[str, str] | None = None


Block = Text | Facts | Table | Picture | LineChart | Intervals | Bars | Cards | SliceViewer | VolumeViewer
