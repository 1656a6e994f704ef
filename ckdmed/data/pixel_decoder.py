"""Compressed pixels, decoded in a process of their own: a damaged stream can end it, hang it or ask for all memory.

The C libraries behind Pillow and GDCM take a stream at its word: a flipped bit in the header of a JPEG 2000 stream can
cost hours and gigabytes. One process serves all files of the process that asks, is ended where it takes too long, and
is started again for the next file.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydicom import DataElement, Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, MRImageStorage

__all__ = ["decode_frames"]

_PROGRAM = Path(__file__).with_name("decoding_child.py")
_DESCRIPTION = (
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated "
    "BitsStored HighBit PixelRepresentation ExtendedOffsetTable ExtendedOffsetTableLengths PixelData"
).split()
# The largest frames that `ckdmed.limits` allows by default, 128 MiB, get 1.4 GiB and 28 seconds.
_MEMORY, _MEMORY_SHARE = 640 * 2**20, 6
_SECONDS, _BYTES_PER_SECOND = 12.0, 8 * 2**20
_SECONDS_TO_START = 120.0
# A thread for each core would take from the memory that is allowed.
_ONE_THREAD = {
    name: "1" for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
}


class _Decoder:
    """A process of `decoding_child`.

    Raises:
        TimeoutError: a response takes too long.
        ChildProcessError: the process ended.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
        )
        self.answered = 0
        self.requests: IO[bytes] = self.process.stdin  # type: ignore[assignment]
        self.replies: IO[bytes] = self.process.stdout  # type: ignore[assignment]
        try:
            with self._within(_SECONDS_TO_START, "starting the process that decodes them"):
                self._line()
        except BaseException:
            self.close()
            raise

    def decode(self, content: bytes, seconds: float, **request: Any) -> tuple[dict[str, Any], np.ndarray]:
        """The response's line, and the values; none where the line holds an error."""
        with self._within(seconds, "decoding them"):
            line = {**request, "bytes": len(content), "seconds": seconds}
            self.requests.write(json.dumps(line).encode() + b"\n" + content)
            self.requests.flush()
            head = json.loads(self._line())
            values = np.empty(head.get("shape", 0), np.dtype(head.get("dtype", "u1")))
            if self.replies.readinto(values.reshape(-1).view(np.uint8)) != values.nbytes:  # type: ignore[attr-defined]
                raise EOFError
            self.answered += 1
            return head, values

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.requests, self.replies):
            # what was written last may have found no reader
            with suppress(BrokenPipeError):
                stream.close()

    def _line(self) -> bytes:
        line = self.replies.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    @contextmanager
    def _within(self, seconds: float, what: str) -> Iterator[None]:
        late = threading.Event()

        def end() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (EOFError, BrokenPipeError) as error:
            status = self.process.wait()
            if late.is_set():
                raise TimeoutError(f"{what} takes more than {seconds:.0f} seconds") from error
            raise ChildProcessError(f"{what} ended with status {status}") from error
        finally:
            timer.cancel()


_lock = threading.Lock()
_running: _Decoder | None = None
# those of a parent, which a forked process must neither use nor end
_others: list[_Decoder] = []


def decode_frames(dataset: FileDataset, syntax: UID, gdcm: bool, frames: int, decoded_bytes: int) -> np.ndarray:
    """All frames of a compressed image as stored, (frames, rows, columns) or (frames, rows, columns, samples).

    Only the pixels and their description are handed over, no other part of an untrusted header.

    Args:
        dataset: the image.
        syntax: how its pixels are stored.
        gdcm: by GDCM; else by pydicom.
        frames: how many there should be.
        decoded_bytes: what they take; the limits of time and memory grow with it.

    Raises:
        ValueError: the pixels cannot be decoded, are not as many as the header says, or take more memory than 640 MiB
            and six times `decoded_bytes`.
        TimeoutError: they take more than 12 seconds, and one more for each 8 MiB.
        ChildProcessError: they ended the decoding process, one that had decoded nothing else.
    """
    content = _pixels_alone(dataset, syntax)
    memory, seconds = _MEMORY + _MEMORY_SHARE * decoded_bytes, _SECONDS + decoded_bytes / _BYTES_PER_SECOND
    with _lock:
        used = _running is not None and _running.answered > 0
        try:
            head, values = _answer(content, seconds, gdcm=gdcm, memory=memory)
        except ChildProcessError:
            # a stream before may have damaged the process, which is no fault of these pixels
            if not used:
                raise
            head, values = _answer(content, seconds, gdcm=gdcm, memory=memory)
    if "error" in head:
        raise ValueError(head["error"])
    if values.shape[:3] != (frames, dataset.Rows, dataset.Columns):
        raise ValueError(
            f"decoded, they are {' x '.join(map(str, values.shape))}, but the header says {frames} x {dataset.Rows} x "
            f"{dataset.Columns}"
        )
    return values


def _answer(content: bytes, seconds: float, **request: Any) -> tuple[dict[str, Any], np.ndarray]:
    global _running
    try:
        if _running is None:
            _running = _Decoder()
        return _running.decode(content, seconds, **request)
    except BaseException:
        # the rest of a response may still come: the process cannot be used again
        _end()
        raise


def _pixels_alone(dataset: FileDataset, syntax: UID) -> bytes:
    plain = Dataset()
    for keyword in _DESCRIPTION:
        if keyword in dataset:
            plain[keyword] = dataset[keyword]
    # GDCM turns MONOCHROME1 over, which is left to who asks, and looks for the table of a palette
    if dataset.SamplesPerPixel == 1:
        # a new element, as the other is the dataset's own
        plain["PhotometricInterpretation"] = DataElement("PhotometricInterpretation", "CS", "MONOCHROME2")
    plain.file_meta = FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = syntax
    plain.SOPClassUID = plain.file_meta.MediaStorageSOPClassUID = MRImageStorage
    plain.SOPInstanceUID = plain.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    buffer = BytesIO()
    plain.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@atexit.register
def _end() -> None:
    global _running
    if _running is not None:
        _running.close()
        _running = None


def _forget() -> None:
    global _running, _lock
    if _running is not None:
        _others.append(_running)
    _running, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
