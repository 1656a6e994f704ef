"""The comparison of students of one modality."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.experiments.unimodal import EXPERIMENT
from ckdmed.experiments.unimodal_arms import STRATEGIES, strategy, unimodal_settings
from ckdmed.reports import RunRecord
from tests.experiments.trainers import made, planned

TEACHERS = 'teachers=[["t1n","t1c","t2w","t2f"],["t2f"]]'


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
    words = ["--strategies", "alone", "published", "--label_fractions", "0.25", "--seeds", "0", "1"]
    runs = planned("unimodal", *words)
    assert [run.name for run in runs[:3]] == [
        "labelled=0.25-t1n-alone-seed=0",
        "labelled=0.25-t1n-published-seed=0",
        "labelled=0.25-t1c-alone-seed=0",
    ]
    assert len(runs) == 8
    alone, published = (unimodal_settings(run, {"epochs": 3}) for run in runs[:2])
    assert alone["method"] == "supervised" and "labelled" in alone["train#dataset#items"] and alone["epochs"] == 3
    assert published["teachers"] == [["t1c"], ["t2w"], ["t2f"]] and "train#dataset#items" not in published
    assert published["student_modalities"] == ["t1n"] and published["label_fraction"] == 0.25
    (whole,) = planned("unimodal", "--students", "t1n", "--strategies", "alone", "--regimes", "1", "--seeds", "0")
    assert "train#dataset#items" not in unimodal_settings(whole, {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label_fractions", "0"], "a label fraction lies above 0"),
        (["--seeds", "1", "1"], "seeds must be different ones"),
        (["--students", "t1c", "t1c"], "students must be different ones"),
        (["--strategies", "best"], "there are no strategies .'best'.; there are alone, distilled"),
        (["--variant", "alone"], "a name of its own"),
        (["--variant", "one", "teacher_epoch=3"], "'teacher_epoch' is no setting of this bundle"),
    ],
)
def test_refusals(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planned("unimodal", *words)


def test_table_pairs_each_student_with_itself_alone() -> None:
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
    text = EXPERIMENT.tables(records)
    assert "### Validation set, student of t1n, 50% of training patients labelled" in text
    assert text.index("student of t1c") < text.index("student of t1n")
    assert "+0.1000" in text and "3 of 3" in text and "-0.0500" in text and "0 of 3" in text
    assert "| distilled" in text and "| warm" in text and "t1c-" not in text


def test_sizes() -> None:
    sizes = EXPERIMENT.profile_settings
    assert sizes("compact")["image_size"] == 48 and sizes("full")["image_size"] == 240
    with pytest.raises(ValueError, match="profile must be"):
        sizes("huge")


def test_the_teachers_of_a_seed_serve_every_student(data: Path, tmp_path: Path) -> None:
    words = ["--strategies", "distilled", "--label_fractions", "0.5", "--set", TEACHERS]
    comparison, (one, other, later, _) = made("unimodal", tmp_path, data, "--seeds", "3", "4", *words)
    first, second = (comparison._plan(run)["teachers_dir"] for run in (one, other))
    assert first == second and Path(first).parent == tmp_path / "teachers"
    assert comparison._plan(later)["teachers_dir"] != first
    shared, _ = made("unimodal", tmp_path, data, "--seeds", "3", "4", *words, "--teacher_seed", "3")
    assert shared._plan(later)["teachers_dir"] == first and shared._plan(later)["teacher_seed"] == 3
    assert "teacher_seed" not in shared._plan(one)
    assert strategy("warm", {"temperature": 2}).settings["method"] == STRATEGIES["distilled"].settings["method"]
