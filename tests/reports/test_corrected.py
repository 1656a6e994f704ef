from __future__ import annotations

import pytest

from ckdmed.reports import RunRecord, corrected_differences, corrected_table, plot_forest, read_values


def run(arm: str, seed: int, *scores: float | None) -> RunRecord:
    patients = {"Dice": {f"p{number}": score for number, score in enumerate(scores)}}
    return RunRecord(f"{arm}-{seed}", arm, ["x"], seed, {"name": "s"}, {"Dice": 0.5}, patients)


# of better all patients gain, of mixed some, of same none
BASE = [0.5, 0.6, 0.7, 0.4, 0.55, 0.65]
RUNS = [
    run("alone", 0, *BASE),
    run("better", 0, *(score + 0.1 + 0.01 * number for number, score in enumerate(BASE))),
    run("mixed", 0, *(score + change for score, change in zip(BASE, (0.2, -0.1, 0.1, -0.15, 0.02, 0.01)))),
    run("same", 0, *BASE),
    run("undefined", 0, *(None for _ in BASE)),
]


def test_levels_and_p_values_are_those_of_all_arms_together():
    found = corrected_differences(RUNS, "Dice", "alone", ["same", "better", "mixed", "undefined"])
    # the arm without scores is no comparison
    assert list(found) == ["same", "better", "mixed"]
    better, mixed, same = found["better"], found["mixed"], found["same"]
    assert better.difference.level == pytest.approx(1 - 0.05 / 3) and better.difference.low > 0
    assert better.p_value == pytest.approx(3 * 2 / 20_001)
    # the next one fails at two comparisons, and so do those behind it
    assert mixed.difference.level == same.difference.level == pytest.approx(1 - 0.05 / 2)
    assert mixed.difference.low < 0 < mixed.difference.high and same.p_value == 1.0
    alone = corrected_differences(RUNS, "Dice", "alone", ["mixed"])["mixed"]
    assert alone.difference.level == pytest.approx(0.95) and alone.p_value < mixed.p_value
    assert alone.difference.high < mixed.difference.high
    assert corrected_differences(RUNS, "Dice", "alone", ["undefined"]) == {}


def test_seeds_are_averaged_first():
    runs = [*RUNS[:2], run("alone", 1, *BASE), run("better", 1, *BASE)]
    (found,) = corrected_differences(runs, "Dice", "alone", ["better"]).values()
    assert found.runs == 2 and found.difference.n == 6 and found.difference.estimate == pytest.approx(0.125 / 2)


def test_table_and_picture_show_them(tmp_path):
    names = {"alone": "student alone", "better": "kd", "mixed": "cwd", "undefined": "at"}
    lines = corrected_table(RUNS, "Dice", "alone", names).splitlines()
    assert "[95% interval, Holm]" in lines[0] and "p (Holm)" in lines[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0] for row in cells] == ["kd", "cwd", "at"] and cells[0][4] == "0.0002" and cells[2][3:] == ["-"] * 3
    drawn = read_values(plot_forest({"all": RUNS}, "Dice", "alone", tmp_path / "x.png", names, holm=True))["all"]
    found = corrected_differences(RUNS, "Dice", "alone", list(names)[1:])
    assert drawn["cwd"][0][1:] == [round(found["mixed"].difference.low, 6), round(found["mixed"].difference.high, 6)]
    plain = read_values(plot_forest({"all": RUNS}, "Dice", "alone", tmp_path / "y.png", names))["all"]
    assert plain["cwd"][0][0] == drawn["cwd"][0][0] and plain["cwd"][0] != drawn["cwd"][0]
