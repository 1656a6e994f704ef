"""The engine with a trainer that trains nothing: what all experiments share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ckdmed.cli import ALIASES, main
from ckdmed.experiments import EXPERIMENTS, bundle_run, experiment, report
from ckdmed.experiments.records import listed_runs, read_experiment
from ckdmed.reports import read_values
from tests.experiments.trainers import FakeTrainer, install, made, options, planned

# few runs, of the baseline and of an arm beside it
FEW = {
    "compare": ["--arms", "teacher", "alone", "ckd", "--label_fractions", "0.5"],
    "ablation": ["--vary", "norm", "batch"],
    "unimodal": ["--students", "t1n", "--label_fractions", "0.5"],
    "table1": ["--arms", "student_msgff", "student_alone"],
    "methods": ["--arms", "kd"],
    "sweep": ["--method", "kd", "--over", "temperature=1"],
    "sizes": ["--widths", "2"],
}
# those that look at the test set when all is done
FINAL = [name for name in EXPERIMENTS if experiment(name).looks_at_test]
ALL = pytest.mark.parametrize("name", EXPERIMENTS)


def command(name: str, folder: Path, data: Path, *words: str) -> list[str]:
    given = ["--output_dir", str(folder), "--dataset_dir", str(data), "--profile", "tiny", "--seeds", "0", "1"]
    return ["experiment", name, *given, *FEW[name], *words]


@ALL
def test_what_is_done_is_not_repeated_and_the_test_section_is_looked_at_once(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    # drawn in the next test
    monkeypatch.setattr(report, "plot_forest", lambda *given, **more: None)
    given = command(name, tmp_path, data)
    runs = [run.name for run in planned(name, "--seeds", "0", "1", *FEW[name])]
    trainer = install(monkeypatch, FakeTrainer(fails_at=runs[-1]))
    assert main(given) == 130
    assert [asked for asked in trainer.asked if asked[1] == "train"] == [(run, "train") for run in runs]
    assert not list((tmp_path / "records").rglob(f"{runs[-1]}.json")) and not (tmp_path / f"{name}.md").exists()
    first = {path: path.read_bytes() for path in (tmp_path / "records").rglob("*.json")}
    assert len(first) == len(runs) - 1

    trainer = install(monkeypatch, FakeTrainer())
    assert main(given) == 0
    assert trainer.asked[0] == (runs[-1], "train") and len(trainer.asked) == 2
    assert all(path.read_bytes() == content for path, content in first.items())
    assert not list((tmp_path / "runs").rglob("resume_epoch=*"))
    printed = capsys.readouterr().out
    assert f"[1/{len(runs)}] {runs[0]}: done before" in printed and f"{runs[-1]}: train" in printed
    assert "Test set" not in printed and not (tmp_path / "records" / "test").exists()

    # a kill between the record and the deletion of what only a broken-off run needs
    needless = tmp_path / "runs" / runs[0] / "models" / "resume_epoch=0002.pt"
    needless.write_bytes(b"")
    trainer = install(monkeypatch, FakeTrainer())
    final = ["--final"] if name in FINAL else []
    assert main([*given, *final]) == main([*given, *final]) == 0
    assert trainer.asked == [(run, "test") for run in runs if final] and not needless.exists()


def test_test_scores_of_an_earlier_training_are_not_taken_for_those_of_a_new_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    install(monkeypatch, FakeTrainer())
    name = planned("compare", "--seeds", "0", "1", *FEW["compare"])[-1].name
    assert main(command("compare", tmp_path, data, "--final")) == 0
    (tmp_path / "records/validation" / f"{name}.json").unlink()
    (tmp_path / "runs" / name).rename(tmp_path / "away")
    trainer = install(monkeypatch, FakeTrainer())
    scored = tmp_path / "records/test" / f"{name}.json"
    assert main(command("compare", tmp_path, data, "--final")) == 2
    assert f"{scored}: is of an earlier training" in capsys.readouterr().err and trainer.asked == []
    scored.unlink()
    assert main(command("compare", tmp_path, data, "--final")) == 0
    assert trainer.asked == [(name, "train"), (name, "validation"), (name, "test")]


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in FINAL])
def test_some_never_look_at_the_test_set(name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(command(name, tmp_path, data, "--final"))
    assert "unrecognized arguments: --final" in capsys.readouterr().err


@ALL
def test_tables_with_both_intervals_a_picture_and_one_file_of_records(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    install(monkeypatch, FakeTrainer())
    final = ["--final"] if name in FINAL else []
    assert main(command(name, tmp_path / "o", data, *final, "--collect")) == 0
    text = (tmp_path / "o" / f"{name}.md").read_text(encoding="utf-8")
    assert "difference [95% interval]" in text
    assert ("[95% interval, Holm]" if experiment(name).holm else "[95% interval over patients]") in text
    shown = read_values(tmp_path / "o" / f"{name}.png")
    if name not in ("sweep", "sizes"):
        (panel,) = shown.values()
        assert all(len(over_patients) == len(over_seeds) == 3 for over_patients, over_seeds in panel.values())
    # from the records alone, wherever the table goes; by a line each in one file
    again = ["--table-only", "--table", str(tmp_path / "again.md"), "--collect", str(tmp_path / "again.jsonl")]
    assert main(["experiment", name, "--output_dir", str(tmp_path / "o"), *again]) == 0
    assert (tmp_path / "again.md").read_text(encoding="utf-8") == text
    assert read_values(tmp_path / "again.png") == shown
    own = tmp_path / "o" / f"{name}.jsonl"
    assert own.read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    lines = own.read_text(encoding="utf-8").splitlines()
    files = list((tmp_path / "o" / "records").rglob("*.json"))
    assert len(lines) == len(files) and {json.loads(line)["split"]["section"] for line in lines} == {
        "validation",
        *(["test"] if final else []),
    }
    assert experiment(name).tables(read_experiment(own)) == text
    # no place of this machine is in a record's settings
    assert all(str(tmp_path) not in json.dumps(json.loads(line)["settings"]) for line in lines)
    # what is there is not replaced unasked
    assert main(["experiment", name, "--output_dir", str(tmp_path / "o"), *again]) == 2
    assert "already exists" in capsys.readouterr().err


@ALL
@pytest.mark.parametrize("setting", ["epoch=3", "epochs=abc", "batch_size=0", "seed=3", "ckpt_dir=shared"])
def test_wrong_settings_are_refused_before_phantoms_are_drawn(
    name: str, setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--output_dir", str(tmp_path / "out"), "--profile", "tiny", *FEW[name], "--set", "image_size=32", setting]
    assert main(["experiment", name, *words]) == 2
    assert setting.split("=")[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("compare", "method=kd"),
        ("table1", "method=kd"),
        *(
            ("unimodal", setting)
            for setting in ("method=kd", "label_fraction=0.25", 'student_modalities=["t2w"]', "teacher_seed=3")
        ),
        ("unimodal", "teachers_dir=teachers"),
    ],
)
def test_what_each_arm_has_of_its_own_is_no_setting_of_all(name: str, setting: str) -> None:
    """They were accepted, and each run had another value; a seed of the teachers beside ``--teacher_seed``."""
    with pytest.raises(ValueError, match=f"the command sets {setting.split('=')[0]} itself"):
        experiment(name).given_settings(options(name, *FEW[name], "--set", setting))


@pytest.mark.parametrize("name", ["compare", "unimodal"])
@pytest.mark.parametrize("setting", ["label_fraction=0.25", "seed=9", "dataset_dir=others", "output_dir=elsewhere"])
def test_a_variant_does_not_set_what_the_command_sets(name: str, setting: str) -> None:
    """A label fraction had no effect; of other data the record said nothing."""
    words = [*FEW[name], "--seeds", "0", "--variant", "own", "method=kd"]
    assert planned(name, *words)[-1].arm.settings["method"] == "kd"
    with pytest.raises(ValueError, match=f"--variant own: the command sets {setting.split('=')[0]} itself"):
        planned(name, *words, setting)


@ALL
def test_a_dry_run_writes_nothing_and_the_old_command_is_an_alias(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--output_dir", str(tmp_path / "out"), "--preset", "tiny", "--dry-run", *FEW[name]]
    assert main(["experiment", name, *words]) == 0
    listed = capsys.readouterr().out
    assert len(listed.splitlines()) > 1
    words[0] = "--out"
    if name in ALIASES:
        assert main([name, *words]) == 0
        assert capsys.readouterr().out == listed
    assert list(tmp_path.iterdir()) == []


@ALL
def test_refusals(name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for extra, message in (
        (["--set", "epochs"], "'epochs' is not KEY=VALUE"),
        (["--seeds", "1", "1"], "seeds must be one or more different"),
        (["--table-only"], "holds no records"),
        (["--table-only", "--dry-run"], "leave out --dry-run, or --table-only"),
        (["--table-only", "--executor", "local"], "leave out --executor, or --table-only"),
        (["--table", str(tmp_path / "mine.PNG")], "mine.PNG: a picture is written beside the tables"),
        (["--bundles", str(tmp_path)], "there is no bundle"),
        (["--dataset_dir", str(tmp_path)], f"ckdmed {experiment(name).datalist_command}"),
    ):
        assert main(command(name, tmp_path / "out", data, *extra)) == 2
        assert message in capsys.readouterr().err
    if name in FINAL:
        assert main(command(name, tmp_path / "out", data, "--table-only", "--final")) == 2
        assert "leave out --final, or --table-only" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@ALL
def test_other_settings_or_data_need_another_folder(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeTrainer())
    before, runs = made(name, tmp_path, data, "--seeds", "0", *FEW[name])
    assert [line[:4] for line in listed_runs(tmp_path, runs)] == ["    "] * len(runs)
    before.do(runs)
    assert [line[:4] for line in listed_runs(tmp_path, runs)] == ["done"] * len(runs)
    changed, _ = made(name, tmp_path, data, *FEW[name], "--set", "batch_size=3")
    with pytest.raises(ValueError, match="made with other settings .*batch_size .* then and 3 now"):
        changed.done(runs[0])
    # a record that is there is looked at before any training, whichever run comes first
    first = changed.record_path(runs[0], "validation")
    kept = first.read_bytes()
    if len(runs) > 1:
        first.unlink()
        trainer = FakeTrainer()
        install(monkeypatch, trainer)
        with pytest.raises(ValueError, match="made with other settings .*batch_size .* then and 3 now"):
            changed.do(runs)
        assert not trainer.asked
        first.write_bytes(kept)
    # a setting that is left out is another one as well
    left_out, _ = made(name, tmp_path, data, *FEW[name])
    changed.record_path(runs[0], "validation").unlink()
    changed._record(runs[0], "validation")
    with pytest.raises(ValueError, match="made with other settings .*batch_size 3 then"):
        left_out.done(runs[0])
    left_out.record_path(runs[0], "validation").unlink()
    before._record(runs[0], "validation")
    before.data_sha256 = "0" * 64
    with pytest.raises(ValueError, match="made with other settings .another datalist"):
        before.done(runs[0])


def test_a_run_under_another_default_of_its_method_is_another_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeTrainer())
    before, runs = made("methods", tmp_path, data, "--seeds", "0", *FEW["methods"])
    before.do(runs)
    (student,) = (run for run in runs if run.arm.name == "kd")
    (teacher,) = (run for run in runs if run.arm.name == "teacher")
    path = before.record_path(student, "validation")
    content = json.loads(path.read_text())
    assert content["options"]["w_logit"] == 0.5 and "w_logit" not in content["settings"]
    assert json.loads(before.record_path(teacher, "validation").read_text())["options"] == {}
    content["options"]["w_logit"] = 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="made with other settings .w_logit 1.0 then and 0.5 now"):
        before.done(student)
    # a seed beside it would have no mean with it
    _, (*_, other) = made("methods", tmp_path, data, "--seeds", "0", "1", *FEW["methods"])
    with pytest.raises(ValueError, match="different settings .w_logit (1.0 and 0.5|0.5 and 1.0)"):
        before.train(other)
    # as it was then it is the same
    same, _ = made("methods", tmp_path, data, "--seeds", "0", *FEW["methods"], "--set", "w_logit=1.0")
    assert same.done(student)


@ALL
def test_seeds_that_are_added_with_other_settings_have_no_mean_with_those_before(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = install(monkeypatch, FakeTrainer())
    before, runs = made(name, tmp_path, data, *FEW[name], "--seeds", "0")
    before.do(runs)
    same, more = made(name, tmp_path, data, *FEW[name], "--seeds", "0", "1")
    trained = [run for run in more if not same.done(run)]
    same.do(more)
    other, others = made(name, tmp_path, data, *FEW[name], "--seeds", "0", "2", "--set", "batch_size=3")
    new = [run for run in others if not other.record_path(run, "validation").is_file()]
    asked = len(trainer.asked)
    with pytest.raises(ValueError, match="different settings .batch_size .* and 3.*a folder of their own"):
        other.train(new[0])
    assert trained and len(trainer.asked) == asked
    # nor have records that came together otherwise
    records = read_experiment(tmp_path / "records")
    larger = replace(records[-1], arm="another", name="another", settings={**records[-1].settings, "profile": "full"})
    with pytest.raises(
        ValueError, match="the (runs|records) are of (the profiles full, tiny|several sizes .full, tiny)"
    ):
        experiment(name).check_records([*records, larger])
    odd = replace(records[-1], name="odd", seed=7, settings={**records[-1].settings, "batch_size": 3})
    with pytest.raises(ValueError, match=f"and odd of the arm {odd.arm} were made with different settings .batch_size"):
        experiment(name).tables([*records, odd])


@pytest.mark.parametrize(
    ("name", "first", "second", "setting"),
    [
        ("compare", ["--arms", "alone"], ["--arms", "teacher", "ckd"], "batch_size=3"),
        ("unimodal", ["--strategies", "alone"], ["--strategies", "distilled"], "batch_size=3"),
        ("table1", ["--arms", "student_alone"], ["--arms", "student_vgg_vit"], "batch_size=3"),
        # what the student alone, which both have, does not read
        ("methods", ["--arms", "kd"], ["--arms", "ckd"], "teacher_flips=True"),
    ],
)
def test_arms_that_are_added_have_the_settings_of_those_before(
    name: str, first: list[str], second: list[str], setting: str, data: Path, tmp_path: Path, monkeypatch
) -> None:
    """One table held a student alone of one batch size and a distilled one of another."""
    trainer = install(monkeypatch, FakeTrainer())
    few = {"compare": ["--label_fractions", "1"], "unimodal": ["--students", "t1n", "--label_fractions", "1"]}
    shared = ["--seeds", "0", *few.get(name, [])]
    before, runs = made(name, tmp_path, data, *shared, *first, "--set", setting)
    before.do(before.possible(runs))
    asked = len(trainer.asked)
    added, more = made(name, tmp_path, data, *shared, *second)
    with pytest.raises(ValueError, match=f"beside the runs to train, was made with other settings .{setting[:8]}"):
        added.possible(more)
    assert len(trainer.asked) == asked
    same, more = made(name, tmp_path, data, *shared, *second, "--set", setting)
    same.do(same.possible(more))
    # what is done has its table
    assert added.possible([]) == [] and len(trainer.asked) > asked


def test_each_method_may_be_given_options_that_suit_it(data: Path, tmp_path: Path, monkeypatch) -> None:
    install(monkeypatch, FakeTrainer())
    first, runs = made("methods", tmp_path, data, "--seeds", "0", "--arms", "kd", "--set", "temperature=8")
    first.do(first.possible(runs))
    second, more = made("methods", tmp_path, data, "--seeds", "0", "--arms", "ckd")
    assert {run.arm.name for run in second.possible(more)} >= {"ckd"}


@pytest.mark.parametrize("name", ["compare", "unimodal"])
def test_runs_that_no_table_could_hold_are_refused_before_any_is_trained(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The arms before the one at fault were trained first."""
    install(monkeypatch, FakeTrainer())
    assert main(command(name, tmp_path, data, "--seeds", "0")) == 0
    trainer = install(monkeypatch, FakeTrainer())
    # of the student alone it is no setting
    for words in (["--set", "temperature=8"], ["--set", "temperature=8", "--dry-run"]):
        assert main(command(name, tmp_path, data, "--seeds", "1", *words)) == 2
        assert "were made with different settings (temperature" in capsys.readouterr().err
    assert not trainer.asked


