"""The check of every setting's value against the table, before anything runs."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigExpression
from monai.bundle.reference_resolver import ReferenceResolver

from ckdmed.bundle.contradictions import contradictions
from ckdmed.bundle.effective_settings import strings
from ckdmed.bundle.renamed_settings import check_renamed
from ckdmed.bundle.setting_kinds import Kind
from ckdmed.bundle.settings_table import Setting, settings_for
from ckdmed.bundle.typed_settings import typed_path, typed_settings

__all__ = [
    "WrongSettingError",
    "as_expression",
    "as_written",
    "check_given",
    "check_values",
    "checked",
    "hand_over",
    "in_short",
    "is_code",
    "is_plain",
    "nearest_setting",
    "taken_settings",
    "text_of",
]

# JSON's words, which a command line hands over as text: "false" would be true
_WORDS = {"true": True, "false": False, "null": None}
# of a value in a message, characters
_SHOWN = 200


class WrongSettingError(ValueError):
    """A value that its setting cannot have."""


def checked(name: str, value: Any, setting: Setting) -> Any:
    """The value as its setting's kind has it: ``no`` false, ``"3"`` the number 3.

    Raises:
        WrongSettingError: it is none of the kind; the message names the setting, the value and what it may be.
    """
    try:
        return setting.kind.convert(value)
    except (TypeError, ValueError, OverflowError) as error:
        hint = f" {error}" if str(error).endswith(("?", ".")) else ""
        unit = f" ({setting.unit})" if setting.unit else ""
        raise WrongSettingError(
            f"--{name} must be {setting.kind.legal}{unit}, got {value!r}.{hint} Meaning: {setting.meaning}."
        ) from error


def check_given(config: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Check settings that are to be given to a bundle later, long before it runs.

    Args:
        config: content of the bundle's ``train.json``.
        given: setting -> value; of an entry in a section (``optimizer#weight_decay``) the section's name is checked.

    Raises:
        RenamedSettingError: see `check_renamed`.
        WrongSettingError: names every setting that the bundle does not have, with the nearest, every wrong value, and
            every entry of a component that contradicts a setting.
    """
    table = settings_for(config)
    check_renamed(given, {*config, *taken_settings(config)}, [name for name in given if name not in config])
    wrong = []
    for name, value in given.items():
        if not _is_there(config, name) and name not in taken_settings(config):
            near = nearest_setting(ReferenceResolver.normalize_id(name), value, config, config)
            wrong.append(f"'{name}' is not a setting of this bundle" + (f"; did you mean '{near}'?" if near else "."))
        elif name in table and not is_code(value) and not (isinstance(value, Mapping) and "_target_" in value):
            try:
                checked(name, value, table[name])
            except WrongSettingError as error:
                wrong.append(str(error))
    wrong += contradictions(config, config, given, lambda name: given.get(name, config.get(name)))
    if wrong:
        raise WrongSettingError(" ".join(wrong))


def _is_there(config: Mapping[str, Any], name: str) -> bool:
    """Whether a configuration has a setting, or an entry of a section; what is in a component its class knows."""
    first, *inside = ReferenceResolver.normalize_id(name).split("::")
    section = config.get(first)
    if inside and first in ("train", "validate") and isinstance(section, Mapping) and "_target_" not in section:
        return inside[0] in section
    return first in config


def taken_settings(config: Mapping[str, Any]) -> set[str]:
    """Settings that a component of the configuration takes, whether it spells them out or not.

    Of the options of methods those are taken that a method of the bundle's task has.
    """
    taken = {name for name, setting in settings_for(config).items() if setting.taken_by in config}
    loss = config.get("distillation_loss")
    task = loss.get("task") if isinstance(loss, Mapping) else None
    if not isinstance(task, str):
        return taken
    # an inference, which has no loss, does without the methods
    from ckdmed.methods import methods

    return taken & {option for method in methods(task).values() for option in method.options}


def nearest_setting(name: str, value: Any, config: Mapping[str, Any], known: Iterable[str]) -> str | None:
    """The setting that was probably meant by a mistyped name, of a kind that the given value may be one of.

    Args:
        name: as it was given; ``::`` leads into a section.
        value: as it was given. A component, that is a mapping, may stand for a component alone.
        config: content of the bundle's configuration.
        known: the ids to choose from.
    """
    table = settings_for(config)

    def fits(candidate: str) -> bool:
        if "::" in name or "::" in candidate:
            return ("::" in name) == ("::" in candidate)
        if isinstance(value, Mapping) or candidate not in table:
            return isinstance(value, Mapping) == isinstance(config.get(candidate), Mapping)
        try:
            table[candidate].kind.convert(value)
        except (TypeError, ValueError, OverflowError):
            return is_code(value)
        return not isinstance(config.get(candidate), Mapping)

    names = {*known, *taken_settings(config)}
    near = difflib.get_close_matches(name, sorted(filter(fits, names)), n=1, cutoff=0.5)
    return near[0] if near else None


def hand_over(parser: ConfigParser) -> None:
    """Let the components that take them read those given settings that a configuration does not spell out.

    ``--w_feat 0.2`` is an argument of ``distillation_loss``, whose method has a default for it.

    Args:
        parser: of the bundle, changed in place.
    """
    config = parser.get()
    table = settings_for(config)
    for name in sorted(taken_settings(config) & set(config)):
        if isinstance(config[table[name].taken_by], Mapping):
            parser[f"{table[name].taken_by}::{name}"] = f"@{name}"


