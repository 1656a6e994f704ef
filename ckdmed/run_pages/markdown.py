"""A page as Markdown, with its pictures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ckdmed.reports import markdown_table

from .blocks import Bars, Cards, Facts, Intervals, LineChart, Page, Picture, SliceViewer, Table, Text, VolumeViewer

__all__ = ["PICTURES", "escaped", "markdown_of"]

#: folder of the pictures, beside the Markdown
PICTURES = "pictures"

_MARKUP = re.compile(r"([\\`*_\[\]#~])")


def markdown_of(page: Page) -> tuple[str, dict[str, bytes]]:
    """The page as Markdown, and its pictures by file name.

    Charts stand there as their picture, where they have one, and as the numbers that they draw. What a reader can move
    (slices, volumes) is in the HTML page alone, which the text says.
    """
    pictures: dict[str, bytes] = {}
    parts = [f"# {escaped(page.title)}"]
    if page.subtitle:
        parts.append(escaped(page.subtitle))
    for section in page.sections:
        parts.append(f"## {escaped(section.title)}")
        for block in section.blocks:
            parts += _of_block(block, pictures)
    return "\n\n".join(part.rstrip() for part in parts) + "\n", pictures


def escaped(text: str) -> str:
    """Text on one line in which nothing is markup, HTML least of all."""
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", line)


def _of_block(block: Any, pictures: dict[str, bytes]) -> Iterator[str]:
    if isinstance(block, Text):
        yield f"**{escaped(block.text)}**" if block.kind == "warning" else escaped(block.text)
    elif isinstance(block, Facts):
        yield _table(("", ""), [(name, f"{value} ({more})" if more else value) for name, value, more in block.items])
    elif isinstance(block, Table):
        if block.caption:
            yield escaped(block.caption) + ":"
        yield _table(block.head, block.rows)
    elif isinstance(block, Picture):
        yield from _picture(block, pictures)
    elif isinstance(block, (LineChart, Intervals, Bars)):
        yield f"{escaped(block.title)}:"
        picture = getattr(block, "picture", None)
        if picture is not None:
            yield from _picture(picture, pictures)
        yield _numbers(block)
    elif isinstance(block, Cards):
        rows = [(card.title, "; ".join(card.lines), card.href) for card in block.cards]
        yield _table(("case", "what was found", "page"), rows)
    elif isinstance(block, (SliceViewer, VolumeViewer)):
        yield "The slices are in the HTML page."


def _picture(block: Picture, pictures: dict[str, bytes]) -> Iterator[str]:
    pictures[block.name] = block.data
    yield f"![{escaped(block.alt)}]({PICTURES}/{block.name})"
    if block.caption:
        yield escaped(block.caption)


def _numbers(block: LineChart | Intervals | Bars) -> str:
    if isinstance(block, Bars):
        return _table(("", "value"), [(name, words) for name, _, words in block.rows])
    if isinstance(block, Intervals):
        inner, outer = block.key
        head = ["", block.x, *(name for name in (inner, outer) if name)]
        rows = [
            [name, f"{estimate:.4f}", *(_ends(ends) for ends, known in ((own, inner), (other, outer)) if known)]
            for name, estimate, own, other in block.rows
        ]
        return _table(head, rows)
    head = ["", f"at {block.x}", "last", "least", "largest"]
    lines = [line for line in block.lines if line.points]
    rows = [
        [line.name, f"{line.points[-1][0]:g}", *(f"{value:.4g}" for value in _last_least_largest(line.points))]
        for line in lines
    ]
    return _table(head, rows)


def _last_least_largest(points: Any) -> tuple[float, float, float]:
    values = [value for _, value in points]
    return values[-1], min(values), max(values)


def _ends(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def _table(head: Any, rows: Any) -> str:
    return markdown_table([escaped(cell) for cell in head], [[escaped(cell) for cell in row] for row in rows])
