"""What is asked of every command that is registered, whoever adds it."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import shlex
from types import ModuleType

import pytest

from ckdmed import cli
from ckdmed.cli.exit_status import DONE, REFUSED, STATUSES
from ckdmed.cli.help_text import parsers_of


@pytest.fixture(params=cli.COMMANDS)
def command(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"ckdmed.cli.{request.param}")


def subparser(command: ModuleType) -> argparse.ArgumentParser:
    parser = cli.build_parser([command])
    return next(each for each in parsers_of(parser) if each.prog == f"ckdmed {command.NAME}")


def examples_of(command: ModuleType) -> tuple[str, ...]:
    examples = getattr(command, "EXAMPLES", ())
    assert examples, f"{command.__name__} has no EXAMPLES; see `ckdmed.cli` for what a command's module holds"
    return examples


def test_every_help_has_examples_that_are_valid(command, monkeypatch):
    """Of the command and of each of its subcommands; what they name need not exist."""
    parser = cli.build_parser([command])
    monkeypatch.setattr(argparse.ArgumentParser, "error", lambda self, message: pytest.fail(f"{self.prog}: {message}"))
    for example in examples_of(command):
        program, *arguments = shlex.split(example)
        assert (program, arguments[0]) == ("ckdmed", command.NAME)
        parser.parse_args(arguments)
    for each in parsers_of(subparser(command)):
        examples = (each.epilog or "").partition("examples:\n")[2].partition("\n\n")[0]
        assert examples.strip().startswith(each.prog), f"`{each.prog} --help` shows no example; add one to EXAMPLES"


def test_every_exit_status_is_in_the_table_and_in_the_help(command):
    """A status that the module returns as a number or by its name in `exit_status` stands in its STATUSES."""
    own = getattr(command, "STATUSES", {})
    assert set(own) <= set(STATUSES)
    unsaid = returned_statuses(command) - {DONE, REFUSED, *own}
    assert not unsaid, f"say in {command.__name__}.STATUSES what {sorted(unsaid)} mean"
    help_text = subparser(command).format_help()
    for status, meaning in own.items():
        assert f"\n  {status}  {meaning[:20]}" in help_text


def returned_statuses(command: ModuleType) -> set[int]:
    """By `run`, and by the functions that it hands over to: those of the module that give a whole number."""
    names = vars(importlib.import_module("ckdmed.cli.exit_status"))
    found = set()
    for function in ast.parse(inspect.getsource(command)).body:
        if not isinstance(function, ast.FunctionDef) or getattr(function.returns, "id", "") != "int":
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                branches = [node.value.body, node.value.orelse] if isinstance(node.value, ast.IfExp) else [node.value]
                for value in branches:
                    if isinstance(value, ast.Constant):
                        found.add(int(value.value))
                    elif isinstance(value, ast.Name) and value.id in names:
                        found.add(int(names[value.id]))
    return found


def test_a_long_line_of_help_is_not_reflowed_into_an_example(command):
    for example in examples_of(command):
        assert f"\n  {example}\n" in subparser(command).format_help()


def test_every_experiment_has_examples_too():
    from ckdmed.cli.experiment import EXAMPLES, EXPERIMENTS, experiment, experiment_parser

    for name in EXPERIMENTS:
        parser = experiment_parser(experiment(name))
        own = [shlex.split(example)[3:] for example in EXAMPLES if shlex.split(example)[2] == name]
        assert own, f"no example of `ckdmed experiment {name}`"
        for arguments in own:
            parser.parse_args(arguments)


def test_the_help_of_all_lists_every_exit_status(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for status, meaning in STATUSES.items():
        assert f"{status} {meaning}" in printed


#: Commands without `--quiet`, which hides a bar -> why there is none to hide.
WITHOUT_A_BAR = {
    "bundle": "copies a few files",
    "settings": "reads a few files",
    "restore_mask": "resamples one mask",
    "serve_dicom": "logs what it is sent",
    "demo": "serves a page, which shows how far it is",
    "run": "the bundle shows its own",
    "segment": "the bundle shows its own",
    "pseudo_label": "the bundles' inferences show their own",
    "experiment": "the runs show their own, below one of all runs",
    "deploy": "tells each form and measurement as it is done",
    "report": "writes a page in seconds",
}


def test_a_long_command_shows_how_far_it_is(command):
    """By a bar, which `--quiet` hides."""
    options = {option for each in parsers_of(subparser(command)) for option in each._option_string_actions}
    name = command.__name__.rpartition(".")[2]
    assert (
        "--quiet" in options or name in WITHOUT_A_BAR
    ), "show a bar, and let --quiet hide it; or say why there is none"