def check_values(parser: ConfigParser, declared: Mapping[str, Iterable[Any]]) -> None:
    """Turn the settings at the top of a configuration into values of their kinds, or refuse them.

    Values come first, then expressions over them, such as a default that depends on ``dataset_dir``. A path is never an
    expression, a reference or a macro, unless a configuration file has it so: MONAI would run it as code. Settings that
    the table does not know, of someone's own configuration, get JSON's values for the words true, false and null.

    Args:
        parser: of the bundle, changed in place.
        declared: setting -> the values that the configuration files give it.

    Raises:
        WrongSettingError: names every wrong setting.
    """
    config = parser.get()
    table = settings_for(config)
    wrong: list[str] = []
    expressions = []
    for name, value in list(config.items()):
        setting = table.get(name)
        if setting is None:
            if isinstance(value, str) and value.lower() in _WORDS:
                parser[name] = _WORDS[value.lower()]
            continue
        if isinstance(value, Mapping) and "_target_" in value:
            # a component of that name in this bundle, or a function of one's own
            if setting.kind.is_function and "_mode_" not in value:
                parser[name] = {**value, "_mode_": "callable"}
            continue
        given = value
        if setting.kind.is_path:
            try:
                given = _path(name, value, setting.kind, declared.get(name, ()))
            except WrongSettingError as error:
                wrong.append(str(error))
                continue
        if is_code(given):
            # where a run goes is settled once, when all its processes can agree on it
            expressions += [] if setting.kind.is_path else [name]
        else:
            _set(parser, name, value, given, setting, wrong)
    if not wrong:
        for name in expressions:
            if is_plain(config, name):
                value = parser.get_parsed_content(name)
                _set(parser, name, value, value, table[name], wrong)
    if wrong:
        raise WrongSettingError(" ".join(wrong))


def is_plain(config: Mapping[str, Any], name: str) -> bool:
    """Whether an entry at the top is a value, or an expression that needs no component to be built.

    A table of values, such as that of the profiles, is no value itself, but what is taken out of it is one.
    """
    return not isinstance(config.get(name), Mapping) and _needs_no_component(config, name)


def _needs_no_component(config: Mapping[str, Any], name: str) -> bool:
    raw = config.get(name)
    if isinstance(raw, Mapping) and any("_target_" in part for part in _mappings(raw)):
        return False
    references = {r for text in strings(raw) for r in ReferenceResolver.match_refs_pattern(text)}
    return all(r != name and r in config and _needs_no_component(config, r) for r in references)


def _mappings(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield value
    for entry in value.values():
        if isinstance(entry, Mapping):
            yield from _mappings(entry)


def _set(parser: ConfigParser, name: str, value: Any, given: Any, setting: Setting, wrong: list[str]) -> None:
    try:
        found = checked(name, given, setting)
    except WrongSettingError as error:
        wrong.append(str(error))
        return
    # what is right already stays as it is, an expression too
    if type(found) is not type(value) or found != value:
        parser[name] = _literal(found) if setting.kind.is_path else found


def in_short(value: Any) -> str:
    """A value for a message: of one as long as the options of a pruned network, its beginning."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def as_written(value: Any) -> Any:
    """A value for a configuration whose texts MONAI leaves as they are: it would write ``a::b`` for ``a#b``.

    Expressions, references and macros stay what they are.
    """
    if isinstance(value, Mapping):
        return {key: as_written(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_written(entry) for entry in value)
    return _literal(value) if isinstance(value, str) and value[:1] not in ("$", "@", "%") else value


def _literal(found: Any) -> Any:
    return f"${as_expression(found)}" if "#" in str(found) else found


def as_expression(value: Any) -> str:
    """A value inside an expression, in which MONAI would take ``@`` and ``#`` for references."""
    return repr(value).replace("#", r"\x23").replace("@", r"\x40")


def text_of(value: Any) -> Any:
    """The text that a literal stands for, which is no code; anything else as it is."""
    if isinstance(value, str) and value[:2] in ("$'", '$"'):
        try:
            return ast.literal_eval(value[1:])
        except (SyntaxError, ValueError):
            return value
    return value


def _path(name: str, value: Any, kind: Kind, declared: Iterable[Any]) -> Any:
    typed = typed_settings().get(name) or ""
    value = text_of(value)
    code = typed if typed.startswith(("$", "@", "%")) else value
    if is_code(code) and code not in declared:
        raise WrongSettingError(
            f"--{name} is {code!r}, and a path that begins with '{code[0]}' would be run as code; "
            f"write './{code}' for a file or folder of that name."
        )
    if isinstance(value, bool) and typed_settings().get(name, "") is None:
        raise WrongSettingError(f"--{name} was given without a value; it must be {kind.legal}.")
    return typed_path(name, value)


def is_code(value: Any) -> bool:
    """Whether MONAI would evaluate a value: an expression, a reference or a macro."""
    return isinstance(value, str) and (
        ConfigExpression.is_expression(value) or value.startswith("%") or value in _references(value)
    )


def _references(value: str) -> set[str]:
    return {f"@{reference}" for reference in ReferenceResolver.match_refs_pattern(value)}
