"""No damaged file is believed where a checksum can tell, ends the process, or fails without its name."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.doors import DOORS
from tests.reliability.fuzz import MAX_MIB, MAX_SECONDS, fuzz
from tests.reliability.mutations import MUTATIONS, mutated
from tests.reliability.sandbox import outcomes

SHORT = range(60)
LONG = range(1000, 1900)


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("seeds", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)], ids=["short", "long"])
def test_damage_is_met_at_every_door(name: str, seeds: range, tmp_path: Path) -> None:
    if seeds is SHORT and DOORS[name].costly:
        seeds = SHORT[:18]
    tally = fuzz(DOORS[name], tmp_path, seeds)
    assert not tally.faults, "\n".join(tally.faults[:20])
    assert sum(tally.counts.values()) == len(seeds)
    assert tally.peak_mib < MAX_MIB and tally.seconds < MAX_SECONDS


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_changes_the_file_and_repeats(name: str) -> None:
    original = bytes(range(256)) * 3
    seeds = [seed for seed in range(60) if seed % len(MUTATIONS) == list(MUTATIONS).index(name)]
    made = [mutated(original, seed) for seed in seeds]
    assert all(got == name and damaged != original for got, damaged in made)
    assert made == [mutated(original, seed) for seed in seeds]
    assert len({damaged for _, damaged in made}) > len(seeds) // 2


@pytest.mark.slow
def test_the_sandbox_survives_what_it_runs() -> None:
    def work(number: int) -> str:
        if number == 1:
            raise ValueError("broken")
        if number == 2:
            import os

            os.abort()
        if number == 3:
            time.sleep(60)
        if number == 4:
            return str(int(np.ones(1 << 28, np.uint8).sum()))
        return f"value {number}"

    got = outcomes(work, [0, 1, 2, 3, 4, 5], seconds=20.0)
    assert [got[n].kind for n in range(6)] == ["value", "error", "died", "hung", "value", "value"]
    assert got[1].text == "ValueError: broken" and got[5].text == "value 5"
    # a child begins with the peak of its parent, which may have been larger than it is now
    assert got[4].peak_mib > got[0].peak_mib + 40
