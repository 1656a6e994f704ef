"""A process that has imported everything and computed nothing, whose forks run commands and are killed on the way.

A fork of a process that has computed may hang: the threads of OpenMP, ITK and others are not there in it. So nothing
but forks works here, and each begins as a fresh process would, without the seconds that imports take.

Requests come as lines of JSON on stdin, answers go to stdout; see `serve`. `Zygote` is the other end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Ended", "Kill", "Zygote"]

ROOT = Path(__file__).resolve().parents[2]
# of what changes files without putting one in place, the events of `sys.addaudithook`
_CHANGES = ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.chmod", "os.truncate", "os.utime", "shutil.rmtree")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Kill:
    """When a process is ended by SIGKILL.

    Args:
        when: "before" or "after" its n-th `os.replace`; "change": before its n-th other change of a file or folder (one
            that is opened for writing, made, removed); "milliseconds": after its start, wherever it is then.
        number: n, from 1; or how many milliseconds.
    """

    when: str
    number: int

    def __str__(self) -> str:
        if self.when == "milliseconds":
            return f"after {self.number} ms"
        return f"before change {self.number}" if self.when == "change" else f"{self.when} write {self.number}"


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: of the process; that of a killed one is negative.
        writes, changes: how many files it put in place, and how many other changes it made below the folder.
        said: the end of what it printed.
    """

    status: int
    writes: int
    changes: int
    said: str


class Zygote:
    """The other end of `serve`: a context that starts the process and ends it.

    Args:
        everything: import all that commands of any kind need. False for MONAI's data alone, which a third of the time
            does; what else a command needs, each fork of it imports.
    """

    def __init__(self, everything: bool = True) -> None:
        self.everything = everything

    def __enter__(self) -> Zygote:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.zygote", *(["everything"] if self.everything else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**environment, "PYTHONPATH": path},
            text=True,
        )
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.communicate()

    def run(self, words: Sequence[str], place: Path, log: Path, kill: Kill | None = None, seconds: int = 300) -> Ended:
        """Run a command in a fork.

        Args:
            words: "ckdmed", "monai.bundle" or "call" (a function ``module:name`` of words), and the rest of the line;
                ``monai.bundle`` runs in the folder of the bundle that the second word names.
            place: folder whose changes are counted.
            log: file for all that it prints.
            kill: when it is killed.
            seconds: it is given; a longer one is killed, with status -14.
        """
        when = None if kill is None else [kill.when, kill.number]
        return Ended(**self._ask(words=list(words), place=str(place), log=str(log), kill=when, seconds=seconds))

    def orphans(self, seconds: float = 20.0) -> int:
        """How many processes that killed commands had started still run after this time."""
        return int(self._ask(orphans=seconds)["orphans"])

    def _ask(self, **request: Any) -> dict[str, Any]:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the process has no pipes.")
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that forks ended with {self.process.wait()}.")
        return dict(json.loads(answer))


def serve() -> None:
    """Answer requests until stdin ends."""
    _import(everything="everything" in sys.argv)
    _adopt_orphans()
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"orphans": _orphans(request["orphans"])} if "orphans" in request else _forked(request)
        print(json.dumps(answer), flush=True)


def _import(everything: bool) -> None:
    import importlib

    import torch

    torch.set_num_threads(1)
    packages: tuple[str, ...] = (
        "bundle",
        "cli",
        "data",
        "data.brats",
        "engines",
        "experiments",
        "export",
        "handlers",
        "inferers",
    )
    packages += ("losses", "metrics", "networks", "preparation", "reports", "transforms")
    others: tuple[str, ...] = (
        "monai.bundle",
        "monai.engines",
        "monai.handlers",
        "monai.networks.nets",
        "torch.utils.tensorboard",
    )
    # optimisers import it late
    others += ("torch._dynamo", "torch.fx.experimental.symbolic_shapes")
    others += ("matplotlib.pyplot", "skimage.io", "skimage.transform", "scipy.ndimage", "nibabel", "h5py", "SimpleITK")
    few = ["ckdmed.cli", "ckdmed.data.brats", "ckdmed.data.phantoms", "monai.data"]
    for name in [f"ckdmed.{package}" for package in packages] + list(others) if everything else few:
        importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("the process that forks has threads of its own; a fork of it may hang.")


