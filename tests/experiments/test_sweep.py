from __future__ import annotations

import math
from pathlib import Path

import pytest

from ckdmed.cli import main
from ckdmed.experiments.cases import case_phantoms
from ckdmed.experiments.records import read_experiment
from ckdmed.experiments.sweep import BASE, Sweep, swept_values
from ckdmed.experiments.tasks import TASKS
from ckdmed.files import write_json
from ckdmed.json_files import read_json
from ckdmed.reports import RunRecord, read_values
from tests.experiments.trainers import FakeTrainer, install, made, options, planned


def arms(*words: str) -> dict[str, dict]:
    """Arm -> its settings, of the students that are taught."""
    runs = planned("sweep", "--seeds", "0", *words)
    assert runs[0].arm.name == "supervised" and runs[1].arm.name == "teacher"
    return {run.arm.name: dict(run.arm.settings) for run in runs[2:]}


def test_one_change_at_a_time():
    found = arms("--method", "kd", "--over", "temperature=1,2,4", "w_logit=0.25")
    assert found == {
        "defaults": {"method": "kd", "temperature": 2.0, "w_logit": 0.5},
        "temperature=1": {"method": "kd", "temperature": 1, "w_logit": 0.5},
        "temperature=4": {"method": "kd", "temperature": 4, "w_logit": 0.5},
        "w_logit=0.25": {"method": "kd", "temperature": 2.0, "w_logit": 0.25},
    }


def test_every_combination_of_two():
    found = arms("--bundle", "cls_kd", "--method", "kd", "--over", "temperature=1,4", "--over", "alpha=0.1,1", "--grid")
    assert list(found) == ["temperature=1", "temperature=1+alpha=1", "defaults", "alpha=1"]
    assert [(own["temperature"], own["alpha"]) for own in found.values()] == [(1, 0.1), (1, 1), (4, 0.1), (4, 1)]


def test_other_settings_of_the_bundle_and_values_that_are_lists():
    found = arms("--method", "msgff", "--over", "scales=[null,1],[null,1,2]", "--over", "learning_rate=0.001")
    assert list(found) == ["defaults", "scales=[null,1]", "scales=[null,1,2]", "learning_rate=0.001"]
    # what the profile sets, and what the bundle says where nothing sets it
    assert found["defaults"]["learning_rate"] == 0.004 and found["defaults"]["scales"] is None
    assert arms("--method", "kd", "--over", "weight_decay=0.01")["defaults"]["weight_decay"] == 0.0001
    given = arms("--method", "kd", "--over", "learning_rate=0.004,0.1", "--set", "epochs=3")
    assert list(given) == ["defaults", "learning_rate=0.1"]


def test_the_runs_are_given_the_values(tmp_path: Path, data: Path):
    sweep, runs = made(
        "sweep", tmp_path, data, "--seeds", "3", "--method", "kd", "--over", "temperature=8", "--set", "w_sup=2"
    )
    given = {run.arm.name: sweep.settings_of(run) for run in runs}
    assert given["temperature=8"]["temperature"] == 8 and given["defaults"]["temperature"] == 2.0
    assert given["temperature=8"]["w_sup"] == given["supervised"]["w_sup"] == 2 and given["defaults"]["seed"] == 3
    assert given["defaults"]["teacher_checkpoint"].endswith("teacher-seed=3/models/model.pt")


def test_regions_of_brats_cases(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture):
    words = ["--bundle", "brats_seg_kd", "--seeds", "0", "--method", "class_affinity", "--over", "w_sup=1,2"]
    sweep, runs = made("sweep", tmp_path, data, *words)
    assert {run.arm.bundle for run in runs} == {"brats_seg_kd", "brats_seg_teacher"}
    given = {run.arm.name: sweep.settings_of(run) for run in runs}
    assert given["w_sup=2"]["slices_per_epoch"] == given["teacher"]["slices_per_epoch"] == 16
    assert given["teacher"]["epochs"] == 1 and given["supervised"]["epochs"] == 2
    # the sizes are those of volumes where these are trained on
    args = options("sweep", *words, "--set", "spatial_dims=3")
    args.profile = "compact"
    settings = Sweep.given_settings(args)
    assert (settings["batch_size"], settings["vit_img_size"], settings["spatial_dims"]) == (2, 32, 3)
    # without a datalist the command that makes one is that of cases
    shell = ["experiment", "sweep", *words, "--profile", "tiny", "--output_dir", str(tmp_path / "o")]
    assert main([*shell, "--dataset_dir", str(tmp_path)]) == 2
    assert "make it with `ckdmed brats-datalist" in capsys.readouterr().err


