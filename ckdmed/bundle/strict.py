"""Errors for a mistyped override, which MONAI's ``bundle run`` silently ignores, and for a wrong value."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties
from monai.bundle.reference_resolver import ReferenceResolver
from monai.utils import BundlePropertyConfig

from ckdmed.bundle.component_overrides import NO_COMPONENTS
from ckdmed.bundle.contradictions import contradictions
from ckdmed.bundle.deployed_check import check_deployed
from ckdmed.bundle.effective_settings import IneffectiveSettingError, check_effect, strings
from ckdmed.bundle.errors import explain_errors
from ckdmed.bundle.idle_settings import idle_settings
from ckdmed.bundle.own_networks import check_own_networks
from ckdmed.bundle.renamed_settings import RenamedSettingError, check_renamed
from ckdmed.bundle.running import running_workflow
from ckdmed.bundle.setting_check import WrongSettingError, check_values, hand_over, nearest_setting, taken_settings
from ckdmed.bundle.smoothed_teacher import tell_of_smoothed_teacher
from ckdmed.bundle.taught_check import check_started_from, check_taught
from ckdmed.bundle.tracking import adapt_tracking
from ckdmed.bundle.trained import check_trained
from ckdmed.bundle.typed_settings import named_files, typed_settings

__all__ = ["UnknownSettingError", "WrongSettingError", "check_settings", "unknown_settings"]

logger = logging.getLogger("ckdmed")

_RESERVED = NO_COMPONENTS
# may be given to every configuration, whether or not it has a use for it; a file of the configuration is for tracking
_OF_MONAI = (_RESERVED - {"save_execute_config"}) | {"bundle_root"}


class UnknownSettingError(ValueError):
    """A setting that nothing in the configuration reads."""


def check_settings() -> None:
    """Refuse settings that nothing reads: to be called in the ``initialize`` list of a bundle's configuration.

    ``--epoch 3`` for ``--epochs 3`` adds a key ``epoch`` to the configuration to which no ``@epoch`` refers; MONAI goes
    on with the default. The same holds for a key added to a plain section (``--train#optimiser ...``). Keys inside a
    component (a section with ``_target_``) are checked by the constructor that is given them.

    A setting that was typed and that this run never reads, such as ``--epochs`` in an evaluation, is refused as well.
    What a program hands over is not: a run of a comparison may need a part of its settings. Of what was typed and
    another setting leaves without effect a warning tells, see `idle_settings`.

    Then the value of each setting is checked, see `check_values`: ``no`` becomes false, a folder that is called 2018
    stays a folder.

    Raises:
        RenamedSettingError: names each setting and value with a name of before, and what it is called now.
        UnknownSettingError: names each key and the nearest setting that the value could be one of.
        IneffectiveSettingError: names each setting of the command line that changes nothing, and each file for a
            network that no network is made of.
        WrongSettingError: names each setting with a value that it cannot have, or that contradicts the record of the
            checkpoint, of a teacher's or of what the student starts from, and each entry of a component that
            contradicts a setting.
    """
    explain_errors(
        without_traceback=(UnknownSettingError, RenamedSettingError, IneffectiveSettingError, WrongSettingError)
    )
    # MONAI makes its own readers too, and warns that NVIDIA's decoder, which nothing here uses, is absent
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader", category=UserWarning)
    workflow = running_workflow()
    if workflow is None:
        return
    adapt_tracking(workflow.parser, workflow.run_id)
    hand_over(workflow.parser)
    config = workflow.parser.get()
    entry_points = {workflow.init_id, workflow.run_id, workflow.final_id}
    unknown = unknown_settings(config, entry_points)
    # an overlay (evaluate.json) leaves settings of the file below it without a reader, which is no mistake
    declared = _declared_beside(workflow.config_root_path)
    unknown = [key for key in unknown if key not in declared]
    # MONAI's client of federated learning names its run whether or not that is tracked
    unknown = [key for key in unknown if key != "run_name" or key in typed_settings()]
    check_renamed(config, {*config, *taken_settings(config)}, unknown)
    if not unknown:
        check_effect(config, set(typed_settings()) - _OF_MONAI, entry_points, [path.name for path in named_files()])
        in_files = _values_in_files(workflow.config_root_path)
        check_values(workflow.parser, in_files)
        _check_components(workflow)
        check_own_networks(workflow.parser)
        check_trained(workflow.parser, in_files)
        check_taught(workflow.parser)
        check_started_from(workflow.parser)
        check_deployed(workflow.parser)
        _tell_of_idle(workflow.parser)
        tell_of_smoothed_teacher(workflow.parser)
        return
    known = sorted(_settings(config) - set(unknown))
    lines = []
    for key in unknown:
        near = nearest_setting(key, _content(config, key), config, known)
        lines.append(f"'{key}' is not a setting of this bundle" + (f"; did you mean '{near}'?" if near else "."))
    plain = [k for k in known if k not in _RESERVED and not isinstance(config.get(k, {}), Mapping)]
    raise UnknownSettingError(" ".join(lines) + f" Settings: {', '.join(plain)}.")


def _tell_of_idle(parser: ConfigParser) -> None:
    """Warn of what was typed for nothing: a script may hand the same settings to runs with a teacher and without."""
    config = parser.get()
    idle = idle_settings(parser, [name for name in typed_settings() if name in config and name not in _OF_MONAI])
    if idle:
        listed = "; ".join(f"--{name} ({reason})" for name, reason in idle.items())
        logger.warning(f"no effect in this run: {listed}.")


def _check_components(workflow: ConfigWorkflow) -> None:
    parser = workflow.parser
    config = parser.get()
    # a training from before this check goes on as it began; its entries are compared with those of its record
    if "resume" in config and parser.get_parsed_content("resume"):
        return
    # what evaluates such a training is given the same entries, while its settings are those of the record
    if "trained" in config:
        return
    declared: dict[str, Any] = {}
    for path in named_files() or [workflow.config_root_path / "train.json"]:
        if path.is_file():
            declared.update(ConfigParser.load_config_file(str(path)))
    given = {name: parser.get(name) for name in {*typed_settings(), *getattr(workflow, "given", ())} if name in parser}
    wrong = contradictions(config, declared, given, parser.get_parsed_content)
    if wrong:
        raise WrongSettingError(" ".join(wrong))


def unknown_settings(config: Mapping[str, Any], entry_points: set[str] | None = None) -> list[str]:
    """Keys of plain sections of ``config`` that no reference, expression or bundle property reads."""
    read = set(entry_points or ()) | _RESERVED | {"bundle_root"}
    for properties in (TrainProperties, InferProperties, MetaProperties):
        for entry in properties.values():
            read |= _with_parents(ReferenceResolver.normalize_id(str(entry[BundlePropertyConfig.ID])))
    for text in strings({k: v for k, v in config.items() if k != "_meta_"}):
        for reference in ReferenceResolver.match_refs_pattern(text):
            read |= _with_parents(reference)
        # macros copy a section by its name
        if text.startswith("%"):
            read |= _with_parents(ReferenceResolver.normalize_id(text[1:]))
    return [key for key in sorted(_settings(config)) if key not in read and not _inside(key, read)]


def _settings(config: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Ids of the top-level keys, and of the keys of sections that are not components, lists or settings themselves."""
    ids = set()
    for key, value in config.items():
        if not prefix and key == "_meta_":
            continue
        id_ = f"{prefix}::{key}" if prefix else key
        ids.add(id_)
        # only the two sections that MONAI's workflow properties name have entries that are read one by one
        if not prefix and key in ("train", "validate") and isinstance(value, Mapping) and "_target_" not in value:
            ids |= _settings(value, id_)
    return ids


def _declared_beside(folder: Path) -> set[str]:
    """Ids that the bundle's own configuration files, which lie in ``folder``, declare."""
    declared: set[str] = set()
    for path in sorted(folder.glob("*.json")):
        if path.name != "metadata.json":
            content = ConfigParser.load_config_file(str(path))
            declared |= _settings(content) | {ReferenceResolver.normalize_id(key) for key in content}
    return declared


def _values_in_files(folder: Path) -> dict[str, list[Any]]:
    """Setting -> its values in the configuration files of the folder, and in those that the command line names."""
    values: dict[str, list[Any]] = {}
    for path in [*folder.glob("*.json"), *named_files()]:
        if path.name != "metadata.json" and path.is_file():
            for key, value in ConfigParser.load_config_file(str(path)).items():
                values.setdefault(key, []).append(value)
    return values


def _content(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("::"):
        found = found[part]
    return found


def _inside(key: str, read: set[str]) -> bool:
    return "::" in key and key.split("::")[0] in read - {"train", "validate"}


def _with_parents(id_: str) -> set[str]:
    parts = id_.split("::")
    return {"::".join(parts[: i + 1]) for i in range(len(parts))}
