"""All experiments at their tiny profiles, broken off in the middle and gone on with, against unbroken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments.trainers import check_same_outcome, made, noted_epochs

TEACHERS = 'teachers=[["t1n","t1c","t2w","t2f"],["t2f"]]'
# what is run, and after how many epochs it is broken off: in the middle of the last run that trains twice
CASES = {
    # the teacher has two epochs (half of the images, twice as often)
    "compare": (["--arms", "teacher", "ckd", "--label_fractions", "0.5"], 3),
    "ablation": (["--vary", "norm", "batch"], 3),
    "unimodal": (
        ["--students", "t1n", "--strategies", "distilled", "online", "--label_fractions", "0.5", "--set", TEACHERS],
        5,
    ),
    "table1": (["--arms", "student_msgff", "--set", "epochs=2"], 2),
    # the student alone, the teacher with one epoch, the student of that one
    "methods": (["--arms", "kd"], 4),
    "sweep": (["--method", "kd", "--over", "temperature=1"], 4),
}


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize("name", CASES)
def test_broken_off_and_resumed(
    name: str, phantoms: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, killed_after = CASES[name]
    given = [phantoms[name], "--seeds", "3", *words]
    whole, runs = made(name, tmp_path / "whole", *given)
    final = whole.looks_at_test
    runs = whole.possible(runs)
    whole.do(runs, final)

    broken, _ = made(name, tmp_path / "broken", *given)
    with noted_epochs(monkeypatch, killed_after=killed_after):
        broken.do(runs, final)
    done = [broken.done(run) for run in runs]
    assert not all(done) and not (tmp_path / "broken" / "records" / "test").exists()
    again, _ = made(name, tmp_path / "broken", *given)
    again.do(runs, final)

    check_same_outcome(whole, again, runs)
    if final:
        check_same_outcome(whole, again, runs, "test")
