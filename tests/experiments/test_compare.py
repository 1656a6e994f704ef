from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.cli import main
from ckdmed.engines import load_network
from ckdmed.experiments.compare import Comparison, phantom_data
from ckdmed.experiments.compare_arms import ARMS, Run, planned_runs, variant
from ckdmed.experiments.compare_table import comparison_picture, comparison_summary, comparison_tables, write_comparison
from ckdmed.experiments.sizes import preset_settings
from ckdmed.networks import UNet
from ckdmed.reports import RunRecord, read_forest
from tests.experiments.interrupted import check_same_outcome, noted_epochs

pytestmark = pytest.mark.bundle

PATIENTS, SIZE = 9, 48


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom_data(tmp_path_factory.mktemp("phantoms"), PATIENTS, SIZE)


def comparison(folder: Path, data: Path, **settings: Any) -> Comparison:
    return Comparison(folder, data, {**preset_settings("tiny"), **settings}, command=["ckdmed", "compare"])


def arms(*names: str) -> list[Any]:
    return [ARMS[name] for name in names]


def test_the_whole_way_broken_off_and_resumed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = planned_runs(arms("ours", "teacher"), [0.5], [3])
    assert [run.arm.name for run in runs] == ["teacher", "ours"]
    whole = comparison(tmp_path / "whole", data)
    assert [whole.train(run) for run in runs] == [True, True]

    broken = comparison(tmp_path / "broken", data)
    # the teacher has two epochs (half of the images, twice as often); this is the student's second
    with noted_epochs(monkeypatch, killed_after=4):
        for run in runs:
            broken.train(run)
    assert broken.done(runs[0]) and not broken.done(runs[1])
    assert list((broken.folder(runs[1]) / "models").glob("resume_epoch=0001.pt"))
    again = comparison(tmp_path / "broken", data)
    with noted_epochs(monkeypatch) as epochs:
        assert [again.train(run) for run in runs] == [False, True]
    assert epochs == [2]

    last, _ = check_same_outcome(whole, again, runs)
    assert last.split["label_fraction"] == 0.5 and last.seed == 3

    # the teacher that taught is the one of its own record
    noted = json.loads((whole.folder(runs[1]) / "settings.json").read_text(encoding="utf-8"))["settings"]
    assert Path(noted["teacher_checkpoint"]) == whole.folder(runs[0]) / "models" / "model.pt"
    assert not list((tmp_path / "whole" / "records").glob("test/*"))
    assert [whole.test(run) for run in runs] == [True, True] and [whole.test(run) for run in runs] == [False, False]
    # each patient's mean, from which follows the mean over patients
    assert set(last.patients) == {"Dice per patient"} and len(last.patients["Dice per patient"]) > 1
    of_patients = [score for score in last.patients["Dice per patient"].values() if score is not None]
    assert sum(of_patients) / len(of_patients) == pytest.approx(last.metrics["Dice per patient"])
    text = write_comparison(tmp_path / "whole" / "records", tmp_path / "table.md")
    assert text.index("### Test section, 50%") < text.index("### Validation section, 50%")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    # without the student alone there is nothing to compare with
    assert not (tmp_path / "table.png").exists()
    # a kill between the record and the deletion of what only a broken-off run needs
    needless = whole.folder(runs[0]) / "models" / "resume_epoch=0002.pt"
    needless.write_bytes(b"")
    assert not whole.train(runs[0]) and not needless.exists()
    changed = comparison(tmp_path / "whole", data, epochs=5)
    with pytest.raises(ValueError, match="made with other settings .*epochs 2 then and 5 now"):
        changed.done(runs[1])


def test_the_untrained_teacher_is_random_and_the_same_for_all(data: Path, tmp_path: Path):
    made = comparison(tmp_path, data)
    (run,) = planned_runs(arms("untrained_teacher"), [1.0], [4])
    path = tmp_path / "untrained" / "seed=4.pt"
    made._write_untrained(run, path)
    first = path.read_bytes()
    path.unlink()
    torch.rand(5)
    made._write_untrained(run, path)
    assert path.read_bytes() == first
    with pytest.raises(ValueError, match="does not fit"):
        load_network(UNet(features=[4, 8, 16, 32, 64]), str(path))


