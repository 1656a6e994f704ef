"""Arguments that the commands have in common which do many runs of a bundle and make a table of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckdmed.cli.overwriting import add_force, add_output_dir, refuse_existing

__all__ = ["add_run_arguments", "chosen_table", "parse_settings"]


def add_run_arguments(parser: argparse.ArgumentParser, data: str, table: str, seeds: Sequence[int] = (0, 1, 2)) -> None:
    """Declare where things lie, the sizes, the seeds and what to do.

    Args:
        parser: of the command.
        data: what a folder of data holds, for the help.
        table: file name of the table.
        seeds: the default.
    """
    add_output_dir(parser, "runs, records and table; finished runs are kept")
    parser.add_argument("--dataset_dir", type=Path, help=f"{data} with a datalist.json; phantoms by default")
    parser.add_argument(
        "--preset", choices=("compact", "full", "tiny"), default="compact", help="sizes (default: compact)"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=list(seeds), help=f"default: {' '.join(map(str, seeds))}"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the bundle for all runs, such as epochs=10",
    )
    parser.add_argument(
        "--final", action="store_true", help="evaluate the finished runs on the test section: once, last"
    )
    parser.add_argument("--table-only", action="store_true", help="write the table from the records that are there")
    parser.add_argument("--table", type=Path, help=f"the file (default: OUTPUT_DIR/{table})")
    add_force(parser, "a file of --table")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and which of them are done")


def chosen_table(args: argparse.Namespace, default: Path, picture: bool = False) -> Path:
    """Where the table goes: `--table`, or the command's own place, where an earlier one of its own may be.

    Args:
        args: with `table` and `force`.
        default: the command's own place.
        picture: whether a picture goes beside it under the same name.

    Raises:
        FileExistsError: see `refuse_existing`.
    """
    if args.table is None:
        return default
    for path in (args.table, *([args.table.with_suffix(".png")] if picture else [])):
        refuse_existing(path, args.force)
    return Path(args.table)


def parse_settings(
    words: Sequence[str], known: set[str] | None = None, what: str = "bundle's settings"
) -> dict[str, Any]:
    """``KEY=VALUE`` words as settings; a value is JSON where it can be read so, else text.

    Args:
        words: as on the command line.
        known: names that may be set; None leaves the check to the bundle, which knows nested ones too.
        what: to call them.

    Raises:
        ValueError: a word without ``=``, or a key that is not known; the message lists those that are.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or (known is not None and key not in known):
            names = "" if known is None else f": {', '.join(sorted(known))}"
            raise ValueError(f"'{word}' is no KEY=VALUE of the {what}{names}.")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found
