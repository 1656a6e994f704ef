"""The command line of this process as a user would type it again, for records."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["started_by", "typed_command", "with_options"]

_STARTED_BY: ContextVar[tuple[str, ...] | None] = ContextVar("started_by", default=None)


@contextmanager
def started_by(command: Sequence[str]) -> Iterator[None]:
    """Within it the command is another one: what a user typed of whom this process, such as a job, works for."""
    token = _STARTED_BY.set(tuple(command))
    try:
        yield
    finally:
        _STARTED_BY.reset(token)


def typed_command() -> list[str]:
    """The words of the command, without the folder of the interpreter or of an installed program.

    ``python -m ckdmed export`` and ``python -m monai.bundle run`` are written so, though ``sys.argv`` begins with the
    ``__main__.py`` of the package; a program on the path such as ``ckdmed`` is its name, a script given to Python by
    its relative path that path. Options of the interpreter itself (``-u``, ``-X``) are left out. The arguments are
    those given, paths among them too. Within :func:`started_by` it is the command given there.
    """
    if (command := _STARTED_BY.get()) is not None:
        return list(command)
    python = Path(sys.orig_argv[0]).name if sys.orig_argv else "python"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return [python, "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]]
    program, *arguments = sys.argv or [""]
    if program == "-c":
        return [python, "-c", sys.orig_argv[sys.orig_argv.index("-c") + 1], *arguments]
    if not program.endswith(".py"):
        return [Path(program).name or python, *arguments]
    script = Path(program)
    return [python, script.name if script.is_absolute() else script.as_posix(), *arguments]


def with_options(command: Sequence[str], **options: str) -> list[str]:
    """The command with ``--name value`` for each option, in place of those it has."""
    words = list(command)
    for name, value in options.items():
        kept: list[str] = []
        skip = False
        for word in words:
            if skip:
                skip = False
            elif word == f"--{name}":
                skip = True
            elif not word.startswith(f"--{name}="):
                kept.append(word)
        words = [*kept, f"--{name}", value]
    return words
