"""Commands that are killed at their writes and between them, taken up, and compared with the unbroken run."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.outcomes_of_runs import differences, outcome
from tests.reliability.zygote import Ended, Kill, Zygote

__all__ = ["KillTally", "Scenario", "check_kills"]

# how SIGKILL and the alarm that stands for it at a given time end a process
_KILLED = (-9, -14)


@dataclass(frozen=True)
class Scenario:
    """A command, and how it is taken up after it was killed.

    Args:
        command: its words, given the folder of inputs and the one that it writes into; see `Zygote.run`.
        resume: words that are added when it is taken up.
        before: an earlier command whose results are there when it begins.
        made: what it says when it is run again and nothing is left to do: a pattern of its error. None where it then
            ends with success.
        milliseconds: kills at these times after its start as well, wherever it is then.
    """

    command: Callable[[Path, Path], Sequence[str]]
    resume: Sequence[str] = ()
    before: Callable[[Path, Path], Sequence[str]] | None = None
    made: str | None = None
    milliseconds: Sequence[int] = ()


@dataclass
class KillTally:
    """What came of the kills of a scenario.

    Args:
        writes, changes: of the unbroken run, see `Ended`.
        kills: by the kind of `Kill`.
        faults: what must not happen, a line each.
        seconds: in all.
    """

    writes: int = 0
    changes: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def check_kills(
    scenario: Scenario, zygote: Zygote, inputs: Path, folder: Path, writes: int, changes: int, first: int = 0
) -> KillTally:
    """Run a command unbroken, then once for each kill, each time taking it up; what differs is a fault.

    Args:
        scenario: what is run.
        zygote: runs it.
        inputs: the folder of inputs, which every command may read.
        folder: empty, for the runs.
        writes: at how many writes it is killed, before and after each; evenly spread from the first to the last.
        changes: before how many other changes.
        first: leaves out this many points of each kind, for another sample.

    Raises:
        RuntimeError: the unbroken run failed, or wrote nothing.
    """
    tally, began = KillTally(), time.monotonic()
    place, log = folder / "place", folder / "log"

    def run(kill: Kill | None = None, more: Sequence[str] = ()) -> Ended:
        return zygote.run([*scenario.command(inputs, place), *more], place, log, kill)

    def begin() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if scenario.before is not None:
            _succeeded(zygote.run(scenario.before(inputs, place), place, log))

    begin()
    whole = _succeeded(run())
    expected = outcome(place)
    if not whole.writes and not scenario.milliseconds:
        raise RuntimeError(f"the command puts no file in place: {whole.said}")
    tally.writes, tally.changes = whole.writes, whole.changes
    for kill in _kills(scenario, whole, writes, changes, first):
        begin()
        ended = run(kill)
        if ended.status not in _KILLED and kill.when != "milliseconds":
            tally.faults.append(f"{kill}: ended with {ended.status} instead: {ended.said[-600:]}")
            continue
        tally.kills[kill.when] += ended.status in _KILLED
        again = run(more=scenario.resume)
        refused = again.status != 0 and not (scenario.made and re.search(scenario.made, again.said))
        if refused:
            tally.faults.append(f"{kill}: taken up, it ended with {again.status}: {again.said[-600:]}")
        else:
            tally.faults += [f"{kill}: {line}" for line in differences(expected, outcome(place))]
        if left := zygote.orphans():
            tally.faults.append(f"{kill}: {left} processes were left over")
    shutil.rmtree(place)
    tally.seconds = time.monotonic() - began
    return tally


def _succeeded(ended: Ended) -> Ended:
    if ended.status:
        raise RuntimeError(f"the unbroken run ended with {ended.status}: {ended.said}")
    return ended


def _kills(scenario: Scenario, whole: Ended, writes: int, changes: int, first: int) -> Iterator[Kill]:
    for number in _spread(whole.writes, writes, first):
        yield Kill("before", number)
        yield Kill("after", number)
    for number in _spread(whole.changes, changes, first):
        yield Kill("change", number)
    for number in scenario.milliseconds if changes else ():
        yield Kill("milliseconds", number)


def _spread(last: int, most: int, first: int = 0) -> list[int]:
    """Up to ``most`` of 1 to ``last``, evenly spread; a single one is in the middle."""
    if most >= last:
        return list(range(1, last + 1))[first:]
    if most < 2:
        return [(last + 1) // 2][first:most]
    return sorted({1 + round(n * (last - 1) / (most - 1)) for n in range(most)})[first:]
