"""The tutorials, command by command as they stand, each in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ckdmed import cli
from ckdmed.cli.run import WORKFLOWS

PAGES = sorted((Path(__file__).parents[2] / "docs/tutorials").glob("*.md"))
_BLOCK = re.compile(r"```(bash|python title=\"([\w.]+)\")\n(.*?)```", re.DOTALL)


def steps(page: Path) -> list[tuple[str, str]]:
    """("", commands) or (file, its content), in the order of the page."""
    return [(name, text) for _, name, text in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands(page: Path) -> list[list[str]]:
    joined = "\n".join(text for name, text in steps(page) if not name).replace("\\\n", " ")
    return [shlex.split(line) for line in joined.splitlines() if line.strip()]


def test_there_are_three():
    assert len(PAGES) >= 3 and all(commands(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_valid(page):
    """What they name need not exist; the long run of them is the slow test's."""
    parser = cli.build_parser([cli._load(name) for name in cli.COMMANDS])
    for words in commands(page):
        words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        assert words[0] == "ckdmed"
        args = parser.parse_args(words[1:])
        if args.command == "run":
            assert args.workflow in WORKFLOWS


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_its_first_command_to_its_last(page, tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""}
    for name, text in steps(page):
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert list(tmp_path.iterdir())
