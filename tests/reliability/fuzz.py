"""Damaged files through every door, and what may come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.doors import Door
from tests.reliability.sandbox import Outcome, outcomes

__all__ = ["MAX_MIB", "MAX_SECONDS", "Tally", "fuzz"]

MAX_MIB = 1536
MAX_SECONDS = 30.0


@dataclass
class Tally:
    """What happened at one door.

    Args:
        counts: by verdict: "refused" (an error that names the file), "unchanged" (the damage touched nothing that is
            read), "other value" (nothing can tell), "made again", or one of the faults.
        faults: what must not happen, a line each with the seed that repeats it.
        peak_mib: largest resident memory of a child.
        seconds: longest call.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    peak_mib: float = 0.0
    seconds: float = 0.0


def fuzz(door: Door, folder: Path, seeds: range) -> Tally:
    """Damage the files of a door, one seed after the other, and judge what its reader does.

    Args:
        door: of `DOORS`.
        folder: empty, for the files.
        seeds: one seed, one damaged file.
    """
    opened = door.make(folder)
    right = opened.read()
    sound = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    def work(seed: int) -> str:
        # a cache that was made again is new for the next seed too
        for path in folder.rglob("*"):
            if path.is_file() and path not in sound:
                path.unlink()
        for path, content in sound.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        target = opened.targets[seed // 6 % len(opened.targets)]
        target.write_bytes(opened.damaged(target, sound[target], seed)[1])
        return opened.read()

    tally = Tally()
    results = outcomes(work, list(seeds), MAX_SECONDS)
    for seed, outcome in results.items():
        target = opened.targets[seed // 6 % len(opened.targets)]
        verdict = _verdict(door, outcome, right, {target.name, target.stem, target.parent.name})
        tally.counts[verdict] += 1
        tally.peak_mib = max(tally.peak_mib, outcome.peak_mib)
        tally.seconds = max(tally.seconds, outcome.seconds)
        if verdict in FAULTS:
            how = opened.damaged(target, sound[target], seed)[0]
            tally.faults.append(f"seed {seed} ({how} of {target.name}): {verdict}: {outcome.text[:300]}")
        if outcome.peak_mib > MAX_MIB:
            tally.faults.append(f"seed {seed} ({target.name}): {outcome.peak_mib:.0f} MiB")
            break
    return tally


FAULTS: Mapping[str, str] = {
    "died": "the process ended",
    "hung": f"no end within {MAX_SECONDS:.0f} s",
    "believed": "another value although a checksum can tell",
    "no name": "an error that does not name the file",
    "not made again": "an error of a cache",
}


def _verdict(door: Door, outcome: Outcome, right: str, names: set[str]) -> str:
    if outcome.kind in ("died", "hung"):
        return outcome.kind
    if outcome.kind == "value":
        if outcome.text == right:
            return "right" if door.rebuilds else "unchanged"
        return "believed" if door.detects else "other value"
    if door.rebuilds:
        return "not made again"
    return "refused" if any(name in outcome.text for name in names) else "no name"
