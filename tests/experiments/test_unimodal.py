"""The comparison of students of one modality, at a size that trains in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckdmed.cli import main
from ckdmed.experiments.unimodal import (
    UnimodalComparison,
    unimodal_phantoms,
    unimodal_sizes,
    unimodal_tables,
    write_unimodal_tables,
)
from ckdmed.experiments.unimodal_arms import STRATEGIES, UnimodalArm, UnimodalRun, strategy, unimodal_runs
from ckdmed.reports import RunRecord

pytestmark = pytest.mark.bundle

CASES, SHAPE = 8, (32, 32, 16)
TEACHERS = [["t1n", "t1c", "t2w", "t2f"], ["t2f"]]


def record(student: str, name: str, seed: int, dice: float, section: str = "validation") -> RunRecord:
    names = ("Dice", "Dice TC", "Dice WT", "Dice ET", "lesion-wise Dice", "HD95 [mm]", "lesion-wise HD95 [mm]")
    return RunRecord(
        name=f"labelled=0.5-{student}-{name}-seed={seed}",
        arm=f"{student}-{name}",
        command=["ckdmed", "unimodal"],
        seed=seed,
        split={"name": "datalist", "label_fraction": 0.5, "section": section},
        metrics=dict.fromkeys(names, dice),
        data_sha256="0",
        settings={"student_modalities": student.split("+")},
        seconds=1.0,
        machine="here",
    )


def test_runs_and_their_settings() -> None:
    chosen = [STRATEGIES["alone"], STRATEGIES["published"]]
    runs = unimodal_runs(chosen, [["t1n"], ["t1c"]], [0.25], [0, 1])
    assert [run.name for run in runs[:3]] == [
        "labelled=0.25-t1n-alone-seed=0",
        "labelled=0.25-t1n-published-seed=0",
        "labelled=0.25-t1c-alone-seed=0",
    ]
    assert len(runs) == 8
    alone, published = (run.settings({"epochs": 3}) for run in runs[:2])
    assert alone["method"] == "supervised" and "labelled" in alone["train#dataset#items"] and alone["epochs"] == 3
    assert published["teachers"] == [["t1c"], ["t2w"], ["t2f"]] and "train#dataset#items" not in published
    assert published["student_modalities"] == ["t1n"] and published["label_fraction"] == 0.25
    whole = UnimodalRun(UnimodalArm(STRATEGIES["alone"], ("t1n",)), 1.0, 0).settings({})
    assert "train#dataset#items" not in whole


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"regimes": [0.0]}, "share of labelled patients above 0"),
        ({"seeds": [1, 1]}, "seeds must be different ones"),
        ({"students": []}, "students must be different ones"),
    ],
)
def test_refusals(kwargs: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "strategies": [STRATEGIES["alone"]],
        "students": [["t1c"]],
        "regimes": [1.0],
        "seeds": [0],
        **kwargs,
    }
    with pytest.raises(ValueError, match=message):
        unimodal_runs(**given)
    with pytest.raises(ValueError, match="a name of its own"):
        strategy("alone", {})


def test_table_pairs_each_student_with_itself_alone(tmp_path: Path) -> None:
    records = [
        record(student, name, seed, dice + 0.01 * seed)
        for student, name, dice in (
            ("t1n", "alone", 0.2),
            ("t1n", "distilled", 0.3),
            ("t1c", "alone", 0.7),
            ("t1c", "warm", 0.65),
        )
        for seed in (0, 1, 2)
    ]
    text = unimodal_tables(records)
    assert text.index("student of t1c") < text.index("student of t1n")
    assert "+0.1000" in text and "3 of 3" in text and "-0.0500" in text and "0 of 3" in text
    assert "| distilled" in text and "| warm" in text
    for entry in records:
        entry.write(tmp_path / "validation" / f"{entry.name}.json")
    assert write_unimodal_tables(tmp_path, tmp_path / "table.md") == text
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text


def test_sizes() -> None:
    assert unimodal_sizes("compact")["image_size"] == 48 and unimodal_sizes("full")["image_size"] == 240
    with pytest.raises(ValueError, match="preset must be"):
        unimodal_sizes("huge")


def test_the_teachers_of_a_seed_serve_every_student(tmp_path: Path) -> None:
    data = unimodal_phantoms(tmp_path / "phantoms", CASES, SHAPE)
    comparison = UnimodalComparison(tmp_path, data, {**unimodal_sizes("tiny"), "teachers": TEACHERS})
    one, other = unimodal_runs([STRATEGIES["distilled"]], [["t1n"], ["t1c"]], [0.5], [3])
    first, second = (comparison._plan(run)["teachers_dir"] for run in (one, other))
    assert first == second and Path(first).parent == tmp_path / "teachers"
    (later,) = unimodal_runs([STRATEGIES["distilled"]], [["t1n"]], [0.5], [4])
    assert comparison._plan(later)["teachers_dir"] != first
    comparison.teacher_seed = 3
    assert comparison._plan(later)["teachers_dir"] == first and comparison._plan(later)["teacher_seed"] == 3
    assert "teacher_seed" not in comparison._plan(one)


@pytest.mark.slow
def test_the_command_from_phantoms_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["unimodal", "--output_dir", str(tmp_path), "--preset", "tiny", "--regimes", "0.5", "--seeds", "0"]
    command += ["--strategies", "alone", "distilled", "online", "--phantom_cases", str(CASES)]
    command += ["--phantom_shape", *map(str, SHAPE), "--set", f"teachers={str(TEACHERS)}".replace("'", '"')]
    assert main([*command, "--final"]) == 0
    printed = capsys.readouterr().out
    assert "### Test section, student of t1c, 50% of training patients labelled" in printed
    assert sorted(path.name for path in (tmp_path / "records" / "test").iterdir())[0] == (
        "labelled=0.5-t1c-alone-seed=0.json"
    )
    assert len(list((tmp_path / "teachers").iterdir())) == 1
    for path in (tmp_path / "records" / "test").iterdir():
        assert str(tmp_path) not in path.read_text(encoding="utf-8").split('"settings"')[1].split('"packages"')[0]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "records").rglob("*.json")}
    assert main([*command, "--final"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "records").rglob("*.json")} == before
    assert main([*command, "--dry-run"]) == 0
    assert "done  labelled=0.5-t1n-online-seed=0" in capsys.readouterr().out
    assert main(["unimodal", "--output_dir", str(tmp_path), "--strategies", "best"]) == 2
