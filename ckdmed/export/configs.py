"""Configurations on their way into a bundle of their own: which settings they read, and what must change in them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.reference_resolver import ReferenceResolver

from ckdmed.bundle.setting_check import as_expression, nearest_setting
from ckdmed.bundle.trained import reads_record, settings_read
from ckdmed.json_files import read_json

__all__ = [
    "component_settings",
    "is_plain",
    "json_text",
    "read_object",
    "rebase_text",
    "rewrite_configs",
]

Config = dict[str, Any]

# a setting of the record of the teacher, or of what the student starts from, and what it is where no record has it
_OF_RECORD = re.compile(
    r"\$(?P<read>@(?:taught|started)\.get\('\w+', )(?:None\) or (?P<otherwise>.+)|(?P<default>.+)\))"
)
# what follows from something else than settings that are to be
_OF_NO_SETTING = re.compile(r"@(?:profiles|sizes|taught|started)\b")

# where the exported bundle keeps its weights, seen from any of its configurations
CHECKPOINT = "$@bundle_root + '/models/model.pt'"
TEACHER_CHECKPOINT = "$@bundle_root + '/models/teacher.pt'"


def read_object(path: Path) -> Config:
    """A JSON file that holds an object.

    Raises:
        ValueError: it does not.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"'{path}' must hold a JSON object, not a {type(value).__name__}.")
    return value


def json_text(value: Any) -> str:
    """The zoo's form: four spaces, one newline at the end."""
    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"


def component_settings(config: Mapping[str, Any], components: Sequence[str]) -> dict[str, Any]:
    """Top-level settings on which the components depend, through any number of references: name -> value as written.

    Settings that are numbers, names, lists of them, or expressions of other settings; no components, files, folders.
    """
    seen: dict[str, Any] = {}
    todo = [name for name in components if name in config]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen[name] = config[name]
        for text in _strings(config[name]):
            for reference in ReferenceResolver.match_refs_pattern(text):
                top = reference.split("::")[0]
                if top in config:
                    todo.append(top)
    return {
        name: value
        for name, value in seen.items()
        if name not in components
        and not name.endswith(("_checkpoint", "_pretrained", "_dir", "_root"))
        and (is_plain(value) or (isinstance(value, str) and value.startswith("$")))
    }


def is_plain(value: Any) -> bool:
    """Whether a setting is a number, a name or a list of these: no expression, no reference, no path."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(is_plain(entry) for entry in value)
    if isinstance(value, str):
        return not value.startswith(("$", "@", "%")) and not re.search(r"[/\\]", value)
    return isinstance(value, (bool, int, float))


def rewrite_configs(
    configs: Mapping[str, Config],
    source: str,
    settings: Mapping[str, Any],
    trained: Mapping[str, Any],
    taught: Mapping[str, Any] | None = None,
) -> dict[str, Config]:
    """The configurations as they stand in an exported bundle.

    The settings are written wherever a configuration has them, and what was trained in the source tree's output folder
    is looked for in ``models``. What a configuration reads of a checkpoint's record it goes on reading: other weights
    bring a record of their own. Everything else stays.

    Args:
        configs: file name -> content.
        source: path of the bundle in the source tree, such as ``bundles/seg_kd``.
        settings: name -> value.
        trained: the record that the bundle ships with its weights.
        taught: that of the teacher's; None where the bundle ships no teacher.

    Raises:
        ValueError: a setting that no configuration has; a teacher for a configuration that takes none.
    """
    unknown = [name for name in settings if not any(name in config for config in configs.values())]
    if unknown:
        every = {name: value for config in configs.values() for name, value in config.items()}
        near = {name: nearest_setting(name, settings[name], every, every) for name in sorted(unknown)}
        listed = ", ".join(name + (f" (did you mean {other}?)" if other else "") for name, other in near.items())
        raise ValueError(f"no configuration of {source} has {listed} as a setting.")
    if taught is not None and "teacher_checkpoint" not in configs.get("train.json", {}):
        raise ValueError(f"{source}/train.json has no setting 'teacher_checkpoint'; export it without a teacher.")
    result = {}
    for name, config in configs.items():
        new = _rebase(config, source)
        if "checkpoint" in new:
            new["checkpoint"] = CHECKPOINT
        if "trained" in new:
            new["trained"] = _with_shipped(new["trained"], trained, settings_read(new))
        if taught is not None and "teacher_checkpoint" in new:
            new["teacher_checkpoint"] = TEACHER_CHECKPOINT
            new["taught"] = _with_shipped(new["taught"], taught, settings_read(new, "taught"))
        pinned = {key: value for key, value in settings.items() if key in new and not reads_record(new[key])}
        new.update({key: _written(new, pinned, key) for key in pinned})
        result[name] = new
    return result


def _with_shipped(expression: str, record: Mapping[str, Any], read: Collection[str]) -> str:
    """The call of `ckdmed.bundle.trained_with` with what a configuration reads of the record that is shipped."""
    shipped = as_expression({name: record[name] for name in sorted(read) if name in record})
    return f"{expression[:-1]}, shipped={shipped})"


def _written(config: Config, settings: Mapping[str, Any], key: str) -> Any:
    """A setting of the exported bundle: an expression where it goes on following others, else the value.

    What is taken from the record of a teacher, or of what the student starts from, still is, false and 0 too; the value
    then holds where there is none. A size of a profile follows nothing: the weights are of one size whatever profile a
    user takes.
    """
    written = str(config[key])
    if of_record := _OF_RECORD.fullmatch(written):
        default = of_record["default"] or of_record["otherwise"]
        if _follows(config, settings, key, f"${default}"):
            return written
        read, value = of_record["read"], as_expression(settings[key])
        if of_record["default"]:
            return f"${read}{value})"
        # with `or` a value that is true would take the place of a recorded false
        return f"${value} if {read}None) is None else {read}None)"
    return written if _follows(config, settings, key, written) else settings[key]


def _follows(config: Config, settings: Mapping[str, Any], key: str, expression: str) -> bool:
    """Whether an expression of other settings gives the value of a setting."""
    if not expression.startswith("$") or "@" not in expression or _OF_NO_SETTING.search(expression):
        return False
    # a parser rewrites the references in what it is given
    parser = ConfigParser(deepcopy({**config, **{name: entry for name, entry in settings.items() if name != key}}))
    parser[key] = expression
    try:
        return bool(parser.get_parsed_content(key) == settings[key])
    except RuntimeError:
        # it needs more than settings, such as data
        return False


def rebase_text(text: str, source: str) -> str:
    """Paths below the source tree's bundle, as seen from the exported bundle's own folder."""
    return re.sub(
        re.escape(source) + r"/([\w.-]*)",
        lambda match: f"configs/{match[1]}" if match[1].endswith((".json", ".conf")) else match[1] or ".",
        text,
    )


def _rebase(value: Any, source: str) -> Any:
    if isinstance(value, str):
        return rebase_text(value, source)
    if isinstance(value, dict):
        return {key: _rebase(entry, source) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rebase(entry, source) for entry in value]
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _strings(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _strings(entry)
