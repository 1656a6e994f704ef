"""PNG and JPEG files as one channel, upright."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ckdmed.counted import counted
from ckdmed.limits import check_decoded_size

__all__ = ["check_picture", "read_picture", "turned_upright"]

_CHANNELS = {"1": 1, "L": 1, "I": 1, "I;16": 1, "I;16B": 1, "RGB": 3}
_ORIENTATION = 0x0112
# JPEG leaves grey that is stored as RGB this unequal, of 0 to 1
_EQUAL = 0.02
_told_of_colour = False


def read_picture(path: Path, max_side: int) -> np.ndarray:
    """One channel (rows, columns) from 0 to 1, as a viewer shows the picture.

    Of colour it is the luma (ITU-R 601), of which a warning tells once per process; an alpha channel is left out. The
    orientation that a camera or an export wrote into EXIF is applied.

    Raises:
        ValueError: neither PNG nor JPEG, a PNG is cut or one of its checksums is wrong,
            or it is wider or higher than `max_side`.
        FileTooLargeError: it would take more memory than is allowed, see `ckdmed.limits`.
        OSError, SyntaxError: from Pillow, for other damage.
    """
    # takes a third of a second, and only pictures need it
    from matplotlib.image import imread

    orientation = check_picture(path, max_side)
    # Any format but "png" makes it look at the content and not at the name.
    picture: np.ndarray = imread(path, format="jpg")
    if picture.dtype == np.uint8:
        picture = picture / np.float32(255)
    if picture.ndim == 3 and picture.shape[2] <= 2:
        picture = picture[..., 0]
    if picture.ndim == 3:
        if picture.shape[2] > 4:
            raise ValueError(f"a picture must be grey or RGB, with or without alpha, got shape {picture.shape}.")
        _tell_of_colour(path, picture[..., :3])
        picture = picture[..., :3] @ np.array([0.299, 0.587, 0.114])
    return turned_upright(picture, orientation)


def _tell_of_colour(path: Path, picture: np.ndarray) -> None:
    """Three sequences in one file would become a mixture of them, in silence."""
    global _told_of_colour
    if _told_of_colour or float(np.ptp(picture, axis=-1).max()) <= _EQUAL:
        return
    _told_of_colour = True
    warnings.warn(
        f"{path} is a colour image: its channels are merged to grey, and so are those of any other. If they are "
        "several sequences, store each as a file of its own and list one file per channel (input_images).",
        stacklevel=3,
    )


def check_picture(path: Path, max_side: int) -> int:
    """EXIF's number of the orientation, after the header was looked at and nothing was decoded.

    Raises:
        ValueError, FileTooLargeError, OSError, SyntaxError: as `read_picture`.
    """
    with open(path, "rb") as stream:
        if not stream.read(8).startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
            raise ValueError("not a PNG or JPEG file.")
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        width, height = image.size
        if max(width, height) > max_side:
            raise ValueError(f"{height} x {width} pixels; sides may be at most {max_side}.")
        channels = _CHANNELS.get(image.mode, 4)
        check_decoded_size(
            path, 4 * channels * width * height, f"{height} x {width} pixels of {counted(channels, 'channel')}"
        )
        if image.format == "PNG":
            # Decoding leaves the checksums of the pixels' chunks unread.
            try:
                image.verify()
            except (OSError, SyntaxError) as error:
                raise ValueError(f"truncated or damaged ({error}).") from error
    # A PNG may have its EXIF behind the pixels, which `verify` leaves unreadable.
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
    return int(orientation) if isinstance(orientation, (int, float)) else 1


def turned_upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """The stored rows and columns as a viewer shows them, by EXIF's number of the orientation."""
    # EXIF 2.3, tag 0x0112: where the stored first row and first column belong.
    if orientation in (5, 6, 7, 8):
        picture = picture.T
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return picture
