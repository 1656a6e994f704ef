"""Settings of a bundle as an experiment is given them: ``KEY=VALUE`` words, and the sizes of a profile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.setting_check import check_given
from ckdmed.bundle.workflow import bundle_settings
from ckdmed.bundle_files import bundle_folder
from ckdmed.json_files import read_json

__all__ = ["PROFILES", "check_bundle_settings", "parse_settings", "profile_settings"]

PROFILES = ("compact", "full", "tiny")


def parse_settings(words: Sequence[str], what: str = "bundle's settings") -> dict[str, Any]:
    """``KEY=VALUE`` words as settings; a value is JSON where it can be read so, else text.

    Args:
        words: as on the command line.
        what: to call them.

    Raises:
        ValueError: a word without ``=`` or without a key.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"'{word}' is no KEY=VALUE of the {what}.")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def check_bundle_settings(bundle: str, settings: Mapping[str, Any], bundles: Path | None = None) -> None:
    """Raise ``WrongSettingError`` (a ValueError) where a bundle lacks a setting, or its value is wrong.

    Args:
        bundle: its name.
        settings: to be given to it later.
        bundles: folder of the bundles, see :func:`~ckdmed.bundle.workflow.bundle_folder`.
    """
    config = read_json(bundle_folder(bundle, bundles) / "train.json")
    check_given(config, settings)


def profile_settings(
    profile: str, compact: Mapping[str, Any], tiny: Mapping[str, Any], bundle: str, **overrides: Any
) -> dict[str, Any]:
    """The settings of the profile "compact" or "tiny", or "full" for the bundle's own with a data folder.

    Args:
        profile: its name.
        compact: settings of that profile; their names are those of "full" as well.
        tiny: settings of that profile.
        bundle: whose settings "full" takes, with mixed precision where "compact" says anything of it.
        overrides: settings of the bundle on which others depend.

    Raises:
        ValueError: an unknown profile.
    """
    if profile == "full":
        own = bundle_settings(bundle, dataset_dir=".", **overrides)
        return {key: True if key == "amp" else own[key] for key in compact}
    if profile not in PROFILES:
        raise ValueError(f"profile must be full, compact or tiny, got {profile!r}.")
    return dict(compact if profile == "compact" else tiny)
