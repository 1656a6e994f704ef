"""MATLAB files that claim more than they hold."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckdmed.data import FigshareFileError, read_figshare_slice
from ckdmed.data.slice_files import InputFileError, read_slices


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputFileError, match=match):
        read_slices(path)
    with pytest.raises(ValueError, match=match):
        read_figshare_slice(path)


def make(path: Path, **options) -> h5py.Dataset:
    file = h5py.File(path, "w", userblock_size=512)
    return file.create_group("cjdata").create_dataset("image", **options)


def test_values_that_were_never_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    make(path, shape=(8000, 8000), dtype="f8", chunks=(1000, 1000)).file.close()
    refused(path, r"a\.mat: 'image' of shape \(8000, 8000\) and float64 takes 512000000 bytes, but 0 are stored")


def test_a_small_array_in_a_large_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    image = make(path, shape=(2, 2), maxshape=(None, None), chunks=(20000, 20000), dtype="f8", compression="gzip")
    image.id.write_direct_chunk((0, 0), zlib.compress(bytes(1000)))
    image.file.close()
    refused(path, r"a\.mat: one chunk \(20000, 20000\).*3200000000 bytes in memory.*CKDMED_MAX_BYTES")


def test_a_chunk_that_unpacks_to_more_than_it_should(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    image = make(path, shape=(64, 64), chunks=(64, 64), dtype="u2", compression="gzip")
    image.id.write_direct_chunk((0, 0), zlib.compress(bytes(100 << 20)))
    image.file.close()
    refused(path, r"a\.mat: a chunk of 'image' holds more than its 8192 bytes")


@pytest.mark.parametrize("number", [np.array([[65.0]]), np.array([[65]], np.uint32), np.array([[66]], np.uint8)])
def test_a_number_is_no_patients_text(make_mat, number: np.ndarray) -> None:
    with pytest.raises(FigshareFileError, match="PID must be 1 to 64 ASCII character codes, got a number"):
        read_figshare_slice(make_mat("a.mat", PID=number))


def test_a_number_of_16_bits_is_told_from_text_by_its_class(make_mat) -> None:
    path = make_mat("a.mat", PID=np.array([[65]], np.uint16))
    assert read_figshare_slice(path).patient == "A"
    with h5py.File(path, "r+") as file:
        file["cjdata/PID"].attrs["MATLAB_class"] = np.bytes_("uint16")
    with pytest.raises(FigshareFileError, match="got a number"):
        read_figshare_slice(path)
