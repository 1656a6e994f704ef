"""The program of the process that decodes pixels for `ckdmed.data.pixel_decoder`; it imports nothing of ckdmed.

It answers one request after another until its input ends, after an empty line that says that it is ready. A request is
a line of JSON (`bytes` of the file that follows, `gdcm` or not, `memory` that it may take beyond what the process has,
`seconds`), then the file. A response is a line of JSON (`error`, or `dtype` and `shape`), then the values.
"""

from __future__ import annotations

import os
import sys

# without the folder of this file, whose modules would be taken for others of their names
if __name__ == "__main__":
    sys.path[:] = [
        place for place in sys.path if os.path.realpath(place) != os.path.dirname(os.path.realpath(__file__))
    ]

import json  # noqa: E402
import signal  # noqa: E402
import tempfile  # noqa: E402
import warnings  # noqa: E402
from io import BytesIO  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from pydicom import dcmread  # noqa: E402
from pydicom.pixels import pixel_array  # noqa: E402


def _by_pydicom(content: bytes) -> np.ndarray:
    # All at once: frame by frame, pydicom stumbles over read-only arrays where JPEG 2000 and the header differ in sign.
    dataset = dcmread(BytesIO(content))
    array = pixel_array(dataset)
    return array if int(dataset.get("NumberOfFrames") or 1) > 1 else array[np.newaxis]


def _by_gdcm(content: bytes) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixels.dcm"
        copy.write_bytes(content)
        reader = sitk.ImageFileReader()
        # Fixed, so that no other reader tries.
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(copy))
        try:
            return sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            text = str(error).strip().splitlines()[-1].split("): ", 1)[-1].split("ITK ERROR: ", 1)[-1]
            raise ValueError(text) from error


def _limit_memory(more: int) -> None:
    """Let requests for memory fail beyond what the process has now and `more` bytes, where the system can do that."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + more, hard))
    except (ImportError, OSError, ValueError):
        return


def _end_after(seconds: float) -> None:
    """End this process then, 0 for never: who asks does so as well, unless it has been killed."""
    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds))


def _answer(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    memory = int(request["memory"])
    _limit_memory(memory)
    try:
        array = np.ascontiguousarray((_by_gdcm if request["gdcm"] else _by_pydicom)(content))
        return {"dtype": array.dtype.str, "shape": array.shape}, array.tobytes()
    except MemoryError:
        return {"error": f"decoding them takes more than {memory / 2**20:.0f} MiB"}, b""
    except Exception as error:
        return {"error": " ".join(str(error).split())[:300] or type(error).__name__}, b""


def main() -> None:
    warnings.simplefilter("ignore")
    requests, responses = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # messages of C libraries about damaged files
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(quiet, number)
    responses.write(b"\n")
    responses.flush()
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["bytes"])
        _end_after(request["seconds"] + 2)
        head, values = _answer(request, content)
        _end_after(0)
        responses.write(json.dumps(head).encode() + b"\n" + values)
        responses.flush()


if __name__ == "__main__":
    main()
