"""Words on a sheet of slices whose pixels stay as they are: numbers above, a key and a mark below."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ckdmed.research_use import RESEARCH_USE_ONLY

__all__ = ["STRIP", "key_strip", "number_strip", "with_notice"]

#: Height of a line of words in pixels.
STRIP = 16
_LEFT, _GAP, _SWATCH = 4, 12, 8
_NOTICE_WIDTH = 96
_WARNING = "#ff8c42"


def number_strip(width: int, number: int) -> np.ndarray:
    """The number of a slice, white on black, for above it.

    Args:
        width: of the slice in pixels; where it is too narrow for "slice 12" the number stands alone.
        number: of the slice in its volume, from 0.

    Returns:
        (STRIP, width, 3) uint8.
    """
    text = f"slice {number}"
    return _strip(width, [(text if _length(text) + _LEFT <= width else str(number), None)])


def key_strip(width: int, colours: Mapping[str, str], modality: str = "") -> np.ndarray:
    """What the image is, and a swatch and a name for each colour.

    Args:
        width: of the sheet in pixels; the strip is wider where its words need it.
        colours: name -> colour, ``#rrggbb``.
        modality: what the image is; "" where it is not known.

    Returns:
        (STRIP, at least width, 3) uint8.
    """
    entries: list[tuple[str, str | None]] = [(modality, None)] if modality else []
    entries += list(colours.items())
    needed = _LEFT + sum(_length(text) + _GAP + (_SWATCH + _LEFT if colour else 0) for text, colour in entries)
    return _strip(max(width, needed), entries)


def with_notice(sheet: np.ndarray, warning: str = "") -> np.ndarray:
    """A picture of a result and, below it, that it is for research only, and what else there is to warn of.

    Args:
        sheet: (H, W, 3) uint8; its pixels stay as they are. One narrower than 96 pixels gets black beside it.
        warning: in orange above the mark; "" for none.

    Returns:
        (H + STRIP for each line of words, at least W, 3) uint8.
    """
    width = max(sheet.shape[1], _NOTICE_WIDTH)
    lines = [(line, _WARNING) for line in _wrapped(warning, width)]
    lines += [(line, "white") for line in _wrapped(RESEARCH_USE_ONLY, width)]
    strips = []
    for text, colour in lines:
        image = Image.new("RGB", (width, STRIP))
        ImageDraw.Draw(image).text((_LEFT, 2), text, fill=colour, font=ImageFont.load_default())
        strips.append(np.asarray(image))
    wide = np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)))
    return np.concatenate([wide, *strips])


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and _length(f"{lines[-1]} {word}") + 2 * _LEFT <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _length(text: str) -> int:
    return int(np.ceil(ImageFont.load_default().getlength(text)))


def _strip(width: int, entries: list[tuple[str, str | None]]) -> np.ndarray:
    image = Image.new("RGB", (width, STRIP))
    draw = ImageDraw.Draw(image)
    at = _LEFT
    for text, colour in entries:
        if colour:
            top = (STRIP - _SWATCH) // 2
            draw.rectangle((at, top, at + _SWATCH - 1, top + _SWATCH - 1), fill=colour)
            at += _SWATCH + _LEFT
        draw.text((at, 2), text, fill="white", font=ImageFont.load_default())
        at += _length(text) + _GAP
    return np.asarray(image)
