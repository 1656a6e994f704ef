"""What every help ends with: examples of the command, and its exit statuses."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from ckdmed.cli.exit_status import own_statuses

__all__ = ["add_examples", "parsers_of"]

_WIDTH = 100


def add_examples(
    parser: argparse.ArgumentParser, examples: Sequence[str], statuses: Mapping[int, str], nested: bool = True
) -> None:
    """Write examples and exit statuses below the help of a parser.

    Args:
        parser: complete, with its subcommands.
        examples: commands as they are typed; a subcommand's help shows those that are its own.
        statuses: exit statuses of the command beyond 0 and 2, or what these mean of it, in words.
        nested: the help of its subcommands gets them too.
    """
    for each in parsers_of(parser) if nested else [parser]:
        own = [example for example in examples if example == each.prog or example.startswith(f"{each.prog} ")]
        each.formatter_class = argparse.RawDescriptionHelpFormatter
        parts = [each.epilog] if each.epilog else []
        parts.append("examples:\n" + "\n".join(f"  {example}" for example in own))
        parts.append("exit status:\n" + "\n".join(map(_line, own_statuses(statuses).items())))
        each.epilog = "\n\n".join(parts)


def parsers_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and, at any depth, those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from parsers_of(each)


def _line(status: tuple[int, str]) -> str:
    return textwrap.fill(status[1], _WIDTH, initial_indent=f"  {status[0]}  ", subsequent_indent="     ")
