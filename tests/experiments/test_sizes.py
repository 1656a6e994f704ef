from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from ckdmed.cli import main
from ckdmed.experiments import experiment
from ckdmed.experiments.sizes import Sizes
from ckdmed.reports import CostPoint, RunRecord, plot_against_costs, read_values
from tests.experiments.trainers import FakeTrainer, install, made, options, planned


def record(arm: str, seed: int, dice: float, width: int | None = None, **costs: float) -> RunRecord:
    method = {} if width is None else {"method": "kd" if "distilled" in arm else "supervised", "student_base": width}
    return RunRecord(
        f"{arm}-seed={seed}",
        arm,
        ["c"],
        seed,
        {"section": "validation", "task": "segmentation"},
        {"Dice per slice": dice, "Dice per patient": dice - 0.1, "HD95 per slice": 9.0},
        patients={"Dice per patient": {"a": dice, "b": dice - 0.1}},
        settings={**method, "seed": seed},
        costs=dict(costs),
    )


def some_records() -> list[RunRecord]:
    found = [record("teacher", 0, 0.8)]
    for width, gain in ((4, 0.05), (16, 0.01)):
        for seed in (0, 1):
            size = {"parameters [million]": width / 4}
            taken = {
                "processor ms per input": 2.0 * width,
                "teacher: processor ms per input": 90.0,
                "teacher: parameters [million]": 5.0,
            }
            found.append(record(f"supervised-{width}", seed, 0.6 + 0.01 * seed, width, **size))
            found.append(record(f"distilled-{width}", seed, 0.6 + gain + 0.01 * seed, width, **size, **taken))
    return found


def test_each_width_alone_and_distilled():
    runs = planned("sizes", "--seeds", "3", "4", "--widths", "2", "6", "--method", "kd")
    assert [run.name for run in runs] == [
        *("supervised-2-seed=3", "teacher-seed=3", "distilled-2-seed=3", "supervised-6-seed=3", "distilled-6-seed=3"),
        *("supervised-2-seed=4", "distilled-2-seed=4", "supervised-6-seed=4", "distilled-6-seed=4"),
    ]
    assert runs[2].arm.settings == {"method": "kd", "student_base": 2} and runs[2].teacher == "teacher-seed=3"
    assert runs[0].arm.settings == {"method": "supervised", "student_base": 2} and runs[0].teacher is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--widths", "4", "4"], "different"),
        (["--widths", "0"], "at least 1"),
        (["--method", "supervised"], "student alone"),
        (["--method", "nothing"], "nothing"),
    ],
)
def test_impossible_plans(words: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        planned("sizes", *words)


def test_the_width_is_the_commands():
    with pytest.raises(ValueError, match="--widths"):
        Sizes.given_settings(options("sizes", "--set", "student_base=4"))


def test_the_runs_are_given_their_width(tmp_path: Path, data: Path):
    sizes, runs = made("sizes", tmp_path, data, "--widths", "3", "5", "--seeds", "0")
    given = {run.arm.name: sizes.settings_of(run) for run in runs}
    assert given["distilled-5"]["student_base"] == given["supervised-5"]["student_base"] == 5
    assert given["distilled-3"]["epochs"] == given["supervised-3"]["epochs"] == 2
    assert "student_base" not in given["teacher"]


@pytest.mark.parametrize("words", [["sizes"], ["sweep", "--method", "kd", "--over", "temperature=2"]])
def test_scores_of_patients_that_were_trained_on_are_none_to_choose_by(words: list[str]):
    name, *own = words
    with pytest.raises(ValueError, match="of patients that were trained on; leave it out"):
        experiment(name).given_settings(options(name, *own, "--set", "train_on_validation=true"))


@pytest.mark.parametrize(("kind", "refused"), [("flexible_unet", True), ("attention_unet", False)])
def test_a_student_without_a_width(
    tmp_path: Path, data: Path, kind: str, refused: bool, monkeypatch: pytest.MonkeyPatch
):
    install(monkeypatch, FakeTrainer())
    sizes, runs = made("sizes", tmp_path, data, "--widths", "4", "8", "--set", f"student_kind={kind}")
    with pytest.raises(ValueError, match=f"changes nothing of the student_kind '{kind}'") if refused else nullcontext():
        assert sizes.possible(runs) == runs


def test_the_table_by_hand():
    text = Sizes.tables(some_records())
    rows = [line for line in text.splitlines() if line.startswith(("| 4 ", "| 16 ", "| teacher"))]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0] == [
        "4",
        "1.00",
        "8.0 ± 0.0",
        *("0.6050 ± 0.0071", "0.6550 ± 0.0071", "0.5050 ± 0.0071"),
        cells[0][6],
    ]
    assert cells[1][:3] == ["16", "4.00", "32.0 ± 0.0"] and cells[1][4] == "0.6150 ± 0.0071"
    assert cells[2][:5] == ["teacher", "5.00", "90.0 ± 0.0", "0.8000", ""]
    assert text.index("### Width 4") < text.index("### Width 16")
    section = text[text.index("### Width 4") : text.index("### Width 16")]
    assert "+0.0500" in section and "distilled, width 4" in section and "width 16" not in section
    mixed = some_records()
    for one in mixed:
        if one.arm == "distilled-16":
            one.settings["method"] = "ckd"
    with pytest.raises(ValueError, match="of the methods ckd, kd"):
        Sizes.tables(mixed)


