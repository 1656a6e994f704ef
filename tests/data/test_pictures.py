"""PNG and JPEG: orientation, checksums and sizes."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ckdmed.data import pictures
from ckdmed.data.pictures import read_picture
from ckdmed.data.slice_files import InputFileError, read_slices
from ckdmed.limits import MAX_BYTES_VARIABLE

VALUES = np.random.default_rng(0).integers(0, 255, (24, 16), dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_orientation_of_exif_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(VALUES).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(read_picture(path, 100), expected / np.float32(255))
    assert read_slices(path)[1].shape == expected.shape


def test_a_wrong_checksum_of_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(VALUES).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"IEND") - 8] ^= 1  # the last checksum of the pixels
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"a\.png: truncated or damaged"):
        read_slices(path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_merged_colour_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """Three sequences in one colour image became one grey image without a word."""
    monkeypatch.setattr(pictures, "_told_of_colour", False)
    grey, first, second = (tmp_path / f"{name}.{suffix}" for name in ("grey", "first", "second"))
    Image.fromarray(VALUES).convert("RGB").save(grey)
    for path in (first, second):
        Image.fromarray(np.stack([VALUES, VALUES.T.reshape(24, 16), 255 - VALUES], -1)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_picture(grey, 100)
    with pytest.warns(UserWarning, match="is a colour image: its channels are merged to grey.*input_images") as caught:
        merged = [read_picture(path, 100) for path in (first, second)]
    assert [str(told.message).split(" is ")[0] for told in caught] == [str(first)]
    assert merged[0].shape == VALUES.shape


def _claims(path: Path, width: int, height: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_sizes_are_checked_before_anything_is_decoded(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "claims.png"
    _claims(path, 13000, 13000)
    with pytest.raises(InputFileError, match=r"claims\.png: 13000 x 13000 pixels; sides may be at most 8192"):
        read_slices(path)
    _claims(path, 8000, 8000)
    with pytest.raises(InputFileError, match=r"claims\.png: .*1024000000 bytes in memory.*CKDMED_MAX_BYTES"):
        read_slices(path)
    Image.fromarray(VALUES).save(path)
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "1000")
    with pytest.raises(InputFileError, match="would take 1536 bytes"):
        read_slices(path)