@ALL
def test_a_run_on_other_data_than_those_beside_it_is_not_trained(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the tables would be refused after it
    trainer = install(monkeypatch, FakeTrainer())
    before, runs = made(name, tmp_path, data, *FEW[name], "--seeds", "0")
    before.do(runs[:1])
    asked = len(trainer.asked)
    before.data_sha256 = "0" * 64
    with pytest.raises(ValueError, match="of several datalists"):
        before.train(runs[1])
    assert len(trainer.asked) == asked


@pytest.mark.parametrize(
    ("name", "done", "compared"),
    [
        ("compare", {"alone 0", "ckd 1"}, True),
        ("methods", {"supervised 0", "kd 1"}, True),
        ("methods", {"supervised 0", "teacher 0"}, False),
    ],
)
def test_a_half_done_comparison_has_its_tables(
    name: str, done: set[str], compared: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs at a time end in any order; without a run of the baseline's seed of some arm there was no table at all."""
    install(monkeypatch, FakeTrainer())
    begun, runs = made(name, tmp_path, data, *FEW[name], "--seeds", "0", "1")
    for run in runs:
        if f"{run.arm.name} {run.seed}" in done:
            begun.train(run)
    assert main(["experiment", name, "--output_dir", str(tmp_path), "--table-only"]) == 0
    assert ("no shared runs" in (tmp_path / f"{name}.md").read_text(encoding="utf-8")) == compared


def test_the_test_section_is_for_finished_runs(data: Path, tmp_path: Path) -> None:
    fresh, runs = made("ablation", tmp_path, data, "--vary", "norm", "batch")
    with pytest.raises(ValueError, match="base-seed=0 is not finished"):
        fresh.test(runs[0])


def test_a_failed_training_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class Fails:
        def initialize(self) -> None:
            raise RuntimeError("Failed to evaluate '@network'") from ValueError("t9 is no sequence")

    monkeypatch.setattr(bundle_run, "bundle_workflow", lambda *given: Fails())
    assert main(command("ablation", tmp_path, data)) == 2
    assert "error: base-seed=0: t9 is no sequence" in capsys.readouterr().err


def test_names_of_experiments() -> None:
    with pytest.raises(
        ValueError, match="no experiment 'compares'; there are compare, ablation, unimodal, table1, methods"
    ):
        experiment("compares")
    assert all(experiment(name).name == name for name in EXPERIMENTS)
