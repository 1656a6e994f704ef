"""Calls in forked children, so that one that dies, hangs or swallows memory is a result and not the end."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import re
import resource
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Outcome", "outcomes"]


@dataclass(frozen=True)
class Outcome:
    """What a call did.

    Attributes:
        kind: "value", "error" (an Exception), "died" (the process ended) or "hung" (no end within the time allowed).
        text: the value; or the error's type and message; or the status.
        peak_mib: largest resident memory of the process or one of its children so far.
        seconds: wall clock.
    """

    kind: str
    text: str
    peak_mib: float
    seconds: float


def outcomes(work: Callable[[int], str], numbers: Sequence[int], seconds: float = 30.0) -> dict[int, Outcome]:
    """The outcome of ``work(number)`` for each number, in children that are replaced when they end.

    Args:
        work: called in a child; its text is the value.
        numbers: what to call it with.
        seconds: allowed for one call.
    """
    done: dict[int, Outcome] = {}
    left = list(numbers)
    while left:
        done.update(_one_child(work, left, seconds))
        left = [number for number in left if number not in done]
    return done


def _one_child(work: Callable[[int], str], numbers: Sequence[int], seconds: float) -> dict[int, Outcome]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(work, numbers, writing)
    os.close(writing)
    done: dict[int, Outcome] = {}
    pending = b""
    began = time.monotonic()
    status: str | None = None
    while len(done) < len(numbers):
        ready, _, _ = select.select([reading], [], [], max(began + seconds - time.monotonic(), 0))
        if not ready:
            os.kill(child, signal.SIGKILL)
            status = "hung"
            break
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            status = "died"
            break
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            done[numbers[len(done)]] = Outcome(**json.loads(line))
            began = time.monotonic()
    os.close(reading)
    _, ended = os.waitpid(child, 0)
    if status is not None:
        done[numbers[len(done)]] = Outcome(status, f"status {ended}", 0.0, time.monotonic() - began)
    return done


def _child(work: Callable[[int], str], numbers: Sequence[int], writing: int) -> None:
    """Never returns: a forked test process must not go on with the tests."""
    try:
        faulthandler.disable()
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        # what C libraries say of damaged files
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        for number in numbers:
            started = time.monotonic()
            try:
                kind, text = "value", work(number)
            except Exception as error:
                kind, text = "error", f"{type(error).__name__}: {error}"
            outcome = Outcome(kind, text[:2000], _peak_kib() / 1024, time.monotonic() - started)
            os.write(writing, json.dumps(asdict(outcome)).encode() + b"\n")
    finally:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        os._exit(0)


def _peak_kib() -> int:
    """Of this process, its children that ended, and those that run."""
    ended = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peaks = []
    for listing in Path("/proc/self/task").glob("*/children"):
        # threads and processes may end meanwhile
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in listing.read_text().split():
                peaks += re.findall(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
    return max(*ended, *map(int, peaks))
