from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from ckdmed.bundle.workflow import bundle_parser
from ckdmed.bundle_files import bundle_folder
from ckdmed.experiments.given_settings import parse_settings
from ckdmed.experiments.records import read_experiment
from ckdmed.experiments.table1 import _METRICS, _TEST, EXPERIMENT, Table1
from ckdmed.files import save_weights
from ckdmed.reports import RunRecord
from ckdmed.sections.record import SectionOverlapError, SectionRecord
from tests.experiments.trainers import made, planned


def test_settings_of_the_command_may_be_nested_ones():
    given = ["epochs=3", "sections#phantom_slices=[3, 6]", "device=$torch.device('cpu')", "a=b=c"]
    assert parse_settings(given) == {
        "epochs": 3,
        "sections#phantom_slices": [3, 6],
        "device": "$torch.device('cpu')",
        "a": "b=c",
    }
    for word in ("epochs", "=3"):
        with pytest.raises(ValueError, match=f"'{word}' is not KEY=VALUE, as the bundle's settings must be"):
            parse_settings([word])


def test_lists_may_be_written_as_for_a_bundle():
    """A list in Python's quotes was one text, and as a list of one class accepted."""
    assert parse_settings(["class_names=['a', 'b']", "regions={'whole': [1, 2]}"]) == {
        "class_names": ["a", "b"],
        "regions": {"whole": [1, 2]},
    }
    for word in ("class_names=[a, b]", "regions={'whole': [1, 2}"):
        with pytest.raises(ValueError, match=f"{re.escape(word)} is neither a list nor a mapping"):
            parse_settings([word])


def test_plan_has_teachers_before_students_and_each_once():
    runs = planned("table1", "--fold", "0", "3", "--seeds", "4", "5")
    names = [run.name for run in runs]
    assert len(names) == len(set(names)) == 2 * (6 + 2 * 10)
    for run in runs:
        if run.teacher is not None:
            assert run.teacher.endswith(f"-group{run.split['fold']}-seed4")
            assert names.index(run.teacher) < names.index(run.name)
    few = planned("table1", "--arms", "student_msgff", "--seeds", "0")
    assert [run.arm.name for run in few] == ["teacher_vgg_vit", "student_msgff"]


def test_arms_differ_in_what_they_are_about(data: Path, tmp_path: Path):
    table, runs = made("table1", tmp_path, data, "--seeds", "7", "--profile", "compact", "--set", "epochs=5")
    by_arm = {run.arm.name: table.settings_of(run) for run in runs if run.arm.name != "student_alone_longer"}
    assert by_arm["teacher_vit_vit"]["teacher_kind"] == "vit_vit"
    assert by_arm["teacher_vit_vit"]["epochs"] == EXPERIMENT.profile_settings("compact")["teacher_epochs"]
    assert by_arm["teacher_vit_vit"]["learning_rate"] == EXPERIMENT.profile_settings("compact")["teacher_learning_rate"]
    assert not {"teacher_epochs", "cache_teacher", "teacher_checkpoint"} & set(by_arm["teacher_vit_vit"])
    assert by_arm["student_vgg_vgg"]["teacher_kind"] == "vgg_vgg" and by_arm["student_vgg_vgg"]["beta"] == 0.0
    assert "beta" not in by_arm["student_msgff"] and by_arm["student_msgff"]["teacher_kind"] == "vgg_vit"
    assert by_arm["student_alone"]["method"] == "supervised" and "teacher_checkpoint" not in by_arm["student_alone"]
    assert {values["seed"] for values in by_arm.values()} == {7}
    assert {by_arm[arm]["epochs"] for arm in by_arm if arm.startswith("student")} == {5}


