"""The command line: `ckdmed <command>` or `python -m ckdmed <command>`.

A command is a module of this package. It holds `NAME` (the module's name with `-` for `_`), `HELP` (one line),
`EXAMPLES` (commands as they are typed, for its help and for those of its subcommands), `add_arguments(parser)` and
`run(args) -> int` (the exit status), and its module name stands in `COMMANDS`. Exit statuses other than 0 and 2 stand
in `STATUSES`, with what they mean of the command; `ckdmed.cli.exit_status` has the table that all keep to. Only the
module of the chosen command is imported; `--help` imports all of them, so a command imports what is slow (torch, MONAI)
inside `run`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import shlex
import sys
from collections.abc import Sequence
from types import ModuleType

import ckdmed
from ckdmed.cli.exit_status import INTERRUPTED, READER_LEFT, REFUSED, STATUSES
from ckdmed.cli.help_text import add_examples
from ckdmed.cli.missing_package import install_command

__all__ = ["ALIASES", "COMMANDS", "build_parser", "main"]

COMMANDS: tuple[str, ...] = (
    "run",
    "datalist",
    "check_datalist",
    "phantoms",
    "export",
    "deploy",
    "prune",
    "robustness",
    "prepare",
    "brats_datalist",
    "check_brats",
    "slice_cache",
    "experiment",
    "settings",
    "bundle",
    "serve_dicom",
    "intended_inputs",
    "segment",
    "restore_mask",
    "report",
    "pseudo_label",
    "demo",
)

#: commands of their own once -> what they are now, in words
ALIASES: dict[str, tuple[str, ...]] = {
    name: ("experiment", name) for name in ("compare", "ablation", "unimodal", "table1")
}

# What a command raises for bad input, as opposed to a defect of the package, which keeps its traceback.
_USER_ERRORS = (ValueError, OSError, RuntimeError)

# Descriptors of standard output and error.
_OUTPUTS = (1, 2)
_EXAMPLES = (
    "ckdmed run seg_kd train",
    "ckdmed settings seg_kd",
    "ckdmed phantoms --help",
)


def _load(module_name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{module_name}")


def _command_name(module_name: str) -> str:
    return module_name.replace("_", "-")


def _chosen(argv: Sequence[str]) -> list[str]:
    """The modules that the arguments need: that of the command named first, else all of them."""
    first = next((argument for argument in argv if not argument.startswith("-")), None)
    return [name for name in COMMANDS if _command_name(name) == first] or list(COMMANDS)


def _in_full(argv: Sequence[str]) -> list[str]:
    """The arguments with an alias replaced by what it stands for."""
    for number, argument in enumerate(argv):
        if not argument.startswith("-"):
            return [*argv[:number], *ALIASES.get(argument, (argument,)), *argv[number + 1 :]]
    return list(argv)


def _add_debug(parser: argparse.ArgumentParser) -> None:
    # Stands before and after the command. SUPPRESS keeps the subparser's default from undoing the one given before it.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )


def build_parser(modules: Sequence[ModuleType]) -> argparse.ArgumentParser:
    """The parser over the given command modules.

    Args:
        modules: command modules, each with `NAME`, `HELP`, `EXAMPLES`, `add_arguments` and `run`.

    Raises:
        ValueError: a module's `NAME` is not its own name with `-` for `_`.
    """
    parser = argparse.ArgumentParser(prog="ckdmed", description=ckdmed.__doc__)
    parser.add_argument("--version", action="version", version=f"ckdmed {ckdmed.__version__}")
    _add_debug(parser)
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="<command>", required=True)
    for module in modules:
        expected = _command_name(module.__name__.rpartition(".")[2])
        if module.NAME != expected:
            raise ValueError(f"{module.__name__}.NAME is {module.NAME!r}; the command line knows it as {expected!r}.")
        subparser = subparsers.add_parser(module.NAME, help=module.HELP, description=module.HELP)
        _add_debug(subparser)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
        add_examples(subparser, getattr(module, "EXAMPLES", ()), getattr(module, "STATUSES", {}))
    add_examples(parser, _EXAMPLES, STATUSES, nested=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; those of the process by default.

    Returns:
        The command's own exit status; 2 when it refused its input (one line on stderr says why); 130 after Ctrl-C; 141,
        without a word, where the program that reads its output ended first, as `head` does.
        Wrong arguments, `--help` and `--version` end in SystemExit, as argparse has it.
    """
    try:
        try:
            return _run(_in_full(sys.argv[1:] if argv is None else argv))
        finally:
            # here and not at the interpreter's end, which would print what it could not write
            sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_left():
            raise
        return READER_LEFT


def _slow_bars() -> None:
    """Where bars go to a file, which keeps each of their steps, let them move every ten seconds."""
    if not sys.stderr.isatty():
        # read when tqdm is imported, which the commands do
        os.environ.setdefault("TQDM_MININTERVAL", "10")


def _run(arguments: list[str]) -> int:
    parser = build_parser([_load(name) for name in _chosen(arguments)])
    if "_ARGCOMPLETE" in os.environ:
        from ckdmed.cli.completion import complete

        complete(parser, shlex.split(os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])])[1:])
    args = parser.parse_args(arguments)
    _slow_bars()
    try:
        return int(args.run(args))
    except _USER_ERRORS as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            return READER_LEFT
        cause = _without_wrappings(error)
        if getattr(args, "debug", False) or not isinstance(cause, _USER_ERRORS):
            raise
        message = " ".join(str(cause).split()) or type(cause).__name__
        print(f"ckdmed {args.command}: error: {message}", file=sys.stderr)
        return REFUSED
    except ModuleNotFoundError as error:
        if getattr(args, "debug", False) or (error.name or "").partition(".")[0] in ("", "ckdmed"):
            raise
        package = str(error.name).partition(".")[0]
        print(
            f"ckdmed {args.command}: error: the package {package} is not installed, though ckdmed needs it. Install it "
            f"with: {install_command(package)}",
            file=sys.stderr,
        )
        return REFUSED
    except KeyboardInterrupt:
        print(f"ckdmed {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _without_wrappings(error: Exception) -> BaseException:
    """The cause of an error that MONAI wraps in the line of a configuration where it was raised."""
    if error.__cause__ is None or not isinstance(error, RuntimeError):
        return error
    # slow to import; a command whose error is wrapped has done so
    from ckdmed.bundle.errors import root_cause

    return root_cause(error)


def _reader_left() -> bool:
    """Whether standard output or error has no reader any more; what is still to be written to it then goes nowhere.

    The pipes themselves are polled: a stream that failed once has dropped what it held and flushes without an error.
    """
    ends = select.poll()
    for descriptor in _OUTPUTS:
        ends.register(descriptor, 0)
    left = [descriptor for descriptor, event in ends.poll(0) if event & select.POLLERR]
    for descriptor in left:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    return bool(left)
