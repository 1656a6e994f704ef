from __future__ import annotations

import argparse
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

import ckdmed
from ckdmed import cli


def raises(error: BaseException):
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Two commands in place of the real ones; the dict holds those that were imported."""
    loaded: dict[str, ModuleType] = {}

    def load(module_name: str) -> ModuleType:
        module = ModuleType(f"ckdmed.cli.{module_name}")
        module.NAME = module_name.replace("_", "-")
        module.HELP = f"help of {module_name}"
        module.EXAMPLES = (f"ckdmed {module.NAME}",)
        module.add_arguments = lambda parser: parser.add_argument("--number", type=int, default=0)
        module.run = lambda args: args.number
        loaded[module_name] = module
        return module

    monkeypatch.setattr(cli, "COMMANDS", ("make_list", "other"))
    monkeypatch.setattr(cli, "_load", load)
    return loaded


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, commands: dict[str, ModuleType]):
    def set_error(error: BaseException) -> None:
        load = cli._load

        def load_failing(module_name: str) -> ModuleType:
            module = load(module_name)
            module.run = raises(error)
            return module

        monkeypatch.setattr(cli, "_load", load_failing)

    return set_error


def test_a_command_returns_its_own_status(commands):
    assert cli.main(["make-list", "--number", "7"]) == 7


def test_only_the_chosen_command_is_imported(commands):
    cli.main(["--debug", "other"])
    assert list(commands) == ["other"]


def test_help_lists_every_command(commands, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "make-list" in printed and "help of make_list" in printed and "help of other" in printed


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"ckdmed {ckdmed.__version__}\n"


def test_an_unknown_command_names_the_known_ones(commands, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["make-lits"])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "make-lits" in printed and "make-list" in printed and "other" in printed


def test_no_command_is_an_error(commands, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2
    assert "<command>" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ValueError("bad 1.mat"), FileNotFoundError("bad 1.mat"), RuntimeError("bad\n  1.mat")], ids=repr
)
def test_a_refused_input_is_one_line_and_status_2(failing, capsys, error):
    failing(error)
    assert cli.main(["other"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "ckdmed other: error: bad 1.mat\n"
    assert printed.out == ""


def test_an_error_without_a_message_is_named(failing, capsys):
    failing(ValueError())
    assert cli.main(["other"]) == 2
    assert capsys.readouterr().err == "ckdmed other: error: ValueError\n"


@pytest.mark.parametrize("arguments", [["--debug", "other"], ["other", "--debug"]], ids=["before", "after"])
def test_debug_lets_the_error_through(failing, arguments):
    failing(ValueError("bad 1.mat"))
    with pytest.raises(ValueError, match="bad 1.mat"):
        cli.main(arguments)


def test_a_defect_keeps_its_traceback(failing):
    failing(TypeError("ours"))
    with pytest.raises(TypeError, match="ours"):
        cli.main(["other"])


def test_what_monai_wraps_is_told_by_its_cause(failing, capsys):
    wrapped = RuntimeError("Failed to evaluate ConfigExpression:\n'$@sections'")
    wrapped.__cause__ = ValueError("bad 1.mat")
    failing(wrapped)
    assert cli.main(["other"]) == 2
    assert capsys.readouterr().err == "ckdmed other: error: bad 1.mat\n"
    wrapped.__cause__ = TypeError("ours")
    with pytest.raises(RuntimeError, match="Failed to evaluate"):
        cli.main(["other"])


def test_a_missing_package_ends_with_the_line_that_installs_it(failing, capsys):
    failing(ModuleNotFoundError("No module named 'skimage'", name="skimage.draw"))
    assert cli.main(["other"]) == 2
    assert capsys.readouterr().err.endswith(f"Install it with: {sys.executable} -m pip install scikit-image\n")
    failing(ModuleNotFoundError("No module named 'ckdmed.nothing'", name="ckdmed.nothing"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["other"])


def test_a_missing_package_of_an_extra_ends_with_the_extra(failing, capsys, monkeypatch):
    declared = {"requires": ["torch>=2.8", 'pytest; extra == "dev"', 'Some.Package>=3; extra == "dev"']}
    declared["requires"].append('some-package>=3; extra == "pictures"')
    monkeypatch.setattr("importlib.metadata.requires", lambda name: declared["requires"])
    monkeypatch.setattr(
        "importlib.metadata.metadata", lambda name: SimpleNamespace(get_all=lambda key: ["dev", "pictures"])
    )
    failing(ModuleNotFoundError("No module named 'some_package'", name="some_package.part"))
    assert cli.main(["other"]) == 2
    assert capsys.readouterr().err.endswith(f"{sys.executable} -m pip install 'ckdmed[pictures]'\n")


def test_ctrl_c(failing, capsys):
    failing(KeyboardInterrupt())
    assert cli.main(["other"]) == 130
    assert capsys.readouterr().err == "ckdmed other: interrupted\n"


def test_a_name_that_does_not_match_its_module_is_refused(commands):
    module = cli._load("make_list")
    module.NAME = "list"
    with pytest.raises(ValueError, match="'list'; the command line knows it as 'make-list'"):
        cli.build_parser([module])


def test_every_command_builds_a_parser():
    modules = [cli._load(name) for name in cli.COMMANDS]
    cli.build_parser(modules)
    for module in modules:
        assert module.HELP and "\n" not in module.HELP, f"{module.__name__}.HELP is one line"


@pytest.mark.parametrize("option", ["--output_dir", "--out"])
@pytest.mark.parametrize(
    "words",
    [
        "prepare data",
        "slice-cache list.json",
        "export --bundle b --checkpoint c",
    ],
)
def test_every_command_takes_its_folder_by_the_same_name(words, option):
    arguments = [*words.split(), option, "there"]
    module = cli._load(arguments[0].replace("-", "_"))
    assert str(cli.build_parser([module]).parse_args(arguments).output_dir) == "there"


def test_python_dash_m():
    done = subprocess.run([sys.executable, "-m", "ckdmed", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"ckdmed {ckdmed.__version__}\n")


def test_a_log_keeps_few_steps_of_a_bar(tmp_path):
    program = "import sys, time; from ckdmed.cli import _slow_bars; _slow_bars(); from tqdm import tqdm\n"
    program += "for _ in tqdm(range(30)): time.sleep(0.02)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(done.stderr.split("\r")) <= 4 and "30/30" in done.stderr


@pytest.mark.parametrize("length", [1, 100_000], ids=["written at the end", "written at once"])
def test_a_reader_that_ends_first_gets_no_complaint(length: int):
    """As with `| head -0`: the pipe has no reader when the first line is written."""
    program = f"""
import sys, types
from ckdmed import cli
command = types.ModuleType("ckdmed.cli.other")
command.NAME, command.HELP, command.add_arguments = "other", "", lambda parser: None
command.EXAMPLES = ()
command.run = lambda args: print("x" * {length}) or 0
cli.COMMANDS, cli._load = ("other",), lambda name: command
sys.exit(cli.main(["other"]))
"""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_broken_pipe_is_an_error_like_others(failing, capsys):
    failing(BrokenPipeError("a worker ended"))
    assert cli.main(["other"]) == 2
    assert capsys.readouterr().err == "ckdmed other: error: a worker ended\n"
