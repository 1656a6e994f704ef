"""Files of the user's choice: existing ones are replaced only on request."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ckdmed.folders import refuse_unwritable
from ckdmed.json_files import read_json

__all__ = ["add_force", "add_output_dir", "is_datalist", "refuse_existing"]


def add_force(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare `--force`."""
    parser.add_argument("--force", action="store_true", help=f"replace {what} if it exists")


def add_output_dir(parser: argparse.ArgumentParser, what: str, *aliases: str, default: Path | None = None) -> None:
    """Declare `--output_dir`, with `--out` and `--output-dir` as aliases.

    Args:
        parser: of the command.
        what: the folder, for the help.
        aliases: further names that it has had.
        default: the folder where none is given; it has to be given where this is None.
    """
    parser.add_argument(
        *("--output_dir", "--out", "--output-dir", *aliases),
        dest="output_dir",
        type=Path,
        metavar="FOLDER",
        required=default is None,
        default=default,
        help=what,
    )


def refuse_existing(path: Path, force: bool, is_own: Callable[[Path], bool] | None = None) -> None:
    """Say that a file is there, or cannot be written, before anything is computed for it.

    Args:
        path: the file to write.
        force: whether the user wants it replaced.
        is_own: whether what is there is a file of the kind that is written; no other is replaced even by `force`.

    Raises:
        FileExistsError: the path is a folder; a file that may not be replaced.
        ValueError: its folder cannot be written to.
    """
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder; name a file.")
    refuse_unwritable(path.parent, "name a file elsewhere")
    if not path.exists():
        return
    if not force:
        raise FileExistsError(f"{path} already exists; name another file, or replace it with --force.")
    if is_own is not None and not is_own(path):
        raise FileExistsError(f"{path} is not a file of this command; it is not replaced even with --force.")


def is_datalist(path: Path) -> bool:
    """Whether a file is JSON with the section `training`."""
    try:
        return "training" in read_json(path)
    except (ValueError, TypeError):
        return False
