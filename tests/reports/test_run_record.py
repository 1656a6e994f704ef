from __future__ import annotations

import json
import platform
from dataclasses import replace

import pytest

from ckdmed.files import remove_leftovers
from ckdmed.reports import (
    RunRecord,
    arm_table,
    machine_in_words,
    markdown_table,
    mean_sd,
    package_versions,
    patient_table,
    read_records,
)


def record(arm="kd", seed=0, fold=1, **metrics):
    return RunRecord(
        name=f"{arm}-{seed}-{fold}",
        arm=arm,
        command=["python", "-m", "monai.bundle", "run"],
        seed=seed,
        split={"name": "official", "fold": fold},
        metrics=metrics or {"dice": 0.5},
        machine="a machine",
        packages={"python": "3"},
    )


def test_round_trip(tmp_path):
    written = record(dice=0.5, hd95=None)
    assert RunRecord.read(written.write(tmp_path / "r.json")) == written


def test_undefined_metric_is_null(tmp_path):
    assert RunRecord.read(record(dice=float("nan")).write(tmp_path / "r.json")).metrics == {"dice": None}


def test_machine_and_packages_name_no_host():
    words = machine_in_words()
    assert "core" in words and (not platform.node() or platform.node() not in words)
    assert package_versions(["numpy", "no-such-package"]).keys() == {"python", "numpy"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "1"}, "seed must be int, got '1'"),
        ({"seed": True}, "seed must be int, got True"),
        ({"seconds": "long"}, "seconds must be int or float or null"),
        ({"metrics": {"dice": "0.5"}}, "metric 'dice' must be a number or null, got '0.5'"),
        ({"command": [1]}, "command must be a list of words"),
        ({"patients": {"dice": 0.5}}, "'dice' must map patients to numbers, got 0.5"),
        ({"patients": {"dice": {"p1": "0.5"}}}, "patients: 'dice' of 'p1' must be a number or null, got '0.5'"),
        ({"costs": {"ms per step": "5"}}, "cost 'ms per step' must be a number or null, got '5'"),
        ({"schema": 2}, "schema 2 is not known"),
        ({"arm": ""}, "name and arm must not be empty"),
        ({"hostname": "x"}, r"unknown \['hostname'\]"),
    ],
)
def test_damaged_records_name_file_and_field(tmp_path, change, message):
    path = record().write(tmp_path / "r.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message) as caught:
        RunRecord.read(path)
    assert "r.json" in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("{", "is not a run record"), ("[]", "holds list"), ("{}", "lacks")])
def test_not_a_record(tmp_path, text, message):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        RunRecord.read(path)


def test_a_record_of_before_patients_and_costs_were_kept(tmp_path):
    content = json.loads(record().write(tmp_path / "r.json").read_text())
    del content["patients"], content["costs"]
    (tmp_path / "r.json").write_text(json.dumps(content))
    assert RunRecord.read(tmp_path / "r.json").patients == {}


def test_checked_when_made():
    with pytest.raises(ValueError, match="metric 'dice' must be a number"):
        record(dice="high")


