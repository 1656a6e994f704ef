"""What the options of an experiment are checked for before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.cli import main
from ckdmed.reports import RunRecord


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder with the records of a comparison of two arms."""
    for arm in ("alone", "ckd"):
        name = f"labelled=1-{arm}-seed=0"
        split = {"name": "x", "datalist_seed": 0, "label_fraction": 1.0, "section": "validation"}
        metrics = {"Dice per slice": 0.5, "Dice per patient": 0.5, "HD95 per slice": 3.0}
        patients = {"Dice per patient": {"a": 0.5, "b": 0.6}}
        record = RunRecord(name, arm, ["c"], 0, split, metrics, patients, settings={"profile": "tiny"})
        path = tmp_path / "o" / "records" / "validation" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record.write(path)
    return tmp_path / "o"


@pytest.mark.usefixtures("pictures_not_rendered")
def test_tables_alone_tell_of_options_that_choose_runs(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--arms alone` beside `--table-only` looked like a choice of rows, and all were shown."""
    words = ["experiment", "compare", "--output_dir", str(recorded), "--table-only"]
    assert main([*words, "--arms", "alone", "--seeds", "0", "--jobs", "3", "--set", "epochs=2"]) == 0
    captured = capsys.readouterr()
    assert "distilled" in captured.out
    assert f"all records of {recorded}; no effect: --seeds, --set, --arms, --jobs\n" in captured.err
    assert main(words) == 0
    assert "no effect" not in capsys.readouterr().err


@pytest.mark.usefixtures("pictures_not_rendered")
@pytest.mark.parametrize("collected", ["tables.txt", "tables.png"])
def test_records_do_not_go_where_the_tables_or_their_picture_go(
    collected: str, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One took the place of the other without a word."""
    words = ["--table", str(tmp_path / "tables.txt"), "--collect", str(tmp_path / collected), "--table-only"]
    assert main(["experiment", "compare", "--output_dir", str(recorded), *words]) == 2
    assert "the tables or their picture go there" in capsys.readouterr().err
    assert not list(tmp_path.glob("tables*"))


@pytest.mark.parametrize("jobs", ["0", "-1"])
def test_no_jobs_at_a_time_are_refused_first(jobs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 stood for no limit on a cluster, and for 1 on one machine."""
    for kind in ("slurm", "local"):
        words = ["--executor", kind, "--jobs", jobs, "--profile", "tiny"]
        assert main(["experiment", "compare", "--output_dir", str(tmp_path / "o"), *words]) == 2
        assert f"--jobs must be at least 1, got {jobs}" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