def test_order_of_the_runs():
    names = [run.name for run in planned_runs(list(reversed(ARMS.values())), [1.0, 0.25], [0, 1])]
    assert len(names) == 2 * (len(ARMS) + len(ARMS) - 1) and len(set(names)) == len(names)
    assert "labelled=1-hard_pseudo-seed=0" not in names and "labelled=0.25-hard_pseudo-seed=0" in names
    for regime in ("1", "0.25"):
        at = {arm: names.index(f"labelled={regime}-{arm}-seed=0") for arm in ARMS if arm != "hard_pseudo"}
        assert at["teacher"] < min(at["ours"], at["report_kd"], at["report_kdpp"])
        assert at["alone_longer"] > max(at["ours"], at["alone"])


def test_settings_of_the_arms():
    base = {**preset_settings("tiny"), "epochs": 10, "teacher_epochs": 6, "dataset_dir": "d"}
    ours = Run(ARMS["ours"], 0.25, 7).settings(base)
    assert (ours["epochs"], ours["val_interval"], ours["label_fraction"], ours["seed"]) == (10, 1, 0.25, 7)
    assert ours["method"] == "ckd" and "train#dataset#data" not in ours
    # as many steps on the labelled images alone, validated as often
    alone = Run(ARMS["alone"], 0.25, 7).settings(base)
    assert (alone["epochs"], alone["val_interval"]) == (40, 4) and "labelled" in alone["train#dataset#data"]
    assert Run(ARMS["alone"], 1.0, 7).settings(base)["epochs"] == 10
    assert "train#dataset#data" not in Run(ARMS["alone"], 1.0, 7).settings(base)
    students = {"student_kind": "efficientnet_lite", "student_encoder_pretrained": "lite0.pth"}
    teacher = Run(ARMS["teacher"], 0.25, 7).settings({**base, **students, "teacher_kind": "segresnet"})
    assert teacher["epochs"] == 24 and not {"student_base", "teacher_epochs", "method", *students} & set(teacher)
    assert teacher["teacher_kind"] == "segresnet"
    warm = Run(variant("warm", {"temperature": 4}), 1.0, 0).settings(base)
    assert (warm["method"], warm["temperature"]) == ("ckd", 4)


def test_summary_shows_the_test_section_once_there_is_one():
    def record(arm: str, section: str, regime: float, dice: float) -> RunRecord:
        split = {"section": section, "label_fraction": regime}
        metrics = {name: dice for name in ("Dice per slice", "Dice per patient", "HD95 per slice")}
        return RunRecord(f"{arm}{regime}{section}", arm, ["c"], 0, split, metrics, data_sha256="0" * 64)

    validated = [record("ours", "validation", 0.1, 0.5), record("alone", "validation", 0.1, 0.4)]
    text = comparison_summary(validated)
    assert text.startswith("Validation section, 10%") and "+0.1000" in text and "HD95" not in text
    assert text.index("student alone") < text.index("ours")
    tested = [record("alone", "test", regime, 0.3 + regime / 10) for regime in (0.1, 1.0)]
    text = comparison_summary(validated + tested)
    assert "Validation" not in text and "0.5000" not in text
    assert text.index("Test section, 100%") < text.index("0.4000") < text.index("Test section, 10%")