def test_reads_folders_sorted_and_refuses_doubles(tmp_path):
    for seed in (1, 0):
        record(seed=seed).write(tmp_path / f"{seed}.json")
    assert [r.seed for r in read_records([tmp_path])] == [0, 1]
    with pytest.raises(ValueError, match="several records have the name 'kd-0-1'"):
        read_records([tmp_path, tmp_path / "0.json"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no run records"):
        read_records([tmp_path / "empty"])


RECORDS = [record("alone", s, dice=d) for s, d in enumerate([0.70, 0.72, 0.74])]
RECORDS += [record("kd", s, dice=d) for s, d in enumerate([0.72, 0.73, 0.77])]


def test_what_a_killed_process_left_half_written_is_no_record(tmp_path):
    path = record(seed=0).write(tmp_path / "0.json")
    for name in (".writing-999999999-ab.json", ".0-ab.json"):
        (tmp_path / name).write_bytes(path.read_bytes())
    assert [r.seed for r in read_records([tmp_path])] == [0]
    assert [p.name for p in remove_leftovers(tmp_path)] == [".writing-999999999-ab.json"]


def test_table_by_hand():
    # differences .02 .01 .03: mean .02, sd .01, t(.975, 2) = 4.3027, half width .01 / sqrt(3) * 4.3027 = .0248
    table = arm_table(RECORDS, ["dice"], "alone", {"alone": "student alone", "kd": "distilled"}, decimals=3)
    assert [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()] == [
        ["arm", "runs", "dice", "dice: difference [95% interval]", "wins"],
        ["-" * 13, "---:", "-" * 12 + ":", "-" * 30 + ":", "-----:"],
        ["student alone", "3", "0.720 ± 0.020", "baseline", ""],
        ["distilled", "3", "0.740 ± 0.026", "+0.020 [-0.005, +0.045]", "3 of 3"],
    ]
    assert len({len(line) for line in table.splitlines()}) == 1


def test_of_distances_the_smaller_wins():
    runs = [record("alone", seed, hd95=10.0) for seed in range(3)]
    runs += [record("kd", seed, hd95=value) for seed, value in enumerate((8.0, 9.0, 12.0))]
    nearer = arm_table(runs, ["hd95"], "alone", ["alone", "kd"], decimals=1, smaller_is_better=["hd95"])
    assert "-0.3 [" in nearer and "2 of 3" in nearer
    assert "1 of 3" in arm_table(runs, ["hd95"], "alone", ["alone", "kd"], decimals=1)


def test_table_without_baseline_and_with_one_run_and_undefined_values():
    table = arm_table([record("kd", 0, dice=0.5), record("kd", 1, dice=None), record("a", 0, dice=None)], ["dice"])
    assert "difference" not in table
    lines = table.splitlines()
    assert "0.5000 (1 undefined)" in lines[2] and lines[3].split("|")[3].strip() == "-"


def test_pairs_are_seed_and_split_and_partly_shared_arms_say_so():
    records = [*RECORDS, record("half", 0, dice=0.8), record("half", 0, fold=2, dice=0.1), record("other", 9, dice=1.0)]
    table = arm_table(records, ["dice"], "alone")
    assert "+0.1000 (1 pair)" in table and "no shared runs" in table


def test_table_errors():
    with pytest.raises(ValueError, match="at least one record"):
        arm_table([], ["dice"])
    with pytest.raises(ValueError, match="no record is of arm 'none'"):
        arm_table(RECORDS, ["dice"], "none")
    with pytest.raises(ValueError, match="has no metric 'iou'"):
        arm_table(RECORDS, ["iou"])
    with pytest.raises(ValueError, match="seed 0, split .* twice"):
        arm_table([*RECORDS, record("kd", 0, dice=1.0)], ["dice"])
    with pytest.raises(ValueError, match="a line has 1 cells, the head 2"):
        markdown_table(["a", "b"], [["1"]])


def test_cells_cannot_break_the_table():
    assert markdown_table(["a"], [["x|y\nz"]]).splitlines()[2] == "| x\\|y z |"


def test_mean_and_deviation_in_a_cell():
    # of 1, 2 and 6: mean 3, squares 4 + 1 + 9 over n - 1
    assert mean_sd([1, 2, 6], 2) == f"3.00 ± {7**0.5:.2f}"
    assert mean_sd([0.0]) == "0.0000" and mean_sd([0.5, 0.5]) == "0.5000 ± 0.0000"
    assert mean_sd([1.0, None, float("nan"), 3.0], 1) == "2.0 ± 1.4 (2 undefined)"
    assert mean_sd([None]) == mean_sd([]) == "-"


def of_patients(arm, seed, *dice):
    return replace(record(arm, seed), patients={"dice": {f"p{number}": value for number, value in enumerate(dice)}})


def test_table_over_patients_by_hand():
    # the means over seeds: alone .5 .6 .7, kd .6 .6 .65; differences .1 0 -.05, mean .0167
    runs = [of_patients("alone", 0, 0.4, 0.6, 0.8), of_patients("alone", 1, 0.6, 0.6, 0.6)]
    runs += [of_patients("kd", 1, 0.5, 0.5, 0.7), of_patients("kd", 0, 0.7, 0.7, 0.6)]
    rows = patient_table([*runs, of_patients("kd", 2, 0.9, 0.9, 0.9)], "dice", "alone", {"kd": "distilled"}, decimals=3)
    arm, n_runs, n_patients, difference, won = [cell.strip() for cell in rows.splitlines()[2].strip("|").split("|")]
    # the run that the student alone lacks has no part in it
    assert (arm, n_runs, n_patients, won) == ("distilled", "2", "3", "1 of 3")
    assert difference.startswith("+0.017 [") and rows.count("\n") == 3
    low, high = (float(end) for end in difference.split("[")[1].rstrip("]").split(","))
    # all draws of the same patient are the ends of what is possible
    assert low == pytest.approx(-0.05) and high == pytest.approx(0.1)


def test_equal_differences_leave_no_doubt_over_patients():
    runs = [of_patients("alone", 0, 0.4, 0.6, 0.8), of_patients("kd", 0, 0.5, 0.7, 0.9)]
    assert "+0.10 [+0.10, +0.10]" in patient_table(runs, "dice", "alone", decimals=2)


def test_patients_without_a_score_are_left_out():
    runs = [of_patients("alone", 0, 0.4, None, 0.8), of_patients("kd", 0, 0.5, 0.7, None)]
    row = [cell.strip() for cell in patient_table(runs, "dice", "alone").splitlines()[2].strip("|").split("|")]
    # one patient: a difference without an interval
    assert row == ["kd", "1", "1", "+0.1000", "1 of 1"]
    nothing = [of_patients("alone", 0, None), of_patients("kd", 0, 0.5)]
    assert patient_table(nothing, "dice", "alone").splitlines()[2].split("|")[3].strip() == "0"


def test_an_arm_without_a_run_of_the_baselines_seeds_has_no_difference():
    runs = [of_patients("alone", 0, 0.4), of_patients("kd", 1, 0.5), of_patients("at", 0, 0.6)]
    kd, at = (line.strip("|").split("|") for line in patient_table(runs, "dice", "alone").splitlines()[2:])
    assert [cell.strip() for cell in kd] == ["kd", "0", "0", "-", "-"]
    assert [cell.strip() for cell in at] == ["at", "1", "1", "+0.2000", "1 of 1"]


def test_tables_over_patients_that_make_no_sense():
    base = of_patients("alone", 0, 0.4, 0.6)
    for other, message in (
        (of_patients("kd", 0, 0.4), "1 keys are in one arm only"),
        (record("kd", 0), "no scores of patients for 'dice'"),
    ):
        with pytest.raises(ValueError, match=message):
            patient_table([base, other], "dice", "alone")
    uneven = [base, of_patients("alone", 1, 0.4), of_patients("kd", 0, 0.4, 0.6), of_patients("kd", 1, 0.4, 0.6)]
    with pytest.raises(ValueError, match="not cover the same patients: \\['p1'\\]"):
        patient_table(uneven, "dice", "alone")


def test_folds_have_patients_of_their_own():
    def on_fold(arm: str, fold: int, seed: int, patient: str, score: float) -> RunRecord:
        made = of_patients(arm, seed, score)
        return replace(made, name=f"{made.name}-{fold}", split={"fold": fold}, patients={"dice": {patient: score}})

    runs = [on_fold("alone", fold, seed, f"p{fold}", 0.4) for fold in (0, 1) for seed in (0, 1)]
    runs += [on_fold("kd", fold, seed, f"p{fold}", 0.5 + 0.1 * fold) for fold in (0, 1) for seed in (0, 1)]
    row = [cell.strip() for cell in patient_table(runs, "dice", "alone").splitlines()[2].strip("|").split("|")]
    assert row[:3] == ["kd", "4", "2"] and row[3].startswith("+0.1500") and row[4] == "2 of 2"
