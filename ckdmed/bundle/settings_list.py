"""The settings of a bundle as text: the table's meanings with the defaults of the bundle's configurations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.setting_check import taken_settings
from ckdmed.bundle.settings_table import Setting, profiles_of, settings_for
from ckdmed.bundle.trained import OF_PREDICTIONS
from ckdmed.bundle_files import bundle_configs
from ckdmed.recipes.profile import sizes_of
from ckdmed.recipes.schedule import of_recipes

__all__ = ["bundle_defaults", "settings_text"]

_FROM_PROFILE = re.compile(r"\$@(?:sizes|profiles)\['(\w+)'\](?:\[@profile\])?")
_FROM_RECORD = re.compile(r"\$@(trained|taught|started)\.get\('\w+', (?:None\) or (.+)|(.+)\))")
_RECORDS = {
    "trained": "the training",
    "taught": "the teacher's training",
    "started": "the training of student_pretrained",
}
_FROM_RECIPE = re.compile(r"\$ckdmed\.recipes\.(?:of_recipe\(@\w+, '(\w+)'|rate_of\(@\w+), (.*)\)")
_FILES = ("train.json", "evaluate.json", "inference.json")


def bundle_defaults(folder: Path) -> dict[str, dict[str, Any]]:
    """Configuration file -> setting -> its default, an expression where it depends on others.

    Of those that a configuration hands to a component without spelling them out the default is None.
    """
    found = {}
    train: dict[str, Any] = {}
    for name in _FILES:
        if not (folder / name).is_file():
            continue
        config = ConfigParser.load_config_file(str(folder / name))
        train = config if name == "train.json" else train
        # an evaluation lies over the training
        table = settings_for({**train, **config} if name == "evaluate.json" else config)
        found[name] = {key: value for key, value in config.items() if key in table and not _is_component(value)}
        # what a component has a default for
        found[name] |= {key: None for key in sorted(taken_settings(config) - set(config))}
    return found


def settings_text(bundle: str) -> str:
    """Every setting of a bundle: name and default, then meaning, legal values and unit, one part for each file.

    A default that depends on the profile is shown for each: ``demo 20, full 60, compact 12``.

    Args:
        bundle: its name, or its folder.

    Raises:
        ValueError: there is no such bundle.
    """
    folder = bundle_configs(bundle)
    train = ConfigParser.load_config_file(str(folder / "train.json"))
    table, columns = settings_for(train), train.get("profiles", {})
    profiles = {profile: sizes_of(columns, profile) for profile in profiles_of(columns)}
    parts = []
    for file, defaults in bundle_defaults(folder).items():
        over = "; the settings of train.json apply too" if file == "evaluate.json" else ""
        lines = [f"{file} (a default that begins with $ is computed from other settings{over}):"]
        lines += [line for name, default in defaults.items() for line in _lines(name, default, table[name], profiles)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _lines(name: str, default: Any, setting: Setting, profiles: Mapping[str, Any]) -> list[str]:
    of_recipe = _FROM_RECIPE.fullmatch(str(default))
    if of_recipe:
        # what the usual recipe leaves to the rest of the configuration
        default = f"${of_recipe[2]}" if "@" in of_recipe[2] else of_recipe[2].strip("'")
    of_training = _FROM_RECORD.fullmatch(str(default))
    otherwise = (of_training[2] or of_training[3]) if of_training else ""
    of_profile = _FROM_PROFILE.fullmatch(f"${otherwise}" if of_training else str(default))
    if of_profile:
        shown = ", ".join(f"{name} {_shown(sizes[of_profile[1]])}" for name, sizes in profiles.items())
    else:
        shown = otherwise.replace("None", "null") if of_training else _shown(default)
    if of_training:
        whose = "the record of the checkpoint" if name in OF_PREDICTIONS else _RECORDS[of_training[1]]
        shown = f"that of {whose}, else {shown}"
    if of_recipe:
        shown += "".join(
            f", {name} {_shown(value)}" for name, value in of_recipes(of_recipe[1] or "learning_rate").items()
        )
    unit = f", in {setting.unit}" if setting.unit else ""
    return [f"  --{name}  (default: {shown})", f"      {setting.meaning}: {setting.kind.legal}{unit}"]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_component(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value
