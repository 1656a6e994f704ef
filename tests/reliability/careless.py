"""Commands that do what must not happen, to see that it is found."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path


def careless(place: str) -> None:
    """Leaves its temporary file when it is killed, and a result that tells how often it was run."""
    before = Path(place, "runs").read_text() if Path(place, "runs").exists() else ""
    for name, text in (("runs", before + "1"), ("done", "yes")):
        handle, temporary = tempfile.mkstemp(dir=place)
        os.write(handle, text.encode())
        os.replace(temporary, Path(place, name))


def with_orphan(place: str) -> None:
    """Leaves a process behind, which ends when a file ``go`` appears."""
    begun = Path(place, "begun")
    begun.touch()
    if os.fork() == 0:
        while not Path(place, "go").exists():
            time.sleep(0.02)
        os._exit(0)
    os.replace(begun, Path(place, "done"))
