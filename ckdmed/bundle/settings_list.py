"""The settings of a bundle as text: the table's meanings with the defaults of the bundle's configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ckdmed.bundle.settings_table import Setting, settings_for
from ckdmed.bundle_files import named_bundle

__all__ = ["bundle_defaults", "settings_text"]

_FILES = ("train.json", "evaluate.json", "inference.json")


def bundle_defaults(folder: Path) -> dict[str, dict[str, Any]]:
    """Configuration file -> setting -> its default, an expression where it depends on others."""
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
    return found


def settings_text(bundle: str) -> str:
    """Every setting of a bundle: name and default, then meaning, legal values and unit, one part for each file.

    Args:
        bundle: its name, or its folder.

    Raises:
        ValueError: there is no such bundle.
    """
    folder = named_bundle(bundle)
    table = settings_for(ConfigParser.load_config_file(str(folder / "train.json")))
    parts = []
    for file, defaults in bundle_defaults(folder).items():
        over = "; it takes those of train.json as well" if file == "evaluate.json" else ""
        lines = [f"{file} (a default that begins with $ is computed from other settings{over}):"]
        lines += [line for name, default in defaults.items() for line in _lines(name, default, table[name])]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _lines(name: str, default: Any, setting: Setting) -> list[str]:
    shown = default if isinstance(default, str) else json.dumps(default)
    unit = f", in {setting.unit}" if setting.unit else ""
    return [f"  --{name}  (default: {shown})", f"      {setting.meaning}: {setting.kind.legal}{unit}"]


def _is_component(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value
