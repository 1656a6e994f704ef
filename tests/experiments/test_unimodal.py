"""The comparison of students of one modality."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ckdmed.bundle_files import bundle_folder
from ckdmed.experiments.records import read_experiment
from ckdmed.experiments.unimodal import _OF_TEACHERS, EXPERIMENT
from ckdmed.experiments.unimodal_arms import STRATEGIES, strategy, unimodal_settings
from ckdmed.export.configs import component_settings
from ckdmed.json_files import read_json
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
        (["--label_fractions", "0"], "a label fraction must be above 0"),
        (["--seeds", "1", "1"], "seeds must be one or more different values"),
        (["--students", "t1c", "t1c"], "students must be one or more different values"),
        (["--strategies", "best"], "there are no strategies .'best'.; there are alone, distilled"),
        (["--variant", "alone"], "a name of its own"),
        (["--strategies", "alone", "alone_longer"], "'t1n-alone_longer' needs the arms .'t1n-distilled'. too"),
        (["--strategies", "hard_pseudo", "--label_fractions", "1"], "'hard_pseudo'. label the patients who have no"),
        (["--variant", "one", "teacher_epoch=3"], "'teacher_epoch' is not a setting of this bundle"),
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


def test_pseudo_labels_are_for_patients_without_labels() -> None:
    words = ["--students", "t1c", "--strategies", "alone", "hard_pseudo", "--label_fractions", "1", "0.25"]
    runs = planned("unimodal", *words, "--seeds", "0")
    names = ["labelled=1-t1c-alone-seed=0", "labelled=0.25-t1c-alone-seed=0", "labelled=0.25-t1c-hard_pseudo-seed=0"]
    assert [run.name for run in runs] == names
    settings = unimodal_settings(runs[-1], {})
    # it sees the images of all patients, and learns from teachers
    assert settings["method"] == "hard_pseudo" and "train#dataset#items" not in settings and runs[-1].arm.unlabelled


def test_the_longer_student_gets_the_time_of_the_distilled_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ["--students", "t1n", "t1c", "--strategies", "alone_longer", "distilled", "alone", "--seeds", "3"]
    comparison, runs = made("unimodal", tmp_path, data, *words, "--label_fractions", "0.5")
    assert [run.arm.name for run in runs[-3:]] == ["t1c-distilled", "t1c-alone", "t1c-alone_longer"]
    for arm, seconds in (("t1n-alone", 1.0), ("t1n-distilled", 1.0), ("t1c-alone", 100.0), ("t1c-distilled", 250.0)):
        history = tmp_path / "runs" / f"labelled=0.5-{arm}-seed=3" / "metrics.jsonl"
        history.parent.mkdir(parents=True)
        history.write_text(json.dumps({"seconds": 1.0, "cpu_seconds": seconds}) + "\n", encoding="utf-8")
    longer = runs[-1]
    plan = comparison.settings_of(longer)
    # 2 epochs of the profile, in 2.5 times the time
    assert plan["epochs"] == 5 and plan["method"] == "supervised" and "labelled" in plan["train#dataset#items"]
    assert "teachers_dir" not in plan and comparison.shared_work(longer) is None
    assert EXPERIMENT.of_a_run(longer.arm.name) > EXPERIMENT.of_a_run("t1c-alone")
    # on a cluster nothing is known of what is not trained yet
    fresh, others = made("unimodal", tmp_path / "fresh", data, *words, "--label_fractions", "0.5")
    assert fresh.shared_work(others[-1]) is None and fresh.shared_work(others[-3]) is not None
    longer_records = [record("t1c", "alone_longer", seed, 0.72) for seed in (0, 1)]
    pairs = [record("t1c", name, seed, dice) for name, dice in (("alone", 0.7), ("distilled", 0.75)) for seed in (0, 1)]
    assert "same time:" not in EXPERIMENT.tables(pairs)
    before, after = EXPERIMENT.tables([*pairs, *longer_records]).split("trained alone for the same time:")
    assert "+0.0500" in before and "+0.0300" in after and "| alone " not in after and "| alone, same time" in after


def test_sizes() -> None:
    sizes = EXPERIMENT.profile_settings
    assert sizes("compact")["image_size"] == 48 and sizes("full")["image_size"] == 240
    with pytest.raises(ValueError, match="profile must be"):
        sizes("huge")


def test_the_teachers_of_a_seed_serve_every_student(data: Path, tmp_path: Path) -> None:
    words = ["--strategies", "distilled", "--label_fractions", "0.5", "--set", TEACHERS]
    comparison, (one, other, later, _) = made("unimodal", tmp_path, data, "--seeds", "3", "4", *words)
    first, second = (comparison.settings_of(run)["teachers_dir"] for run in (one, other))
    assert first == second and Path(first).parent == tmp_path / "teachers"
    assert comparison.settings_of(later)["teachers_dir"] != first
    shared, _ = made("unimodal", tmp_path, data, "--seeds", "3", "4", *words, "--teacher_seed", "3")
    assert shared.settings_of(later)["teachers_dir"] == first and shared.settings_of(later)["teacher_seed"] == 3
    assert "teacher_seed" not in shared.settings_of(one)
    assert strategy("warm", {"temperature": 2}).settings["method"] == STRATEGIES["distilled"].settings["method"]


@pytest.mark.parametrize(
    ("first", "second"), [(("0", "1"), ("2", "3", "--teacher_seed", "2")), (("0", "1", "--teacher_seed", "0"), ("2",))]
)
def test_seeds_that_are_added_keep_to_the_teachers(data: Path, tmp_path: Path, first, second) -> None:
    """An interval over seeds was one of students with teachers of their own and of others that share them."""
    words = ["--students", "t1c", "--strategies", "alone", "distilled", "online", "--label_fractions", "0.5", "--seeds"]
    begun, runs = made("unimodal", tmp_path, data, *words, *first)
    for run in runs:
        begun._planned(run).write(tmp_path / "records/validation" / f"{run.name}.json")
    assert begun.possible(runs) == runs
    added, more = made("unimodal", tmp_path, data, *words, *second)
    with pytest.raises(ValueError, match="learns from the teachers of seed [02].*--teacher_seed as before"):
        added.check_together(more)
    # without teachers, or with such as learn along, students have nothing to do with their seed
    added.check_together([run for run in more if not run.arm.name.endswith("distilled")])
    same = ["4", *first[2:]]
    going_on, others = made("unimodal", tmp_path, data, *words, *same)
    going_on.check_together(others)


def test_a_student_of_fewer_modalities_than_the_data_is_scored_on_its_own(
    tmp_path: Path, phantoms: dict[str, Path]
) -> None:
    # `modalities` are all those of a training, and those of the student in an evaluation
    there = ['modalities=["t1n","t1c","t2f"]', 'teachers=[["t1n","t2f"]]']
    words = ["--students", "t1c", "--strategies", "alone", "--label_fractions", "1", "--seeds", "0", "--set", *there]
    comparison, (run,) = made("unimodal", tmp_path, phantoms["unimodal"], *words)
    assert comparison.train(run)
    (found,) = read_experiment(tmp_path / "records")
    assert 0 <= found.metrics["Dice"] <= 1 and found.settings["modalities"] == ["t1n", "t1c", "t2f"]


def test_teachers_of_other_settings_are_others(data: Path, tmp_path: Path) -> None:
    words = ["--strategies", "distilled", "--label_fractions", "0.5", "--seeds", "3", "--set", TEACHERS]
    folders = {}
    variants = ("teacher_recipe=nnunet", "scaling=percentiles", "clahe=true", "fuse=stn", "teacher_weight_decay=0.1")
    for setting in (None, *variants):
        named = [] if setting is None else ["--variant", "other", setting]
        comparison, runs = made("unimodal", tmp_path, data, *words, *named)
        chosen = next(run for run in runs if run.arm.name.endswith("distilled" if setting is None else "other"))
        folders[setting] = comparison.settings_of(chosen)["teachers_dir"]
    assert len(set(folders.values())) == len(folders)


def test_every_setting_that_a_teachers_training_reads_names_its_folder() -> None:
    config = read_json(bundle_folder("brats_unimodal_kd") / "train.json")
    read = set(component_settings(config, ("prepare_teachers",)))
    # of the student, of the machine, or made of the others
    others = {"accumulation_steps", "align_base", "cache", "cache_rate", "compile", "device", "epochs", "in_channels"}
    others |= {"input_shape", "learning_rate", "method", "needs_teacher", "num_workers", "out_channels", "peer_views"}
    others |= {"phantom_cases", "profile", "rank", "resume", "share_source", "shares_by_region", "sizes"}
    others |= {
        "student_backbone",
        "student_base",
        "student_channels",
        "student_kind",
        "student_modalities",
        "student_options",
        "started",
        "sw_overlap",
        "taught",
    }
    others |= {"teacher_augmentation", "teacher_dataset", "teacher_learns", "teacher_mode", "teacher_module"}
    others |= {"teacher_preprocessing", "trust_bundle", "usual_shares", "views"}
    # each teacher's file is named by the sequences that it sees
    others |= {"teachers", "w_cooperative", "w_mutual"}
    assert read - others <= set(_OF_TEACHERS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "vit_heads=3"], "^t1c-distilled: hidden_size 16 must be a multiple of num_heads 3"),
        (["--set", "student_kind=swin_unetr", "student_base=5"], "^t1c-alone: the base of a swin_unetr .* 12"),
        (["--set", "image_size=20"], r"^t1c-alone: the student \(UNet\) cannot take images of 20x20 with 1 channel"),
        (
            ["--set", "image_size=20", "student_kind=grouped_unet"],
            "^t1c-distilled: the teachers .* cannot take images of 20x20 with 4 channels",
        ),
    ],
)
def test_networks_that_cannot_be_are_refused_before_anything_is_drawn(words: list[str], message: str, tmp_path: Path):
    """A wrong combination came up when its arm's turn came."""
    compared, runs = made("unimodal", tmp_path, tmp_path / "phantoms", "--seeds", "0", "--students", "t1c", *words)
    with pytest.raises(ValueError, match=message):
        compared.possible(runs)
    assert list(tmp_path.iterdir()) == []


def test_networks_that_can_be_are_all_planned(tmp_path: Path):
    words = ["--seeds", "0", "--students", "t1c", "--strategies", "alone", "distilled", "alone_longer"]
    compared, runs = made("unimodal", tmp_path, tmp_path / "phantoms", *words)
    assert len(runs) == 3 and compared.possible(runs) == runs
