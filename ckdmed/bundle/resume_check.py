"""A run is resumed with the settings that it began with: others would be recorded but have no effect."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.renamed_settings import as_of_now
from ckdmed.bundle.run_folder import RESUMED, SETTINGS, holds_run
from ckdmed.bundle.setting_check import in_short
from ckdmed.bundle.settings_table import FOLLOWS
from ckdmed.file_hash import sha256_of
from ckdmed.json_files import read_json

__all__ = ["MAY_CHANGE", "changed_components", "changed_settings", "check_resumed", "run_record"]


class _NotGiven:
    def __str__(self) -> str:
        return "not given"


#: What takes effect in a resumed run: where things lie, where and how they are kept and computed, how often the run
#: validates. A teacher's file is checked by its contents when it is loaded.
MAY_CHANGE = frozenset(
    {
        "cache",
        "cache_dir",
        "cache_rate",
        "ckpt_dir",
        "dataset_dir",
        "device",
        "num_workers",
        "output_dir",
        "resume",
        "teacher_checkpoint",
        "teacher_checkpoints",
        "teachers_dir",
        "val_interval",
    }
)

_NOT_GIVEN = _NotGiven()


def run_record(folder: Path) -> dict[str, Any] | None:
    """What the run in ``folder`` noted when it began; None where there is no run, or none of a training.

    Raises:
        RefusedStart: the file is no record.
    """
    path = folder / SETTINGS
    if not path.is_file() or not holds_run(folder):
        return None
    try:
        record = read_json(path)
        settings = record["settings"]
        is_training = "epochs" in settings
        for part in ("components", "method_options"):
            if not isinstance(record.get(part, {}), dict):
                raise TypeError(f"{part} are not an object")
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedStart(
            f"'{path}' is damaged ({error}), so the settings with which the run began are unknown; move it away to "
            "resume the run without this check, or give another output_dir."
        ) from error
    return record if is_training else None


def changed_settings(record: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Setting -> its values then and now, of those that both know and that differ."""
    now = json.loads(json.dumps(dict(settings), default=str))
    then = as_of_now(record["settings"])
    both = [name for name in then if name in now and name not in FOLLOWS]
    return {name: (then[name], now[name]) for name in both if _differ(name, then[name], now[name])}


def _differ(name: str, then: Any, now: Any) -> bool:
    # regions are channels, in their order, which is no part of the equality of mappings
    ordered = name == "regions" and isinstance(then, Mapping) and isinstance(now, Mapping)
    return then != now or (ordered and list(then) != list(now))


def check_resumed(
    folder: Path,
    settings: Mapping[str, Any],
    options: Collection[str] = (),
    components: Mapping[str, Any] | None = None,
    method_options: Mapping[str, Any] | None = None,
) -> None:
    """Refuse to resume a run with settings other than those it began with, except those in `MAY_CHANGE`.

    Nor does a run go on where its checkpoints are not or another run has its own, nor with another teacher than it was
    given, nor beside the teachers that it has trained.

    Args:
        folder: the output folder; nothing is checked where it holds no training.
        settings: those of the resumed run, by `ckdmed.bundle.run.settings_of`.
        options: settings that a configuration need not spell out, such as a method's: one that is given only then or
            only now has another value.
        components: entries of components that were given, by `ckdmed.bundle.component_overrides`; so has one of these.
        method_options: what the method's options are, by `ckdmed.bundle.method_options`. A version of this package may
            have other defaults than the one that the run began with.

    Raises:
        RefusedStart: names each setting with both values.
    """
    record = run_record(folder)
    if record is None or "epochs" not in settings:
        return
    changed = changed_settings(record, settings)
    then = as_of_now(record["settings"])
    # a run from before they were recorded tells what was given alone; another method has other options
    known = record.get("method_options", {}) if then.get("method") == settings.get("method") else {}
    of_method = _changed(known, method_options or {}) if known else {}
    given_once = [name for name in sorted(options) if name not in known and (name in then) != (name in settings)]
    changed |= {name: (then.get(name, _NOT_GIVEN), settings.get(name, _NOT_GIVEN)) for name in given_once} | of_method
    # a run from before they were recorded tells nothing of them
    changed |= changed_components(record, components or {}) if "components" in record else {}
    wrong = [
        name for name in changed if name.split("#")[-1] not in MAY_CHANGE or _is_lost(folder, name, *changed[name])
    ]
    told = [_difference(name, *changed[name]) for name in wrong]
    if "ckpt_dir" in changed and _is_anothers(Path(str(changed["ckpt_dir"][1])), record):
        told.append(_difference("ckpt_dir", *changed["ckpt_dir"]) + ", where another run has its weights")
    if told:
        differences = "; ".join(_dataset_dir(changed) + told)
        raise RefusedStart(
            f"the run in '{folder}' began with other settings: {differences}. A resumed run continues with the "
            "settings it began with: give those again, or start a new run in another output_dir. Settings that may "
            f"change: {', '.join(sorted(MAY_CHANGE - set(wrong)))}."
        )


