"""Completion of the command line by the Tab key, through argcomplete (extra `completion`).

    eval "$(register-python-argcomplete ckdmed)"

in the shell's start file (bash and zsh; `--shell fish` writes fish's). Nothing here imports torch, so that a key is
answered in a fraction of a second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle_files import bundle_configs, bundle_names, bundles_folder
from ckdmed.cli.help_text import parsers_of
from ckdmed.cli.run import WORKFLOWS

__all__ = ["complete", "prepare", "setting_names"]

_NO_SETTINGS = {
    "imports",
    "initialize",
    "run",
    "finalize",
    "evaluate",
    "save_execute_config",
    "profiles",
    "sizes",
    "train",
    "validate",
    "bundle_root",
}


def complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Answer the shell, which ends the process.

    Args:
        parser: of all commands.
        words: of the line so far, without the program's name.

    Raises:
        ModuleNotFoundError: argcomplete is not installed.
    """
    import argcomplete

    prepare(parser, words)
    argcomplete.autocomplete(parser)


def prepare(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Let the names of bundles be completed, and the settings of the bundle that `run` is given."""
    for each in parsers_of(parser):
        for action in each._actions:
            if action.dest == "bundle":
                action.completer = _bundles  # type: ignore[attr-defined]
    if list(words[:1]) == ["run"] and len(words) >= 3 and words[2] in WORKFLOWS:
        own = next(each for each in parsers_of(parser) if each.prog == "ckdmed run")
        # what is left over for the bundle hides from argcomplete that it has options
        own._actions.remove(next(action for action in own._actions if action.dest == "settings"))
        for name in setting_names(words[1], words[2]):
            own.add_argument(f"--{name}")


def setting_names(bundle: str, workflow: str) -> list[str]:
    """The settings at the top of a bundle's configuration, by the form of their values; none of an unknown bundle."""
    try:
        files = [bundle_configs(bundle) / name for name in WORKFLOWS[workflow]]
        configs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    except (OSError, ValueError):
        return []
    names: dict[str, None] = {}
    for config in configs:
        for name, value in config.items():
            if isinstance(value, dict) and "_target_" in value:
                # the components begin, and with them what follows from the settings
                break
            if name not in _NO_SETTINGS and "#" not in name:
                names[name] = None
    return list(names)


def _bundles(prefix: str, **_: Any) -> list[str]:
    folders = [f"{path}" for path in Path(prefix).parent.glob(f"{Path(prefix).name}*") if path.is_dir()]
    return [name for name in bundle_names(bundles_folder()) if name.startswith(prefix)] + folders
