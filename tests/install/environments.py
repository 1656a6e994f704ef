"""Environments with nothing but what an install brings, made of the packages of the running one: nothing is loaded."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# what tools, runs and builds leave in a checkout
_LEFT_OUT = (
    ".git",
    ".venv*",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "output",
    "output-*",
    "runs",
)


def copy_of_checkout(folder: Path) -> Path:
    """The checkout's files in a folder where builds and runs may write."""
    return Path(shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT)))


def needed_by(requirements: Iterable[Requirement]) -> set[str]:
    """Distributions that an install of the requirements brings."""
    needed: set[str] = set()
    todo = list(requirements)
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        # none of the requirements has extras of its own
        if name in needed or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        needed.add(name)
        todo += [Requirement(line) for line in importlib.metadata.requires(name) or []]
    return needed


def environment_of(folder: Path, distributions: Iterable[str], own_files: bool = False) -> Path:
    """A virtual environment that sees these distributions of the running environment, and no others.

    Args:
        folder: of the environment.
        distributions: their names.
        own_files: whether pip may change them there; else they are links to the running environment's folders.

    Returns:
        Its Python.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    for name in sorted(distributions):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            place = site / top
            if os.path.lexists(place):
                continue
            source = Path(str(distribution.locate_file(top))).resolve()
            if not own_files:
                place.symlink_to(source)
            elif source.is_dir():
                shutil.copytree(source, place, copy_function=_same_file, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                _same_file(str(source), str(place))
    return python


def _same_file(source: str, target: str) -> None:
    """Under another name, which can be removed by itself; a copy where both are on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def install(python: Path, *what: str) -> None:
    """``pip install`` into the environment of another Python, without its dependencies and without a network."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    run([*pip, "--no-deps", "--no-index", "--no-build-isolation", *what], ROOT)


def run(command: list[str], cwd: Path, status: int = 0, **variables: str) -> str:
    """What a command prints, both streams; it has to end with the status."""
    done = subprocess.run(
        command, cwd=cwd, env=_variables(**variables), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == status, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout


def _variables(**further: str) -> dict[str, str]:
    """The environment's variables, without those by which the running environment would leak in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**inherited, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": "", **further}


class Forks:
    """Commands one after the other in forks of one Python (``fork_server.py``); where there are none, in processes."""

    def __init__(self, python: Path, log: Path) -> None:
        self.log = log
        server = [str(python), str(Path(__file__).with_name("fork_server.py"))]
        self.server = (
            subprocess.Popen(server, env=_variables(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            if hasattr(os, "fork")
            else None
        )

    def run(self, command: list[str], cwd: Path) -> None:
        """Run a command to a good end."""
        if self.server is None:
            run(command, cwd)
            return
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps([command, str(cwd), str(self.log)]) + "\n")
        self.server.stdin.flush()
        status = self.server.stdout.readline().strip()
        printed = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        assert status == "0", f"{' '.join(command)}: {status}\n{printed[-4000:]}"

    def close(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.communicate()
