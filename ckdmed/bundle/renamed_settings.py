"""Settings and values of settings that had another name before: each is an error that gives the new one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["NEW_NAMES", "NEW_VALUES", "RenamedSettingError", "as_of_now", "check_renamed", "with_new_names"]

#: Name before -> name now, in every bundle.
NEW_NAMES: Mapping[str, str] = {
    "teacher": "teacher_kind",
    "student_checkpoint": "student_pretrained",
    "student_weights": "student_encoder_pretrained",
    "efficientnet_checkpoint": "student_encoder_pretrained",
    "vit_checkpoint": "vit_pretrained",
    "vgg_checkpoint": "vgg_pretrained",
    "labelled_fraction": "label_fraction",
    "labelled_share": "labelled_per_batch",
    "flip": "tta",
    "preset": "method",
    "pooled_features": "scales",
}

#: Name now -> value before -> value now.
NEW_VALUES: Mapping[str, Mapping[Any, Any]] = {
    "augmentation": {"flip": "flips"},
    "scaling": {"ours": "percentiles"},
    "method": {"ours": "ckd", "report": "report_kd", "alone": "supervised"},
    "scales": {False: None, True: [None, 1, 2, 4]},
}

# settings that came later, and what they were until then: of slices, and of cases
_SLICES_UNTIL_THEN: Mapping[str, Any] = {"scaling": "percentiles", "clahe": False}
_CASES_UNTIL_THEN: Mapping[str, Any] = {"scaling": "zscore", "clahe": False, "regions": ["TC", "WT", "ET"]}


class RenamedSettingError(ValueError):
    """A setting, or a setting's value, was given by a former name."""


def check_renamed(given: Mapping[str, Any], config: Collection[str], unread: Collection[str]) -> None:
    """Refuse settings and values given by a former name.

    Args:
        given: setting -> value.
        config: names of the bundle's settings; only what it has today is suggested.
        unread: names that nothing in it reads. Another may be a component with such a name, or a reference to one.

    Raises:
        RenamedSettingError: names each of them and what it is called now.
    """
    found = []
    for name, value in given.items():
        plain = not isinstance(value, Mapping) and not str(value).startswith(("@", "$", "%"))
        now = NEW_NAMES.get(name)
        if now in config and (plain or name in unread):
            found.append(f"--{name} is called --{now} now.")
        known = NEW_VALUES.get(now or name, {})
        if isinstance(value, (str, bool)) and value in known:
            found.append(f"'{value}' of --{now or name} is called '{known[value]}' now.")
    if found:
        raise RenamedSettingError(" ".join(found))


def with_new_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a run of an earlier version recorded, by their current names and values."""
    renamed = {NEW_NAMES.get(name, name): value for name, value in settings.items()}
    return {
        name: NEW_VALUES[name].get(value, value) if name in NEW_VALUES and isinstance(value, (str, bool)) else value
        for name, value in renamed.items()
    }


def as_of_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a training of an earlier version recorded, with those that came later as they were until then."""
    named = with_new_names(settings)
    if "image_size" not in named:
        return named
    return {**(_CASES_UNTIL_THEN if "spatial_dims" in named else _SLICES_UNTIL_THEN), **named}