def test_the_student_alone_leaves_out_cases_that_have_no_mask_in_the_datalist(tmp_path: Path):
    folder = case_phantoms(tmp_path / "cases", 6, (32, 32, 24), 0, (0.7, 0.15, 0.15))
    words = ["--bundle", "brats_seg_kd", "--seeds", "0", "--method", "kd", "--over", "w_logit=2"]
    words += ["--set", "spatial_dims=3"]

    def planned_epochs() -> tuple[int, int, bool]:
        sweep, runs = made("sweep", tmp_path / "out", folder, *words)
        given = {run.arm.name: sweep.settings_of(run) for run in runs}
        alone = given["supervised"]
        return alone["epochs"], given["w_logit=2"]["epochs"], "train#dataset#items" in alone

    assert planned_epochs() == (2, 2, False)
    datalist = read_json(folder / "datalist.json")
    assert len(datalist["training"]) == 4
    for case in datalist["training"][1:]:
        del case["label"]
    write_json(folder / "datalist.json", datalist)
    assert planned_epochs() == (8, 2, True)


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_sweep_on_phantoms_of_cases(spatial_dims: int, tmp_path: Path):
    words = [
        "--bundle",
        "brats_seg_kd",
        "--method",
        "kd",
        "--over",
        "temperature=1",
        "--seeds",
        "0",
        "--profile",
        "tiny",
    ]
    words += ["--phantom_cases", "6", "--phantom_shape", "24", "24", "16", "--output_dir", str(tmp_path)]
    volumes = ["spatial_dims=3", "roi_size=[16,16,16]", "batch_size=2"] if spatial_dims == 3 else []
    assert main(["experiment", "sweep", *words, "--set", "device=$torch.device('cpu')", "epochs=1", *volumes]) == 0
    records = {path.stem: RunRecord.read(path) for path in (tmp_path / "records/validation").glob("*.json")}
    assert set(records) == {f"{arm}-seed=0" for arm in ("supervised", "teacher", "defaults", "temperature=1")}
    record = records["temperature=1-seed=0"]
    assert record.split["task"] == "regions" and set(TASKS["regions"].scores) <= set(record.metrics)
    assert set(record.patients) == {"Dice"} and record.settings.get("spatial_dims", 2) == spatial_dims
    text = (tmp_path / "sweep.md").read_text(encoding="utf-8")
    assert "### Regions, validation set" in text and "lesion-wise Dice" in text and "HD95 [mm]" in text
    assert read_values(tmp_path / "sweep.png")["score"] == "Dice"


def test_values_of_words():
    assert swept_values(["a=1,2.5", "b=uniform,feature_lines", "c=[1,2],null", "d=true"]) == {
        "a": [1, 2.5],
        "b": ["uniform", "feature_lines"],
        "c": [[1, 2], None],
        "d": [True],
    }
    assert swept_values(["a=null,affine", "b=false,bf16,2"]) == {"a": [None, "affine"], "b": [False, "bf16", 2]}


