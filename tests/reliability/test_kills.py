"""Commands that are killed and taken up leave what an unbroken run leaves, bit for bit, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.kill_scenarios import SCENARIOS, written_inputs
from tests.reliability.kills import Scenario, check_kills
from tests.reliability.zygote import Kill, Zygote

pytestmark = [pytest.mark.bundle, pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux")]

QUICK = ("phantoms", "slice-cache, over another plane")


@pytest.fixture(scope="module")
def quick() -> Iterator[Zygote]:
    with Zygote(everything=False) as started:
        yield started


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


@pytest.fixture(scope="module")
def inputs(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_inputs(zygote, tmp_path_factory.mktemp("of_all") / "inputs")


def check(name: str, zygote: Zygote, inputs: Path, folder: Path, writes: int, changes: int) -> None:
    tally = check_kills(SCENARIOS[name], zygote, inputs, folder, writes, changes)
    assert not tally.faults, "\n".join(tally.faults[:20])
    assert tally.kills["before"] == tally.kills["after"] == min(tally.writes, writes)
    assert tally.kills["change"] == min(tally.changes, changes)


@pytest.mark.parametrize("name", QUICK)
def test_killed_now_and_then(name: str, quick: Zygote, tmp_path: Path) -> None:
    inputs = written_inputs(quick, tmp_path / "inputs", "three") if name != "phantoms" else tmp_path
    check(name, quick, inputs, tmp_path / "runs", 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_writes_and_between_them(name: str, zygote: Zygote, inputs: Path, tmp_path: Path) -> None:
    check(name, zygote, inputs, tmp_path, 4, 3)


def test_what_a_careless_command_leaves_is_found(quick: Zygote, tmp_path: Path) -> None:
    own = Scenario(lambda _, place: ["call", "tests.reliability.careless:careless", str(place)])
    tally = check_kills(own, quick, tmp_path, tmp_path / "runs", writes=2, changes=0)
    assert tally.kills == {"before": 2, "after": 2}
    first, second, third, fourth, fifth = tally.faults
    assert "before write 1: tmp" in first and first.endswith("is left over")
    assert second == "after write 1: runs differs at 1: b'1' and b'11'"
    assert "before write 2: tmp" in third and fourth.startswith("before write 2: runs differs")
    # done already, and done once more
    assert fifth == "after write 2: runs differs at 1: b'1' and b'11'"


def test_kills_come_where_they_should_and_orphans_are_counted(quick: Zygote, tmp_path: Path) -> None:
    place, log = tmp_path / "place", tmp_path / "log"
    place.mkdir()
    words = ["call", "tests.reliability.careless:with_orphan", str(place)]
    assert quick.run(words, place, log, Kill("change", 1)).status == -9 and not list(place.iterdir())
    assert quick.run(words, place, log, Kill("before", 1)).status == -9
    assert [path.name for path in place.iterdir()] == ["begun"] and quick.orphans(0.1) == 1
    ended = quick.run(words, place, log)
    assert (ended.status, ended.writes, ended.changes) == (0, 1, 1) and quick.orphans(0.1) == 2
    (place / "go").touch()
    assert quick.orphans(10) == 0
    assert quick.run(["call", "time:sleep"], place, log).status == 1