def test_a_teacher_of_larger_images_is_trained_on_them(data: Path, tmp_path: Path):
    sizes = ("image_size=32", "teacher_image_size=64")
    table, runs = made("table1", tmp_path, data, "--seeds", "7", "--profile", "tiny", "--set", *sizes)
    by_arm = {run.arm.name: table.settings_of(run) for run in runs if run.arm.name != "student_alone_longer"}
    assert by_arm["teacher_efficientnet_lite"]["image_size"] == 64
    student = by_arm["student_efficientnet_lite"]
    assert (student["image_size"], student["teacher_image_size"]) == (32, 64)


def test_the_student_alone_gets_the_time_of_the_distilled_one(data: Path, tmp_path: Path):
    table, runs = made("table1", tmp_path, data, "--seeds", "7", "--profile", "compact", "--set", "epochs=5")
    by_arm = {run.arm.name: run for run in runs}
    for arm, seconds in (("student_alone", 2.0), ("student_efficientnet_lite", 5.0)):
        folder = table.folder(by_arm[arm])
        folder.mkdir(parents=True)
        row = {"epoch": 1, "seconds": seconds, "cpu_seconds": seconds}
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    longer = by_arm["student_alone_longer"]
    names = [run.name for run in runs]
    assert names.index(longer.name) > names.index(by_arm["student_efficientnet_lite"].name)
    assert table.settings_of(longer)["epochs"] == 12  # 5 * 2.5, to an even number
    (table.folder(by_arm["student_alone"]) / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert table.settings_of(longer)["epochs"] == 12  # fixed at the first look
    with pytest.raises(ValueError, match="'student_alone_longer' needs the arms .*student_efficientnet_lite"):
        planned("table1", "--arms", "student_alone_longer", "student_alone")


def test_the_old_name_of_the_full_sizes(data: Path, tmp_path: Path):
    full, _ = made("table1", tmp_path, data, "--preset", "paper")
    assert full.profile == "full" and full.settings["image_size"] == 224 and "amp" not in full.settings


def test_weights_to_start_from_are_refused_before_anything_is_trained(phantoms: dict[str, Path], tmp_path: Path):
    words = ["--arms", "student_alone", "student_vgg_vit", "--seeds", "0", "--set"]
    table, runs = made("table1", tmp_path / "o", phantoms["table1"], *words, "n_folds=3")
    get = bundle_parser(bundle_folder("cls_kd"), table.settings_of(runs[-1])).get_parsed_content
    checkpoint = tmp_path / "t" / "model.pt"
    words += ["n_folds=3", f"student_pretrained={checkpoint}"]

    def possible(*folds: str) -> bool:
        own, planned_runs = made("table1", tmp_path / "o", phantoms["table1"], *words, "--fold", *folds)
        return own.possible(planned_runs) == planned_runs

    with pytest.raises(ValueError, match="student_pretrained: there is no file"):
        possible("0")
    save_weights(checkpoint, {"weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="does not fit this"):
        possible("0")
    save_weights(checkpoint, get("network_def").state_dict())
    SectionRecord.of(get("sections"), checkpoint.parent).write(checkpoint.parent / "sections.json")
    assert possible("0")
    with pytest.raises(SectionOverlapError, match="chosen on .* test patients"):
        possible("0", "1")
    assert not (tmp_path / "o").exists()


def test_networks_that_cannot_be_are_refused_before_anything_is_drawn(tmp_path: Path):
    """Of a branch that some kinds of teacher have, the first arms told nothing for hours."""
    arms = ["--arms", "student_alone", "teacher_efficientnet_lite", "teacher_efficientnet_lite_vit", "--seeds", "0"]
    table, runs = made("table1", tmp_path, tmp_path / "phantoms", *arms)
    assert table.possible(runs) == runs
    table, runs = made("table1", tmp_path, tmp_path / "phantoms", *arms, "--set", "vit_heads=3")
    with pytest.raises(ValueError, match="^teacher_efficientnet_lite_vit: .*3"):
        table.possible(runs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
def test_scores_are_those_of_the_training(phantoms: dict[str, Path], tmp_path: Path):
    words = ["--arms", "student_msgff", "--seeds", "0", "--set", "epochs=2"]
    table, runs = made("table1", tmp_path, phantoms["table1"], *words)
    table.do(runs, final=True)
    for record in read_experiment(tmp_path / "records")[: len(runs)]:
        text = (tmp_path / "runs" / record.name / "metrics.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line)["metrics"] for line in text.splitlines()]
        best = max(rows, key=lambda row: row["val_accuracy"])
        assert record.metrics["val_accuracy"] == pytest.approx(best["val_accuracy"])
        assert record.metrics["val_loss"] == pytest.approx(best["val_loss"], rel=1e-4)
        assert not [name for name in record.metrics if name.startswith("test")]
        hits = record.patients["val_patient_accuracy"].values()
        assert sum(hits) / len(hits) == pytest.approx(record.metrics["val_patient_accuracy"])


def _record(split: str, arm: str, test_accuracy: float, profile: str = "compact") -> RunRecord:
    metrics = {name: 0.5 for name in (*_METRICS, *_TEST)} | {"test_accuracy": test_accuracy}
    return RunRecord(
        name=f"{arm}-{split}", arm=arm, command=["ckdmed"], seed=0, split={"name": split, "fold": 0}, metrics=metrics,
        settings={"profile": profile},
    )  # fmt: skip


def test_ways_of_making_folds_are_never_mixed():
    records = [
        _record("slices", "student_alone", 0.9),
        _record("group", "student_alone", 0.75),
        _record("group", "student_vgg_vit", 0.8),
    ]
    by_person, by_slice = Table1.tables(records).split("### ")[1:]
    assert by_person.startswith("Folds by person") and "0.9000" not in by_person and "0.8000" in by_person
    assert by_slice.startswith("Folds by single slices") and "0.9000" in by_slice and "0.7500" not in by_slice
    with pytest.raises(ValueError, match="several sizes .compact, paper."):
        Table1.tables([*records, _record("group", "student_alone", 0.8, profile="paper")])


def test_runs_of_other_data_or_of_another_teacher_have_no_mean(data: Path, tmp_path: Path):
    """Seeds that were added with a datalist made anew, or without the first seed, stood in the same rows."""
    words = ["--arms", "student_msgff", "student_alone", "--seeds"]
    begun, runs = made("table1", tmp_path, data, *words, "0")
    for run in runs:
        begun._planned(run).write(tmp_path / "records/validation" / f"{run.name}.json")
    added, more = made("table1", tmp_path, data, *words, "1")
    with pytest.raises(ValueError, match="teacher_vgg_vit is trained once, .* with the seeds 0 and 1"):
        added.check_together(more)
    added, more = made("table1", tmp_path, data, *words, "0", "1")
    added.check_together(more)
    # a fold has teachers of its own
    other, of_fold = made("table1", tmp_path, data, *words, "1", "--fold", "1")
    other.check_together(of_fold)
    added.data_sha256 = "0" * 64
    with pytest.raises(ValueError, match="of several datalists"):
        added.check_together(more[-1:])
    # folds made in another way may need another one
    other, by_slice = made("table1", tmp_path, data, *words, "0", "--folds", "slices")
    other.data_sha256 = "0" * 64
    other.check_together(by_slice)


def test_sections_of_a_run_stand_in_one_line():
    whole = [_record("group", arm, accuracy) for arm, accuracy in (("student_alone", 0.7), ("student_vgg_vit", 0.8))]
    parts = []
    for record in whole:
        for section in ("validation", "test"):
            own = {
                name: value for name, value in record.metrics.items() if name.startswith("test") == (section == "test")
            }
            split = {**record.split, "section": section}
            parts.append(RunRecord(**{**vars(record), "metrics": own, "split": split}))
    assert Table1.tables(parts) == Table1.tables(whole)
    validated = Table1.tables([record for record in parts if record.split["section"] == "validation"])
    assert "val_accuracy" in validated and "test_accuracy" not in validated