def changed_components(record: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Id -> its contents then and now, of the entries of components that were given, then or now, and differ."""
    return _changed(record.get("components", {}), components)


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted({*then, *now})
    pairs = {name: (then.get(name, _NOT_GIVEN), now.get(name, _NOT_GIVEN)) for name in names}
    return {name: (before, after) for name, (before, after) in pairs.items() if before != after}


def _is_lost(folder: Path, name: str, then: Any, now: Any) -> bool:
    """Whether what may lie elsewhere is not there any more, or is something else than the run began with."""
    if name == "ckpt_dir":
        kept, here = (any(Path(str(place)).glob(RESUMED)) for place in (then, now))
        return kept and not here
    if name == "teachers_dir":
        # those that were moved are there no more, and those of a copied run came with it
        copied = Path(str(now)).resolve().is_relative_to(folder.resolve())
        return not copied and any(Path(str(then)).rglob("*.pt"))
    return name in ("teacher_checkpoint", "teacher_checkpoints") and (
        not then or not now or _differ_in_content(then, now)
    )


def _differ_in_content(then: Any, now: Any) -> bool:
    """Whether given weights are others, by the files that are still there; a run's own checkpoint tells it later."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return {*then} != {*now} or any(_differ_in_content(then[name], now[name]) for name in then)
    before, after = Path(str(then)), Path(str(now))
    return before.is_file() and after.is_file() and sha256_of(before) != sha256_of(after)


def _is_anothers(weights: Path, record: Mapping[str, Any]) -> bool:
    """Whether a folder holds weights that the run of a record did not leave: it would go on from these, or write over
    them."""
    noted = weights / "model.json"
    if noted.is_file():
        try:
            content = read_json(noted)
        except ValueError:
            # half written
            return False
        # what a run notes below them when it is resumed may be missing from one of the two
        same = isinstance(content, Mapping) and all(content.get(k) == record.get(k) for k in ("command", "settings"))
        return not same and any(weights.glob("*.pt"))
    # from before weights had a record: those of a run have its checkpoints beside them
    return any(weights.glob("*.pt")) and not any(weights.glob(RESUMED))


def _difference(name: str, then: Any, now: Any) -> str:
    before, after = (str(value) if value is _NOT_GIVEN else in_short(value) for value in (then, now))
    return f"--{name} was {before} and is {after}"


def _dataset_dir(changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """What is wrong with the dataset_dir: whether there is one decides defaults of others, so it comes before them."""
    then, now = changed.get("dataset_dir", (None, None))
    missing = now is not None and not Path(str(now)).exists()
    if not missing and (then is None) == (now is None):
        return []
    return [_difference("dataset_dir", then, now) + (", which does not exist" if missing else "")]
