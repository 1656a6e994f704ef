"""The last line of a run that is stopped by Ctrl-C or SIGTERM: what is kept, and how to continue."""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from ckdmed.bundle.typed_command import typed_command, with_options

__all__ = ["close_bars", "run_begins", "run_ends", "run_is_stopped", "stopped_line"]

# the output folder of the run of this process, and by what it was stopped
_STATE: dict[str, str] = {}
_PROCESS = os.getpid()


def run_begins(folder: Path) -> None:
    """Let SIGTERM end the process as Ctrl-C does: files that are being written are given up, locks released."""
    _STATE["folder"] = str(folder)
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def run_ends() -> None:
    """Leave SIGTERM as it was."""
    _STATE.pop("folder", None)
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, _: FrameType | None) -> None:
    if os.getpid() != _PROCESS:
        # a worker of this process, which is simply to end
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    run_is_stopped("SIGTERM")
    raise SystemExit(128 + number)


def run_is_stopped(by: str) -> None:
    """Have the last line printed when the process ends."""
    _STATE["by"] = by


def close_bars() -> None:
    """End open progress bars, which would be drawn once more below the last line."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def stopped_line(folder: Path, by: str) -> str:
    """What is kept of a run, and the command that continues it."""
    checkpoints = sorted(folder.rglob("resume_epoch=*.pt"), key=lambda path: path.stat().st_mtime)
    kept = f"its last checkpoint is {checkpoints[-1]}" if checkpoints else "no epoch was finished"
    command = shlex.join(with_options(typed_command(), output_dir=str(folder), resume="true"))
    return f"stopped by {by}; {kept}. To continue: {command}"


def _print_last_line() -> None:
    if os.getpid() == _PROCESS and {"folder", "by"} <= set(_STATE):
        close_bars()
        print(f"\n{stopped_line(Path(_STATE['folder']), _STATE['by'])}", file=sys.stderr)


atexit.register(_print_last_line)
