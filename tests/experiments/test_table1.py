from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckdmed.cli import main
from ckdmed.cli.run_arguments import parse_settings
from ckdmed.cli.table1 import _METRICS, _TEST, table_text
from ckdmed.experiments import table1
from ckdmed.experiments.table1 import PRESETS, Table1Settings, planned_runs, run_table1
from ckdmed.reports import RunRecord, read_records
from tests.bundle.bundle_runs import BUNDLES
from tests.bundle.cls_runs import STUDENT, TEACHER

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

SETTINGS = {
    **TEACHER,
    **STUDENT,
    "epochs": 1,
    "phantom_patients": 6,
    "sections#phantom_size": 48,
    "sections#phantom_slices": [3, 6],
    "image_size": 32,
    "device": "$torch.device('cpu')",
}


def options(output: Path, *more: str) -> list[str]:
    given = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={_text(value)}")]
    return ["table1", "--output-dir", str(output), "--bundles", str(BUNDLES), *given, *more]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_settings_of_the_command_may_be_nested_ones():
    given = ["epochs=3", "sections#phantom_slices=[3, 6]", "device=$torch.device('cpu')", "a=b=c"]
    assert parse_settings(given) == {
        "epochs": 3,
        "sections#phantom_slices": [3, 6],
        "device": "$torch.device('cpu')",
        "a": "b=c",
    }
    for word in ("epochs", "=3"):
        with pytest.raises(ValueError, match=f"'{word}' is no KEY=VALUE of the bundle's settings"):
            parse_settings([word])


def test_plan_has_teachers_before_students_and_each_once():
    runs = planned_runs(Table1Settings(Path("out"), bundles=BUNDLES, folds=(0, 3), seeds=(4, 5)))
    names = [run.name for run in runs]
    assert len(names) == len(set(names)) == 2 * (3 + 2 * 5)
    for run in runs:
        if run.teacher is not None:
            assert names.index(f"{run.teacher}-group{run.fold}-seed4") < names.index(run.name)
    few = planned_runs(Table1Settings(Path("out"), bundles=BUNDLES, seeds=(0,), arms=("student_msgff",)))
    assert [run.arm for run in few] == ["teacher_vgg_vit", "student_msgff"]


def test_arms_differ_in_what_they_are_about():
    settings = Table1Settings(Path("out"), dataset_dir="data", bundles=BUNDLES, preset="compact", seeds=(7,))
    by_arm = {run.arm: table1._overrides(settings, run) for run in planned_runs(settings)}
    assert by_arm["teacher_vit_vit"]["teacher_kind"] == "vit_vit"
    assert by_arm["teacher_vit_vit"]["epochs"] == PRESETS["compact"]["teacher_epochs"]
    assert by_arm["teacher_vit_vit"]["learning_rate"] == PRESETS["compact"]["teacher_learning_rate"]
    assert by_arm["student_vgg_vgg"]["teacher_kind"] == "vgg_vgg" and by_arm["student_vgg_vgg"]["beta"] == 0.0
    assert "beta" not in by_arm["student_msgff"] and by_arm["student_msgff"]["teacher_kind"] == "vgg_vit"
    assert by_arm["student_alone"]["method"] == "supervised"
    assert {values["seed"] for values in by_arm.values()} == {7}
    students = [by_arm[arm]["epochs"] for arm in by_arm if arm.startswith("student")]
    assert set(students) == {PRESETS["compact"]["epochs"]}


def test_interrupted_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    arms = ("--arms", "student_msgff", "student_alone", "--seeds", "0", "1")
    original, done = table1._do, []

    def counted(settings, run, overrides):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(run.name)
        return original(settings, run, overrides)

    monkeypatch.setattr(table1, "_do", counted)
    assert main(options(tmp_path, *arms)) == 130
    first = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "records").glob("*.json")}
    assert len(first) == 2 and not (tmp_path / "table1.md").exists()

    done.clear()
    monkeypatch.setattr(table1, "_do", lambda *given: done.append(given[1].name) or original(*given))
    assert main(options(tmp_path, *arms)) == 0
    assert done == ["student_alone-group0-seed0", "student_msgff-group0-seed1", "student_alone-group0-seed1"]
    assert all((tmp_path / "records" / name).read_text(encoding="utf-8") == text for name, text in first.items())

    records = read_records([tmp_path / "records"])
    assert len(records) == 5
    for record in records:
        assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_accuracy"} <= set(record.metrics)
        run = tmp_path / "runs" / record.name
        history = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        # the table's validation numbers are those of the training's own validation, measured anew
        assert record.metrics["val_accuracy"] == pytest.approx(max(row["metrics"]["val_accuracy"] for row in history))
        assert record.metrics["val_loss"] == pytest.approx(history[0]["metrics"]["val_loss"], rel=1e-4)
        assert not list(run.rglob("resume_epoch=*.pt")) and (run / "models" / "model.pt").is_file()
    students = [record for record in records if record.arm == "student_msgff"]
    assert all("msgff" not in record.settings["overrides"].get("method", "") for record in students)

    text = (tmp_path / "table1.md").read_text(encoding="utf-8")
    assert "| student alone " in text and "paired by seed and fold" in text and "Sizes: phantoms" in text
    assert text in capsys.readouterr().out
    assert main(options(tmp_path, "--table-only", "--table", str(tmp_path / "again.md"))) == 0
    assert (tmp_path / "again.md").read_text(encoding="utf-8") == text

    with pytest.raises(ValueError, match="is of a run with other settings"):
        run_table1(Table1Settings(tmp_path, bundles=BUNDLES, arms=("student_alone",), seeds=(0,)))


def _record(split: str, arm: str, test_accuracy: float, preset: str = "compact") -> RunRecord:
    metrics = {name: 0.5 for name in (*_METRICS, *_TEST)} | {"test_accuracy": test_accuracy}
    return RunRecord(
        name=f"{arm}-{split}", arm=arm, command=["ckdmed"], seed=0, split={"name": split, "fold": 0}, metrics=metrics,
        settings={"preset": preset},
    )  # fmt: skip


def test_ways_of_making_folds_are_never_mixed():
    records = [
        _record("slices", "student_alone", 0.9),
        _record("group", "student_alone", 0.75),
        _record("group", "student_vgg_vit", 0.8),
    ]
    by_person, by_slice = table_text(records).split("### ")[1:]
    assert by_person.startswith("Folds by person") and "0.9000" not in by_person and "0.8000" in by_person
    assert by_slice.startswith("Folds by single slices") and "0.9000" in by_slice and "0.7500" not in by_slice
    with pytest.raises(ValueError, match="several sizes .compact, paper."):
        table_text([*records, _record("group", "student_alone", 0.8, preset="paper")])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"preset": "big"}, "preset must be one of paper, compact, got 'big'"),
        ({"arms": ("student",)}, r"arms must be among .*, got \['student'\]"),
        ({"seeds": ()}, "must each be given once or more"),
        ({"bundles": Path("nowhere")}, "Run from the root of the repository"),
    ],
)
def test_refusals(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Table1Settings(**{"output_dir": Path("out"), "bundles": BUNDLES, **settings})
