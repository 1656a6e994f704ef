"""The guide names every method, and its commands plan."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ckdmed.cli.experiment import experiment_parser
from ckdmed.experiments import experiment
from ckdmed.methods import registered

PAGE = (Path(__file__).parents[2] / "docs" / "choosing.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ckdmed experiment .*$", PAGE.replace("\\\n", " "), re.MULTILINE)


def test_every_method_has_its_place():
    guide = PAGE.split("## What a step costs")[0]
    # a variant of mtcm
    names = {method.name for method in registered()} - {"mtcm_repo"}
    missing = [name for name in sorted(names) if f"`{name}`" not in guide]
    assert not missing, f"docs/choosing.md, 'Which method when', says nothing of {missing}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_plan(command: str):
    name, *options = shlex.split(command)[2:]
    chosen = experiment(name)
    assert len(chosen.plan(experiment_parser(chosen).parse_args(options))) > 2


def test_there_are_commands_of_all():
    assert {shlex.split(command)[2] for command in COMMANDS} == {"methods", "sweep", "sizes"}