def test_null_among_words_is_the_default_and_no_arm_of_its_own():
    found = arms("--method", "kd", "--over", "student_view=null,affine")
    assert [settings["student_view"] for settings in found.values()] == [None, "affine"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--over", "temperature=1"], "a sweep needs --method NAME and --over"),
        (["--method", "kd"], "a sweep needs --method NAME and --over"),
        (["--method", "kd", "--over", "temperature"], "'temperature' is not SETTING=VALUE,VALUE"),
        (["--method", "kd", "--over", "temperature=1,1"], "give all values of a setting at once, each one once"),
        (["--method", "kd", "--over", "temperature=1,1.0"], "give all values of a setting at once, each one once"),
        (["--method", "kd", "--over", "temperature=1", "temperature=2"], "give all values of a setting at once"),
        (["--method", "kd", "--over", "w_feat=1"], "'kd' has no option w_feat; it has w_sup, w_logit, w_dice"),
        (["--method", "kd", "--over", "temperatur=1"], "'temperatur' is not a setting of this bundle; did you mean"),
        (["--method", "kd", "--over", "temperature=-1"], "temperature"),
        (["--method", "kd", "--over", "train#dataset#cache_rate=1"], "train#dataset#cache_rate is part of a setting"),
        (["--method", "kd", "--over", "seed=1,2"], "the command sets seed itself"),
        (
            ["--method", "kd", "--over", "temperature=1", "--set", "temperature=3"],
            "temperature is given with --set and with",
        ),
        (["--method", "kd", "--over", "temperature=1", "--grid"], "a grid takes 2 settings, got temperature"),
        (["--method", "supervised", "--over", "w_sup=1"], "is the student alone, with which a sweep is compared"),
        (["--method", "kdd", "--over", "w_sup=1"], "there is no method 'kdd' for segmentation; did you mean"),
    ],
)
def test_refusals(words: list[str], message: str, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]):
    given = [
        "experiment",
        "sweep",
        "--profile",
        "tiny",
        "--dataset_dir",
        str(data),
        "--output_dir",
        str(tmp_path / "o"),
    ]
    assert main([*given, *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "o").exists()


def record(arm: str, seed: int, score: float, **settings: object) -> RunRecord:
    task = TASKS["segmentation"]
    metrics = {name: score + 0.01 * seed for name in (*task.scores, *task.distances)}
    patients = {task.patient_score: {f"p{number}": score + 0.01 * number for number in range(5)}}
    method = {"supervised": {"method": "supervised"}, "teacher": {}}.get(arm, {"method": "kd"})
    own = {**method, **settings, "seed": seed, "epochs": 2}
    return RunRecord(f"{arm}-{seed}", arm, ["x"], seed, {"task": "segmentation", "section": "validation"}, metrics,
                     patients, settings=own)  # fmt: skip


ALONE: tuple[str, float, dict] = ("supervised", 0.5, {})


def runs_of(*given: tuple[str, float, dict]) -> list[RunRecord]:
    students = [record(arm, seed, score, **own) for seed in (0, 1) for arm, score, own in (ALONE, *given)]
    return [record("teacher", 0, 0.9), *students]


def test_lines_table_and_order(tmp_path: Path):
    records = runs_of(
        ("temperature=8", 0.58, {"temperature": 8, "w_logit": 1.0}),
        ("w_logit=0.5", 0.55, {"temperature": 2.0, "w_logit": 0.5}),
        ("defaults", 0.6, {"temperature": 2.0, "w_logit": 1.0}),
        ("temperature=1", 0.7, {"temperature": 1, "w_logit": 1.0}),
    )
    assert Sweep.picture(records, tmp_path / "x.png") == tmp_path / "x.png"
    shown = read_values(tmp_path / "x.png")
    assert shown["score"] == "Dice per slice" and shown["reference"] == [0.5, 0.51]
    assert {name: list(line) for name, line in shown["lines"].items()} == {
        "temperature": ["1", "2.0", "8"],
        "w_logit": ["0.5", "1.0"],
    }
    assert shown["lines"]["temperature"]["8"] == [0.58, 0.59] and shown["lines"]["w_logit"]["1.0"] == [0.6, 0.61]
    text = Sweep.tables(records)
    primary = next(part for part in text.split("\n\n") if part.startswith("| arm"))
    rows = [line.split("|")[1].strip() for line in primary.splitlines()[2:]]
    assert text.startswith("Method: kd.") and rows[0] == "defaults (temperature 2.0, w_logit 1.0)"
    assert rows[1:] == ["temperature=1", "temperature=8", "w_logit=0.5"]
    other = [
        RunRecord(**{**vars(r), "settings": {**r.settings, "method": "cwd"}}) for r in records if r.arm == "defaults"
    ]
    with pytest.raises(ValueError, match="the records are of the methods cwd, kd; a sweep covers one"):
        Sweep.tables([*records, *other])


def test_heat_map_of_a_grid(tmp_path: Path):
    values = [(t, w) for t in (1, 2.0, 10) for w in (0.5, 1.0)]
    named = {(2.0, 1.0): "defaults", (1, 1.0): "temperature=1", (10, 1.0): "temperature=10", (2.0, 0.5): "w_logit=0.5"}
    records = runs_of(
        *(
            (
                named.get((t, w), f"temperature={t}+w_logit={w}"),
                0.5 + t / 100 + w / 10,
                {"temperature": t, "w_logit": w},
            )
            for t, w in reversed(values)
        )
    )
    Sweep.picture(records, tmp_path / "x.png")
    shown = read_values(tmp_path / "x.png")
    assert shown["names"] == ["temperature", "w_logit"]
    cells = {(x, y): runs for x, y, runs in shown["cells"]}
    assert set(cells) == {(str(t), str(w)) for t, w in values}
    assert cells["10", "0.5"] == pytest.approx([0.65, 0.66])
    # numbers stand in their order, not in that of their texts
    assert list(dict.fromkeys(x for x, _, _ in shown["cells"])) == ["1", "2.0", "10"]


def test_nothing_to_draw_while_one_value_has_run(tmp_path: Path):
    records = runs_of(("defaults", 0.6, {"temperature": 2.0}))
    assert Sweep.picture(records, tmp_path / "x.png") is None and "defaults" in Sweep.tables(records)
    assert Sweep.picture(runs_of(), tmp_path / "x.png") is None and "student alone" in Sweep.tables(runs_of())
    assert not (tmp_path / "x.png").exists() and math.isfinite(records[0].metrics["Dice per slice"])


def test_a_grid_without_the_defaults_has_a_table(tmp_path: Path):
    values = [(t, w) for t in (1, 4) for w in (0.3, 0.5)]
    records = runs_of(*((f"temperature={t}+w_logit={w}", 0.5, {"temperature": t, "w_logit": w}) for t, w in values))
    assert "temperature=1, w_logit=0.3" in Sweep.tables(records) and BASE not in Sweep.tables(records)


def test_a_heat_map_is_of_the_two_settings_that_changed_together(tmp_path: Path):
    values = [(t, w) for t in (1, 4) for w in (0.3, 0.7)]
    grid = [(f"temperature={t}+w_logit={w}", 0.5, {"temperature": t, "w_logit": w}) for t, w in values]
    # of another grid, of one setting alone, and of a number with a sign in it
    others = [
        ("w_sup=2+w_logit=0.3", 0.9, {"w_sup": 2, "w_logit": 0.3}),
        ("w_sup=3", 0.8, {"w_sup": 3}),
        ("w_sup=1e+20", 0.7, {"w_sup": 1e20}),
        ("temperature=4", 0.6, {"temperature": 4}),
    ]
    Sweep.picture(runs_of(*others, *grid), tmp_path / "x.png")
    shown = read_values(tmp_path / "x.png")
    cells = {(x, y): runs for x, y, runs in shown["cells"]}
    assert shown["names"] == ["temperature", "w_logit"]
    # what one of them alone changed has the default of the other
    assert set(cells) == {(str(t), str(w)) for t, w in values} | {("4", "0.5")}
    assert cells["4", "0.5"] == pytest.approx([0.6, 0.61]) and cells["1", "0.3"] == pytest.approx([0.5, 0.51])


def trained(folder: Path, data: Path, trainer: FakeTrainer, *words: str) -> list[str]:
    """Run a sweep and return the names of what was trained."""
    sweep, runs = made("sweep", folder, data, "--method", "kd", *words)
    trainer.asked.clear()
    sweep.do(runs)
    return [name for name, what in trainer.asked if what == "train"]


def test_a_sweep_is_extended_by_other_settings(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
    trainer = install(monkeypatch, FakeTrainer())
    first = ("--seeds", "0", "--over", "w_logit=0.25", "temperature=1")
    whole = trained(tmp_path, data, trainer, *first)
    assert whole == [f"{arm}-seed=0" for arm in ("supervised", "teacher", "defaults", "w_logit=0.25", "temperature=1")]
    # an option of the method less, a setting of the bundle more
    second = ("--seeds", "0", "--over", "w_logit=0.25,0.1", "weight_decay=0.01")
    assert trained(tmp_path, data, trainer, *second) == ["w_logit=0.1-seed=0", "weight_decay=0.01-seed=0"]
    assert trained(tmp_path, data, trainer, *first) == [] == trained(tmp_path, data, trainer, *second)
    # runs of one arm that were planned in different words have a common mean
    more = trained(tmp_path, data, trainer, "--seeds", "0", "1", "--over", "temperature=1", "w_sup=2")
    seed_1 = [f"{arm}-seed=1" for arm in ("supervised", "defaults", "temperature=1", "w_sup=2")]
    assert more == ["w_sup=2-seed=0", *seed_1]
    records = read_experiment(tmp_path / "records")
    shown = "defaults (temperature 2.0, w_sup 1.0, w_logit 0.5, weight_decay 0.0001)"
    assert set(Sweep.arm_labels(records)) == {
        *("supervised", "defaults", "temperature=1", "w_sup=2", "w_logit=0.1", "w_logit=0.25", "weight_decay=0.01"),
    }
    named = Sweep.arm_labels(records)["defaults"]
    assert sorted(named.strip(")").split(" (")[1].split(", ")) == sorted(shown.strip(")").split(" (")[1].split(", "))
    assert Sweep.tables(records).count("temperature=1 ") > 1
    Sweep.picture(records, tmp_path / "x.png")
    lines = read_values(tmp_path / "x.png")["lines"]
    assert {name: list(line) for name, line in lines.items()} == {
        "temperature": ["1", "2.0"],
        "w_logit": ["0.1", "0.25", "0.5"],
        "w_sup": ["1.0", "2"],
        "weight_decay": ["0.0001", "0.01"],
    }
    assert [len(runs) for runs in lines["w_logit"].values()] == [1, 1, 2]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["w_logit=0.25"], ["w_logit=0.25", "--set", "temperature=3"], "temperature 2.0 then and 3 now"),
        (["w_logit=0.25", "--set", "temperature=3"], ["w_logit=0.25"], "temperature 3 then and 2.0 now"),
        (["w_logit=0.25", "--set", "weight_decay=0.1"], ["w_sup=2"], "weight_decay 0.1 then and 0.0001 now"),
    ],
)
def test_a_real_difference_is_refused(
    first: list[str], second: list[str], message: str, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    trainer = install(monkeypatch, FakeTrainer())
    # the student alone is passed over: its own options are the same
    trained(tmp_path, data, trainer, "--seeds", "0", "--over", *first)
    (tmp_path / "records/validation/supervised-seed=0.json").unlink()
    (tmp_path / "records/validation/teacher-seed=0.json").unlink()
    with pytest.raises(ValueError, match=message):
        trained(tmp_path, data, trainer, "--seeds", "0", "--over", *second)
    assert trainer.asked == []


def test_runs_of_one_arm_with_different_settings_have_no_mean():
    alike = [record("defaults", 0, 0.5, temperature=2.0), record("defaults", 1, 0.5, w_logit=0.5)]
    Sweep.check_records(alike)
    with pytest.raises(ValueError, match="temperature 3.0 and 2.0"):
        Sweep.check_records([record("defaults", 0, 0.5, temperature=3.0), alike[1]])