def _adopt_orphans() -> None:
    """Processes that a killed fork leaves become ours, so that they can be counted."""
    import ctypes

    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise RuntimeError("this kernel does not tell of orphans.")


def _orphans(seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if not ended:
            time.sleep(0.05)
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def _forked(request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(request, writing)
    os.close(writing)
    counted = b""
    with os.fdopen(reading, "rb") as pipe:
        _, status = os.waitpid(pid, 0)
        os.set_blocking(pipe.fileno(), False)
        # a worker that outlives its process may hold the pipe open
        counted = pipe.read() or b""
    writes, changes = json.loads(counted or b"[0, 0]")
    said = Path(request["log"]).read_text(encoding="utf-8", errors="replace")[-4000:]
    return {"status": os.waitstatus_to_exitcode(status), "writes": writes, "changes": changes, "said": said}


def _child(request: dict[str, Any], writing: int) -> None:
    """Never returns."""
    import atexit
    import threading
    import traceback

    status = 1
    try:
        file = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # an alarm ends the process as SIGKILL does, wherever it is
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        counts = _Counts(request["place"], request["kill"])
        signal.setitimer(signal.ITIMER_REAL, counts.seconds or request["seconds"])
        try:
            status = _run(request["words"])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        # what a process does when it ends
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        counts.stop()
        os.write(writing, json.dumps([counts.writes, counts.changes]).encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(words: Sequence[str]) -> int:
    program, *rest = words
    if program == "ckdmed":
        from ckdmed.cli import main

        sys.argv = ["ckdmed", *rest]
        return main(rest)
    if program == "monai.bundle":
        import runpy

        os.chdir(ROOT / "bundles" / rest[0])
        sys.argv = ["monai.bundle", *rest[1:]]
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
        return 0
    import importlib

    module, _, name = rest[0].partition(":")
    getattr(importlib.import_module(module), name)(*rest[1:])
    return 0


class _Counts:
    """Counts what a process changes below a folder, and ends it where it was told to."""

    def __init__(self, place: str, kill: Sequence[Any] | None) -> None:
        self.place = os.path.realpath(place) + os.sep
        self.when: Any
        self.number: Any
        self.when, self.number = kill or (None, 0)
        self.seconds = self.number / 1000 if self.when == "milliseconds" else 0.0
        self.writes = self.changes = 0
        self.replacing = False
        self.process = os.getpid()
        self._replace = os.replace
        os.replace = self._counted  # type: ignore[assignment]
        sys.addaudithook(self._heard)

    def stop(self) -> None:
        self.process = 0

    def _counted(self, source: Any, target: Any, **more: Any) -> None:
        if not self._ours(target):
            return self._replace(source, target, **more)
        self.writes += 1
        self._end("before", self.writes)
        self.replacing = True
        try:
            self._replace(source, target, **more)
        finally:
            self.replacing = False
        self._end("after", self.writes)
        return None

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if self.replacing or os.getpid() != self.process:
            return
        if event == "open":
            if not (args[2] or 0) & _WRITING:
                return
        elif event not in _CHANGES:
            return
        path = args[0]
        if event in ("os.remove", "os.rmdir") and args[1] >= 0:
            # of a file in a folder that is open, as `shutil.rmtree` has it
            path = os.path.join(os.readlink(f"/proc/self/fd/{args[1]}"), os.fsdecode(path))
        if self._ours(path):
            self.changes += 1
            self._end("change", self.changes)

    def _ours(self, path: Any) -> bool:
        # a worker's own files count as those of the one that is killed, who is not there
        if os.getpid() != self.process or isinstance(path, int):
            return False
        try:
            return os.path.abspath(os.fsdecode(path)).startswith(self.place)
        except TypeError:
            return False

    def _end(self, when: str, number: int) -> None:
        if (when, number) == (self.when, self.number):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve()
