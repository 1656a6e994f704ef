"""A running demo."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

__all__ = ["served"]


@contextmanager
def served(
    command: Sequence[str], environment: Mapping[str, str], seconds: float = 240
) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of a demo on a free port, and its process, which is ended with the block.

    Args:
        command: such as ``ckdmed demo``.
        environment: variables of the process.
        seconds: in which it has to answer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*command, "--port", str(port), "--no-browser"]
    process = subprocess.Popen(words, env={**environment}, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end, "the demo did not start"
                time.sleep(0.5)
        yield address, process
    finally:
        process.kill()
        process.wait()
