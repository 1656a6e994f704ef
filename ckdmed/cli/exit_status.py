"""The exit statuses of `ckdmed`, in one table."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "DONE",
    "FOUND",
    "INTERRUPTED",
    "READER_LEFT",
    "REFUSED",
    "SKIPPED",
    "STATUSES",
    "TERMINATED",
    "own_statuses",
]

DONE = 0
FOUND = 1
REFUSED = 2
SKIPPED = 3
# What a shell reports of a program that a signal ended: 128 and the signal's number.
INTERRUPTED = 130
READER_LEFT = 141
TERMINATED = 143

#: status -> what it tells; the documentation's table is compared with it
STATUSES: Mapping[int, str] = {
    DONE: "done",
    FOUND: "done, with findings: a check failed or part of the input was left out, each listed on its own line; or a "
    "bug in the package, with its traceback",
    REFUSED: "an error that the user can fix: wrong arguments, bad input, a missing package, a full disk; one line on "
    "standard error says what",
    SKIPPED: "inference is done, but inputs were skipped; each is listed in `skipped.csv` with its cause",
    INTERRUPTED: "stopped by Ctrl-C; the last line says what is kept and how to resume",
    READER_LEFT: "the program reading the output ended first, as `head` does",
    TERMINATED: "stopped by SIGTERM; otherwise as with Ctrl-C",
}


def own_statuses(of_command: Mapping[int, str]) -> dict[int, str]:
    """The statuses that a command's help lists: its own words where it has some, and the shared ones of 0 and 2."""
    return dict(sorted({DONE: STATUSES[DONE], REFUSED: STATUSES[REFUSED], **of_command}.items()))
