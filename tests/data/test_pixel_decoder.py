"""Compressed pixels whose decoding hangs, ends its process or wants all memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from ckdmed.data import pixel_decoder
from ckdmed.data.dicom_file import DicomFileError, open_dicom
from ckdmed.data.dicom_pixels import read_frames
from tests.reliability.sandbox import outcomes


def decoded(name: str) -> np.ndarray:
    path = Path(get_testdata_file(name, download=False))
    return np.stack(list(read_frames(path, open_dicom(path))))


@pytest.mark.parametrize("how", ["jpeg_ls_lossless", "jp2klossless", "RLE"])
@pytest.mark.parametrize("white", ["MONOCHROME1", "MONOCHROME2"])
def test_larger_values_are_brighter_however_they_are_compressed(how: str, white: str, tmp_path: Path) -> None:
    values = []
    for name in ("MR_small.dcm", f"MR_small_{how}.dcm"):
        image = dcmread(get_testdata_file(name, download=False))
        image.PhotometricInterpretation = white
        image.save_as(tmp_path / name)
        values.append(np.stack(list(read_frames(tmp_path / name, open_dicom(tmp_path / name)))))
    assert np.array_equal(*values)


@pytest.fixture
def sound() -> np.ndarray:
    """Of which the same picture lies compressed beside it."""
    return decoded("MR_small.dcm")


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("print(flush=True); import time; time.sleep(60)", "decoding them takes more than 1 seconds"),
        ("print(flush=True); input(); import os; os.abort()", "decoding them ended with status -6"),
        ("raise SystemExit(3)", "starting the process that decodes them ended with status 3"),
    ],
)
def test_a_process_that_hangs_or_ends_costs_one_file(
    program: str, cause: str, sound: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text(program, encoding="utf-8")
    pixel_decoder._end()
    with monkeypatch.context() as patch:
        patch.setattr(pixel_decoder, "_PROGRAM", tmp_path / "child.py")
        patch.setattr(pixel_decoder, "_SECONDS", 1.0)
        with pytest.raises(DicomFileError, match=f"jp2klossless.dcm: the pixels cannot be read .*{cause}"):
            decoded("MR_small_jp2klossless.dcm")
    assert np.array_equal(decoded("MR_small_jp2klossless.dcm"), sound)


def test_a_process_that_ended_between_two_files_costs_none(sound: np.ndarray) -> None:
    assert np.array_equal(decoded("MR_small_jp2klossless.dcm"), sound)
    decoder = pixel_decoder._running
    assert decoder is not None
    decoder.process.kill()
    decoder.process.wait()
    assert np.array_equal(decoded("MR_small_jp2klossless.dcm"), sound)
    assert pixel_decoder._running is not None and pixel_decoder._running is not decoder


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux")
@pytest.mark.parametrize("name", ["JPEG2000.dcm", "JPGExtended.dcm"])
def test_memory_is_limited(name: str, sound: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pixel_decoder, "_MEMORY", 0)
        patch.setattr(pixel_decoder, "_MEMORY_SHARE", 0)
        with pytest.raises(DicomFileError, match=f"{name}: the pixels cannot be read"):
            decoded(name)
    assert decoded(name).shape == (1, 1024, 256)


def test_a_forked_process_has_a_decoder_of_its_own(sound: np.ndarray) -> None:
    def work(_: int) -> str:
        same = all(
            np.array_equal(decoded(f"MR_small_{how}.dcm"), sound) for how in ("jp2klossless", "jpeg_ls_lossless")
        )
        decoder = pixel_decoder._running
        return f"{same} {decoder.process.pid if decoder else None}"

    assert np.array_equal(decoded("MR_small_jp2klossless.dcm"), sound)
    first = pixel_decoder._running
    same, process = outcomes(work, [0], seconds=120)[0].text.split()
    assert first is not None and first is pixel_decoder._running and same == "True"
    assert process not in ("None", str(first.process.pid))
    assert np.array_equal(decoded("MR_small_jpeg_ls_lossless.dcm"), sound)


def test_pixels_that_are_more_than_the_header_says_are_refused(sound: np.ndarray) -> None:
    path = Path(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False))
    dataset = open_dicom(path)
    with pytest.raises(ValueError, match="decoded, they are 1 x 64 x 64, but the header says 2 x 64 x 64"):
        pixel_decoder.decode_frames(dataset, dataset.file_meta.TransferSyntaxUID, True, 2, 1 << 13)
