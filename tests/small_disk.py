"""A file system of a given size, as a disk that fills."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs whose size is changed while it is in use.

    Args:
        place: where it is mounted.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def resize(self, kib: int) -> None:
        """Make it larger, or smaller down to what lies on it."""
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(self.place)], check=True)

    def used_kib(self) -> int:
        """What is taken of it; whole pages."""
        state = os.statvfs(self.place)
        return (state.f_blocks - state.f_bfree) * state.f_frsize // 1024

    def written(self) -> list[tuple[str, int]]:
        """Files in the order in which they were last written, each with the KiB that lay there before it."""
        files = sorted((p for p in self.place.rglob("*") if p.is_file()), key=lambda path: path.stat().st_mtime_ns)
        before, found = 0, []
        for path in files:
            found.append((path.relative_to(self.place).as_posix(), before))
            before += -(-path.stat().st_size // 4096) * 4
        return found


@contextmanager
def small_disk(place: Path, kib: int = 65536) -> Iterator[SmallDisk]:
    """Mount one at ``place``; the test is skipped where that is not allowed."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)
