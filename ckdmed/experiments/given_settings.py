"""Settings of a bundle as an experiment is given them: ``KEY=VALUE`` words, and the sizes of a profile."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.setting_check import check_given
from ckdmed.bundle.started_from import started_from
from ckdmed.bundle.trained import settings_read
from ckdmed.bundle.workflow import bundle_settings
from ckdmed.bundle_files import bundle_folder
from ckdmed.json_files import read_json

__all__ = [
    "PROFILES",
    "check_bundle_settings",
    "parse_settings",
    "profile_settings",
    "settings_beside",
    "training_config",
]

PROFILES = ("compact", "full", "tiny")
_VOLUMES = 3
#: settings on which those of a profile depend
_FOLLOWED = ("spatial_dims", "recipe", "teacher_recipe", "teacher_kind")


def parse_settings(words: Sequence[str], what: str = "bundle's settings") -> dict[str, Any]:
    """``KEY=VALUE`` words as settings; a value is JSON or Python (a list, a mapping) where it can be read, else text.

    Args:
        words: as on the command line.
        what: to call them.

    Raises:
        ValueError: a word without ``=`` or without a key, a list or mapping that is not closed.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"'{word}' is not KEY=VALUE, as the {what} must be.")
        found[key] = _value(key, value)
    return found


def _value(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    if text[:1] not in ("[", "{"):
        return text
    try:
        # as `ckdmed run` and `monai.bundle run` read the same text
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(
            f"{key}={text} is neither a list nor a mapping: put texts inside it in quotes and all of it in others, "
            f'such as \'{key}=["a", "b"]\'.'
        ) from None


def check_bundle_settings(bundle: str, settings: Mapping[str, Any], bundles: Path | None = None) -> None:
    """Raise ``WrongSettingError`` (a ValueError) where a bundle lacks a setting, or its value is wrong.

    Args:
        bundle: its name.
        settings: to be given to it later.
        bundles: folder of the bundles, see :func:`~ckdmed.bundle.workflow.bundle_folder`.
    """
    check_given(training_config(bundle, bundles), settings)


def training_config(bundle: str, bundles: Path | None = None) -> dict[str, Any]:
    """The ``train.json`` of a bundle, as it stands in the file.

    Args:
        bundle, bundles: see :func:`check_bundle_settings`.
    """
    return read_json(bundle_folder(bundle, bundles) / "train.json")


def profile_settings(
    profile: str,
    bundle: str,
    tiny: Mapping[str, Any],
    compact: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The sizes of a profile, by the table of profiles that the bundle's configuration has.

    Args:
        profile: "compact" or "full" of the table, or "tiny", which is for tests.
        bundle: whose table.
        tiny: settings of that profile; the others have values for the same names.
        compact: what that profile sets beside its sizes. "full" sets mixed precision, where "tiny" says anything of it.
        given: settings of the user's; some of the profile's depend on them. A recipe has a learning rate of its own,
            volumes have sizes of their own, and a size of their patches beside the names of ``tiny``. What the record
            of ``student_pretrained`` tells of a student is left to it.

    Raises:
        ValueError: an unknown profile; a record that cannot be read.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be full, compact or tiny, got {profile!r}.")
    config = training_config(bundle)
    sizes = _sizes(profile, bundle, tiny, compact, given or {}, config)
    started = started_from((given or {}).get("student_pretrained")).settings or {}
    told = settings_read(config, "started") & set(started)
    return {name: value for name, value in sizes.items() if name not in told}


def _sizes(
    profile: str,
    bundle: str,
    tiny: Mapping[str, Any],
    compact: Mapping[str, Any],
    given: Mapping[str, Any],
    config: Mapping[str, Any],
) -> dict[str, Any]:
    followed = {name: value for name, value in given.items() if name in _FOLLOWED and name in config}
    volumes = followed.get("spatial_dims") == _VOLUMES
    if profile == "tiny":
        patches = {"roi_size": [tiny["image_size"]] * _VOLUMES} if volumes and "roi_size" not in tiny else {}
        return {**tiny, **patches}
    own = bundle_settings(bundle, dataset_dir=".", profile=f"{profile}_3d" if volumes else profile, **followed)
    beside = compact if profile == "compact" else {name: True for name in tiny if name == "amp"}
    names = [*tiny, "roi_size"] if volumes else list(tiny)
    return {**{name: own[name] for name in names}, **beside}


def settings_beside(
    own: Mapping[str, Any],
    shared: Mapping[str, Any],
    given: Collection[str],
    sizes: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Those that all runs share, for an arm with settings of its own, on which sizes may depend.

    Another recipe, for example, has another learning rate.

    Args:
        own: settings of the arm.
        shared: settings of all runs.
        given: names of those among them that the user gave, which stay.
        sizes: of settings, see :meth:`~ckdmed.experiments.Experiment.sizes`.
    """
    followed = {name: own[name] for name in _FOLLOWED if name in own}
    if not followed:
        return dict(shared)
    before, after = sizes(shared), sizes({**shared, **followed})
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    return {**shared, **{name: value for name, value in changed.items() if name not in given}}