def test_a_given_teacher_has_a_row_of_its_own(tmp_path: Path):
    records = [replace(one, arm="given") if one.arm == "teacher" else one for one in some_records()]
    (row,) = [line for line in Sizes.tables(records).splitlines() if line.startswith("| teacher")]
    assert [cell.strip() for cell in row.strip("|").split("|")][:4] == [
        "teacher, as given",
        "5.00",
        "90.0 ± 0.0",
        "0.8000",
    ]
    path = Sizes.picture(records, tmp_path / "sizes.png")
    assert path is not None and read_values(path)["upper"]["costs"]["parameters [million]"] == 5.0


def test_the_picture_keeps_what_it_shows(tmp_path: Path):
    path = Sizes.picture(some_records(), tmp_path / "sizes.png")
    assert path is not None
    shown = read_values(path)
    assert shown["score"] == "Dice per slice" and set(shown["lines"]) == {"student alone", "distilled"}
    first, second = shown["lines"]["distilled"]
    assert first == {
        "name": "4",
        "costs": {"parameters [million]": 1.0, "processor ms per input": 8.0},
        "scores": [pytest.approx(0.65), pytest.approx(0.66)],
    }
    assert second["costs"]["processor ms per input"] == 32.0
    # the same network: what the distilled student takes, the one alone takes as well
    assert shown["lines"]["student alone"][0]["costs"] == first["costs"]
    assert shown["upper"]["costs"] == {"parameters [million]": 5.0, "processor ms per input": 90.0}
    undefined = some_records()
    undefined[0].metrics["Dice per slice"] = undefined[2].metrics["Dice per slice"] = None
    path = Sizes.picture(undefined, tmp_path / "undefined.png")
    assert path is not None
    shown = read_values(path)
    assert shown["lines"]["distilled"][0]["scores"] == [pytest.approx(0.66)] and shown["upper"] is None
    alone = [one for one in some_records() if not one.arm.startswith("distilled")]
    assert Sizes.picture(alone, tmp_path / "none.png") is None and not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    "point", [CostPoint("4", {}, [0.5]), CostPoint("4", {"ms": 1.0}, []), CostPoint("4", {"ms": 0.0}, [0.5])]
)
def test_nothing_to_draw(point: CostPoint, tmp_path: Path):
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_against_costs({"alone": [point]}, "Dice", tmp_path / "p.png")


@pytest.mark.parametrize("words", [["--set", "batch_size=3"], ["--method", "ckd"]])
def test_a_width_that_is_added_with_other_settings(
    words: list[str], tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    install(monkeypatch, FakeTrainer())
    sizes, runs = made("sizes", tmp_path, data, "--widths", "2", "--seeds", "0", "--method", "kd")
    sizes.do([run for run in runs if run.arm.name != "teacher"])
    trainer = install(monkeypatch, FakeTrainer())
    other, added = made("sizes", tmp_path, data, "--widths", "4", "--seeds", "0", "--method", "kd", *words)
    with pytest.raises(ValueError, match="(batch_size .* and 3|of the methods ckd, kd)"):
        other.do([run for run in added if run.arm.name == "distilled-4"])
    assert not trainer.asked
    mixed = some_records()
    for one in mixed:
        if one.arm == "distilled-16":
            one.settings["epochs"] = 9
    with pytest.raises(ValueError, match="distilled-4-seed=0 and distilled-16-seed=0 .*epochs None and 9"):
        Sizes.tables(mixed)


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
def test_sizes_on_phantoms(tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["--profile", "tiny", "--widths", "2", "4", "--seeds", "0", "--method", "kd", "--set", "epochs=1"]
    words += ["--phantom_patients", "10", "--phantom_size", "32", "--output_dir", str(tmp_path / "o")]
    assert main(["experiment", "sizes", *words]) == 0
    assert "### Width 4" in capsys.readouterr().out
    shown = read_values(tmp_path / "o/sizes.png")
    costs = [point["costs"]["parameters [million]"] for point in shown["lines"]["distilled"]]
    assert len(costs) == 2 and costs[0] < costs[1] and shown["upper"] is not None
    before = (tmp_path / "o/sizes.md").read_bytes()
    assert main(["experiment", "sizes", *words]) == 0
    assert (tmp_path / "o/sizes.md").read_bytes() == before
