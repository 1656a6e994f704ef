"""What a command left in a folder, in a form that must be equal however often the command was killed on the way."""

from __future__ import annotations

import fnmatch
import io
import json
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ckdmed.checked_entries import HEADER_BYTES

__all__ = ["MAY_DIFFER", "differences", "outcome"]

_CLOCK_KEYS = frozenset({"seconds", "cpu_seconds", "step_seconds", "step_cpu_seconds", "costs"})
# What may differ between a run that was taken up and one that was not, by the names of files: the only exceptions from
# equality bit for bit. Keys are those of JSON objects at any depth; "a.b" is key b of an object a.
MAY_DIFFER: Sequence[tuple[str, frozenset[str], str]] = (
    *(
        (name, keys, why)
        # the second is the record of the run beside its weights
        for name in ("*settings.json", "*models/model.json")
        for keys, why in (
            (frozenset({"resumed"}), "tells each time that the run was taken up"),
            (frozenset({"command", "settings.resume"}), "a run killed before it began is begun as resumed"),
        )
    ),
    ("*summary.json", frozenset({"command", "settings.resume"}), "as that of the run that it is the evaluation of"),
    ("*report.json", frozenset({"counts.done", "counts.kept"}), "tells what this call did; the sum is compared"),
    ("*.json*", _CLOCK_KEYS, "a clock"),
    ("*resume_epoch=*.pt", _CLOCK_KEYS, "a clock, in the history that it holds"),
)
# the same in the tables of experiments
_CLOCKS = re.compile(rb"(?<=Seconds of training per run \(mean\): )[^.]*|\d+(?= minutes in all)")
_EVENTS = "events.out.tfevents"


def outcome(folder: Path, same_sources: bool = True) -> dict[str, Any]:
    """Everything below a folder by its relative path: content and permissions of files, permissions of folders.

    Content is bytes, but of files of `MAY_DIFFER`, which are parsed, and of TensorBoard's, whose names hold the time:
    each folder of them counts as one entry with the values by tag and step. A run that is taken up writes a file more,
    with the values of the epoch in which it was killed a second time; these must be the same values.

    Args:
        folder: of the results.
        same_sources: False where the run writes its own inputs, and did so anew: entries of caches are named after the
            times of these, and count by their content alone.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir() and not path.is_symlink():
            found[f"{name}/"] = mode
        elif path.suffix == ".entry" and not same_sources:
            entries = found.setdefault(f"{path.parent.relative_to(folder).as_posix()}/*.entry", [])
            # behind the checksum, which is over the name as well
            entries.append(path.read_bytes()[HEADER_BYTES:])
            entries.sort()
        elif path.name.startswith(_EVENTS):
            values = found.setdefault(f"{path.parent.relative_to(folder).as_posix()}/{_EVENTS}*", {})
            _add_events(path, values)
        else:
            found[name] = (mode, _content(path, name))
    return found


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """A line for each path that is missing, left over or another one."""
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [f"{name} is left over" for name in found if name not in expected]
    for name in expected:
        if name in found and expected[name] != found[name]:
            lines.append(f"{name} differs{_where(expected[name], found[name])}")
    return lines


def _where(expected: Any, found: Any) -> str:
    """The first place at which parsed content differs."""
    if type(expected) is not type(found):
        return f": {expected!r:.80} and {found!r:.80}"
    if isinstance(expected, Mapping):
        keys = [key for key in {**expected, **found} if expected.get(key) != found.get(key)]
        return f" at {keys[0]}" + _where(expected.get(keys[0]), found.get(keys[0])) if keys else ""
    if isinstance(expected, (list, tuple)):
        if len(expected) != len(found):
            return f": {len(expected)} and {len(found)} entries"
        number = next(n for n, (a, b) in enumerate(zip(expected, found)) if a != b)
        return f" at {number}" + _where(expected[number], found[number])
    return f": {expected!r:.80} and {found!r:.80}"


def _content(path: Path, name: str) -> Any:
    ignored = {key for pattern, keys, _ in MAY_DIFFER if fnmatch.fnmatch(name, pattern) for key in keys}
    raw = path.read_bytes()
    if path.suffix == ".md":
        return _CLOCKS.sub(b"", raw)
    if not ignored:
        return raw
    if path.suffix == ".pt":
        return _plain(torch.load(io.BytesIO(raw), weights_only=True), ignored)
    lines = raw.decode().splitlines() if path.suffix == ".jsonl" else [raw.decode()]
    parsed = [_plain(json.loads(line), ignored) for line in lines]
    if path.name == "report.json":
        counts = json.loads(raw)["counts"]
        parsed.append(counts["done"] + counts["kept"])
    return parsed


def _plain(value: Any, ignored: set[str], inside: str = "") -> Any:
    """Tensors as type, shape and bytes; mappings in their order, without the keys that are ignored."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(value, Mapping):
        kept = {k: v for k, v in value.items() if str(k) not in ignored and f"{inside}.{k}" not in ignored}
        return {key: _plain(entry, ignored, str(key)) for key, entry in kept.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, ignored, inside) for entry in value]
    if inside == "rows" and isinstance(value, str):
        # a history, kept as text
        return _plain(json.loads(value), ignored)
    return value


def _add_events(path: Path, values: dict[str, set[Any]]) -> None:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    for event in LegacyEventFileLoader(str(path)).Load():
        for entry in event.summary.value:
            # a run that is taken up draws the best weights once more, in the epoch that it has come to
            key = entry.tag if entry.HasField("image") or _is_picture(entry) else f"{entry.tag} of step {event.step}"
            values.setdefault(key, set()).add(entry.SerializeToString())


def _is_picture(entry: Any) -> bool:
    return bool(entry.metadata.plugin_data.plugin_name == "images")
