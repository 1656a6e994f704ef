"""The points, and the table and picture of their records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckdmed.reports import RunRecord, read_values
from ckdmed.robustness import Point, RobustnessOptions, plot_robustness, points_of, robustness_tables
from ckdmed.transforms.corruption import CORRUPTIONS


def record(
    network: str, corruption: str | None, score: float, section: str = "validation", **settings: Any
) -> RunRecord:
    point = Point(corruption)
    return RunRecord(
        name=f"{network}-{point.name}",
        arm=f"{network}, {point.name}",
        command=["ckdmed", "robustness"],
        seed=0,
        split={"section": section},
        metrics={"Dice per patient": score, "HD95 [px]": None},
        patients={"Dice per patient": {f"p{number}": score * (0.8 + 0.1 * number) for number in range(5)}},
        settings={
            "network": network,
            "bundle": {"student": "seg_kd", "teacher": "seg_teacher"}[network],
            "checkpoint_sha256": network,
            "corruption": corruption,
            "severity_value": point.value,
            "images": 9,
            "images_sha256": section,
            **settings,
        },
    )


RECORDS = [
    record("teacher", "noise-1", 0.9),
    record("teacher", None, 0.9),
    record("student", "noise-2", 0.4),
    record("student", "noise-1", 0.6),
    record("student", "low_resolution-1", 0.8),
    record("student", None, 0.8),
]


def test_all_corruptions_and_severities_by_default():
    points = points_of()
    assert points[0].corruption is None and len(points) == 1 + 3 * len(CORRUPTIONS)
    assert [p.corruption for p in points_of(["noise-2", "low_resolution"])] == [
        None,
        *("low_resolution-1", "low_resolution-2", "low_resolution-3", "noise-2"),
    ]
    assert points_of(["noise-2"])[1].value == CORRUPTIONS["noise"][1]


def test_an_unknown_corruption_lists_the_known_ones():
    for word in ("nois", "noise-4", "clean"):
        with pytest.raises(ValueError, match=f"{', '.join(CORRUPTIONS)}.*got '{word}'"):
            points_of([word])


def test_the_test_section_is_for_the_end():
    with pytest.raises(ValueError, match="scored only once.*--final"):
        RobustnessOptions(section="test")
    assert RobustnessOptions(section="test", final=True).sections == ("test",)
    assert RobustnessOptions(final=True).sections == ("validation", "test")
    with pytest.raises(ValueError, match="validation, test, got 'train'"):
        RobustnessOptions(section="train")
    with pytest.raises(ValueError, match="--images must be at least 1, got 0"):
        RobustnessOptions(images=0)


def rows(text: str, head: str) -> list[list[str]]:
    table = text[text.index(head) :].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_what_is_lost_by_hand():
    text = robustness_tables(RECORDS)
    lost = rows(text, "Share of the score on clean images (Dice per patient)")
    assert lost[0] == ["corruption", "student", "teacher"]
    # both networks over what both were scored on: patients lose the same part of theirs
    assert lost[2:] == [
        ["low resolution", "0.0 % [0.0, 0.0]", "-"],
        ["noise", "25.0 % [25.0, 25.0]", "0.0 % [0.0, 0.0]"],
        ["all of them", "25.0 % [25.0, 25.0]", "0.0 % [0.0, 0.0]"],
    ]
    assert "Not all networks were scored on low_resolution-1, noise-2: lines with both networks" in text
    # the mean of two severities, and of all three points
    alone = robustness_tables([one for one in RECORDS if one.settings["network"] == "student"])
    assert [line[1] for line in rows(alone, "Share of the score on clean images")[2:]] == [
        "0.0 % [0.0, 0.0]",
        "37.5 % [37.5, 37.5]",
        "25.0 % [25.0, 25.0]",
    ]
    assert "Not all networks" not in alone
    student = rows(text, "Student (`seg_kd`)")
    assert student[0] == [
        "corruption",
        "severity",
        "Dice per patient [95% interval]",
        "lost [95% interval]",
        "HD95 [px]",
    ]
    assert [line[:2] for line in student[2:]] == [
        ["clean", ""],
        ["low resolution", "1 (2)"],
        ["noise", "1 (0.1)"],
        ["noise", "2 (0.2)"],
    ]
    assert student[2][2].startswith("0.8000 [0.") and student[2][3:] == ["", "-"]
    assert student[5][2].startswith("0.4000 [0.") and student[5][3] == "50.0 % [50.0, 50.0]"
    assert text.index("Student (`seg_kd`)") < text.index("Teacher (`seg_teacher`)")
    assert "9 images of 5 patients" in text


def test_the_test_section_comes_first_and_is_drawn(tmp_path: Path):
    both = [*RECORDS, record("student", None, 0.7, "test"), record("student", "noise-1", 0.5, "test")]
    text = robustness_tables(both)
    assert text.startswith("### Test section") and "### Validation section" in text
    assert plot_robustness(both, tmp_path / "x.png") == tmp_path / "x.png"
    assert read_values(tmp_path / "x.png")["clean"]["student"][0] == pytest.approx(0.7)


def test_the_picture_has_a_panel_for_each_kind_and_a_line_for_each_network(tmp_path: Path):
    plot_robustness(RECORDS, tmp_path / "x.png")
    shown = read_values(tmp_path / "x.png")
    assert shown["score"] == "Dice per patient" and list(shown["panels"]) == ["low resolution", "noise"]
    noise = shown["panels"]["noise"]
    assert {name: list(line) for name, line in noise.items()} == {"student": ["1", "2"], "teacher": ["1"]}
    estimate, low, high = noise["student"]["2"]
    assert estimate == pytest.approx(0.4) and low < 0.4 < high
    assert {name: line[0] for name, line in shown["clean"].items()} == pytest.approx({"student": 0.8, "teacher": 0.9})
    assert plot_robustness(RECORDS[-1:], tmp_path / "y.png") is None


def test_records_that_do_not_belong_together():
    with pytest.raises(ValueError, match="the records of the student are of several checkpoints"):
        robustness_tables([*RECORDS, record("student", "noise-3", 0.1, checkpoint_sha256="another")])
    with pytest.raises(ValueError, match=r"the student were made with several settings \(threshold None and 0.3\)"):
        robustness_tables([*RECORDS, record("student", "noise-3", 0.1, threshold=0.3)])
    # a setting that the student's bundle has alone
    assert robustness_tables(
        [r if "teacher" in r.name else replace(r, settings={**r.settings, "x": 1}) for r in RECORDS]
    )
    with pytest.raises(ValueError, match="the records of the validation section are not of the same images"):
        robustness_tables([*RECORDS, record("student", "noise-3", 0.1, images_sha256="another")])
    # sections stand in one document, which says nothing of their settings
    with pytest.raises(ValueError, match=r"the student were made with several settings \(tta True and None\)"):
        robustness_tables([*RECORDS, record("student", None, 0.7, "test", tta=True)])
    with pytest.raises(ValueError, match="the records of the teacher are of several checkpoints"):
        robustness_tables([*RECORDS, record("teacher", None, 0.7, "test", checkpoint_sha256="another")])
    with pytest.raises(ValueError, match="the records are of several datalists"):
        robustness_tables([*RECORDS, replace(record("student", None, 0.7, "test"), data_sha256="1" * 64)])
    with pytest.raises(ValueError, match="x is not a record of `ckdmed robustness`"):
        robustness_tables([replace(RECORDS[0], name="x", settings={})])
    with pytest.raises(ValueError, match="there are no records"):
        robustness_tables([])
