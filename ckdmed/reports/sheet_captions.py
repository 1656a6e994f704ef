"""Words on a sheet of slices whose pixels stay as they are: slice numbers above them, a key to the colours below."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["STRIP", "key_strip", "number_strip"]

#: Height of a line of words in pixels.
STRIP = 16
_LEFT, _GAP, _SWATCH = 4, 12, 8


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