def test_the_longer_student_gets_the_time_of_ours(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = comparison(tmp_path, data)
    for arm, seconds in (("alone", 100.0), ("ours", 250.0)):
        history = tmp_path / "runs" / f"labelled=1-{arm}-seed=0" / "metrics.jsonl"
        history.parent.mkdir(parents=True)
        # the clock on the wall may say anything on a busy machine
        row = {"seconds": 1.0, "cpu_seconds": seconds / 2}
        history.write_text(f"{json.dumps(row)}\n" * 2, encoding="utf-8")
    run = Run(ARMS["alone_longer"], 1.0, 0)
    assert made._plan(run)["epochs"] == 5
    # what was planned once stays, whatever a later history says
    (tmp_path / "runs" / "labelled=1-ours-seed=0" / "metrics.jsonl").unlink()
    assert made._plan(run)["epochs"] == 5


def record(arm: str, seed: int, dice: float, section: str = "validation", regime: float = 1.0, **kw: Any) -> RunRecord:
    metrics = {"Dice per slice": dice, "Dice per patient": dice - 0.01, "HD95 per slice": 10 / dice}
    split = {"label_fraction": regime, "section": section}
    return RunRecord(f"{arm}-{seed}-{regime}-{section}", arm, ["c"], seed, split, metrics, seconds=60.0, **kw)


def test_the_table_by_hand():
    records = [record("alone", s, d) for s, d in enumerate((0.70, 0.72))]
    records += [record("ours", s, d) for s, d in enumerate((0.74, 0.73))] + [record("mine", 0, 0.5, regime=0.1)]
    text = comparison_tables(records)
    all_labelled, tenth = text.split("### Validation section, 10%")
    (ours,) = (line for line in all_labelled.splitlines() if line.startswith("| ours") and "+0.0250" in line)
    assert "0.7350 ± 0.0071" in ours and "2 of 2" in ours
    assert "baseline" in all_labelled and "13.51" not in all_labelled.split("HD95")[0]
    assert "mine" in tenth and "baseline" not in tenth
    assert "student alone 60, ours 60" in all_labelled and "the time of ours:" not in all_labelled
    longer = [record("alone_longer", s, d) for s, d in enumerate((0.75, 0.71))]
    _, same_time = comparison_tables([*records, *longer]).split("given the time of ours:")
    (ours,) = (line for line in same_time.splitlines() if line.startswith("| ours"))
    assert "+0.0050" in ours and "1 of 2" in ours
    # over patients only when all of the records hold their scores
    assert "over patients" not in comparison_tables(records)
    with_patients = [
        replace(made, patients={"Dice per patient": {"a": made.metrics["Dice per patient"], "b": 0.5}})
        for made in [*records[:-1], *longer]
    ]
    of_all, of_same_time = comparison_tables(with_patients).split("given the time of ours:")
    assert "| ours " in of_all.split("over patients")[1] and "+0.0125" in of_all.split("over patients")[1]
    assert "+0.0025" in of_same_time.split("over patients")[1]
    with pytest.raises(ValueError, match="several datalists"):
        comparison_tables([*records, record("ours", 5, 0.5, data_sha256="ab")])


def test_the_picture_shows_the_section_of_the_summary(tmp_path: Path):
    def with_patients(*args: Any, **kwargs: Any) -> RunRecord:
        made = record(*args, **kwargs)
        return replace(made, patients={"Dice per patient": {"a": made.metrics["Dice per patient"], "b": 0.5}})

    records = [with_patients(arm, seed, dice) for arm, dice in (("alone", 0.7), ("ours", 0.75)) for seed in (0, 1)]
    tested = [with_patients(arm, 0, dice, "test", 0.1) for arm, dice in (("alone", 0.6), ("ours", 0.5))]
    for own, title, gain in (
        (records, "Validation section, 100%", 0.025),
        (records + tested, "Test section, 10%", -0.05),
    ):
        path = comparison_picture(own, tmp_path / "x.png", {"ours": "mine"})
        assert path is not None
        drawn = read_forest(path)
        assert list(drawn) == [f"{title} of the training patients labelled"]
        assert drawn[f"{title} of the training patients labelled"]["mine"][0][0] == pytest.approx(gain)
    # runs of before the scores of patients were kept, and of one arm
    assert comparison_picture([record("alone", 0, 0.5), record("ours", 0, 0.5)], tmp_path / "y.png") is None
    assert comparison_picture([with_patients("ours", 0, 0.5)], tmp_path / "y.png") is None


@pytest.mark.parametrize(
    "names, regimes, seeds, message",
    [
        (["ours"], [1.0], [0], "needs the arms \\['teacher'\\] too"),
        (["alone", "alone"], [1.0], [0], "arms must be different"),
        (["alone"], [0.0], [0], "above 0 and at most 1"),
        (["alone"], [1.0], [], "seeds must be different ones, at least one"),
    ],
)
def test_impossible_plans(names: list[str], regimes: list[float], seeds: list[int], message: str):
    with pytest.raises(ValueError, match=message):
        planned_runs(arms(*names), regimes, seeds)


def test_the_command_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    common = ["compare", "--output_dir", str(tmp_path), "--dataset_dir", str(data), "--preset", "tiny"]
    assert main([*common, "--seeds", "0", "--regimes", "1", "--variant", "warm", "temperature=4", "--dry-run"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("labelled=1-") == len(ARMS) and "labelled=1-warm-seed=0" in listed
    for extra, message in (
        (["--arms", "our"], "there are no arms ['our']"),
        (["--set", "epoch=3"], "'epoch=3' is no KEY=VALUE"),
        (["--set", "seed=3"], "the command makes seed itself"),
        (["--variant", "ours", "w_att=0"], "a name of its own"),
        (["--table-only"], "holds no records"),
        (["--dataset_dir", str(tmp_path)], "ckdmed datalist"),
    ):
        assert main([*common, *extra]) == 2
        assert message in capsys.readouterr().err
