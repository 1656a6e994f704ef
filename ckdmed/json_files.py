"""Reading JSON that others may have written or damaged: whatever is wrong with it is one error with the file's name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["JsonFileError", "parse_json", "read_json", "read_json_lines"]

# Configurations nest about ten deep. Python's own limit depends on who calls; what walks through a value meets it too.
_MAX_DEPTH = 100


class JsonFileError(ValueError):
    """A file that cannot be read as JSON; the message names it."""

    # where it ends a run, this needs no traceback
    explains_itself = True


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        JsonFileError: it may not be read, is not UTF-8, not JSON, or nested more than 100 deep.
    """
    return parse_json(_text(path), os.fspath(path))


def read_json_lines(path: str | os.PathLike[str]) -> list[Any]:
    """The values in a file of JSON Lines, one on each line that is not empty.

    Raises:
        FileNotFoundError: there is no such file.
        JsonFileError: see `read_json`; names the line too.
    """
    lines = enumerate(_text(path).splitlines(), start=1)
    return [parse_json(line, f"{os.fspath(path)}: line {number}") for number, line in lines if line.strip()]


def parse_json(text: str, what: str) -> Any:
    """The value of a text.

    Args:
        text: JSON, such as a line of a file.
        what: begins the error's message: the name of the file, for example.

    Raises:
        JsonFileError: the text is not JSON, or nested more than 100 deep.
    """
    try:
        value = json.loads(text)
        deep = _is_deep(value)
    except RecursionError:
        deep = True
    except ValueError as error:
        raise JsonFileError(f"{what}: not JSON ({error}).") from error
    if deep:
        raise JsonFileError(f"{what}: not JSON that can be used: it is nested more than {_MAX_DEPTH} levels deep.")
    return value


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise JsonFileError(f"{os.fspath(path)}: not JSON ({error}).") from error
    except OSError as error:
        raise JsonFileError(f"{os.fspath(path)}: cannot be read ({error.strerror}).") from error


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [part for part in level if isinstance(part, (dict, list))]
        if not level:
            return False
        level = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
    return True
