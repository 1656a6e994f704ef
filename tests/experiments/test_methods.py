from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.bundle.trained import settings_read
from ckdmed.bundle.workflow import bundle_folder, bundle_parser
from ckdmed.cli import main
from ckdmed.experiments import experiment
from ckdmed.experiments.distilling import ALONE
from ckdmed.experiments.given_settings import check_bundle_settings
from ckdmed.experiments.methods import MethodComparison
from ckdmed.experiments.records import collect_records
from ckdmed.experiments.slices import slice_phantoms
from ckdmed.experiments.step_cost import cost_table, step_costs
from ckdmed.experiments.tasks import TASKS
from ckdmed.experiments.teacher_settings import settings_of_teacher
from ckdmed.files import save_weights, write_json
from ckdmed.methods import methods
from ckdmed.networks import segmentation_student
from ckdmed.reports import RunRecord, corrected_differences, read_values
from ckdmed.sections.record import SectionOverlapError, SectionRecord
from tests.experiments.trainers import FakeTrainer, install, made, options, planned

CPU, WALL = "processor ms per step", "ms per step"


def names(*words: str) -> list[str]:
    return [run.arm.name for run in planned("methods", "--seeds", "0", *words)]


@pytest.mark.parametrize("task", TASKS)
def test_every_registered_method_and_every_fusion_is_an_arm(task: str):
    arms = names("--task", task)
    assert {name for name in arms if not name.startswith(("teacher", "fuse_"))} == set(methods(task))
    # the shared teacher is the hybrid with the usual fusion, so that its student by kd is the arm of that name
    fusions = {*TASKS[task].fusions[1:], *TASKS[task].fused_kinds, "resolutions"}
    assert {name.removeprefix("fuse_") for name in arms if name.startswith("fuse_")} == fusions and "msgff" in fusions
    assert arms[0] == ALONE
    for fuse in fusions:
        assert arms.index(f"teacher_fuse_{fuse}") == arms.index(f"fuse_{fuse}") - 1


def test_a_teacher_of_another_kind_leaves_all_fusions_to_the_hybrids():
    assert f"fuse_{TASKS['segmentation'].fusions[0]}" in names("--set", "teacher_kind=unet")
    assert "fuse_stn" not in names("--set", "fuse=stn") and "fuse_class_token" in names("--set", "fuse=stn")
    assert "fuse_class_token" in names("--hybrid", "vgg_vit")


def _teachers(*words: str) -> dict[str, dict[str, Any]]:
    """Fusion -> the settings of its teacher."""
    runs = planned("methods", "--seeds", "0", *words)
    return {run.arm.name[13:]: dict(run.arm.settings) for run in runs if run.arm.name.startswith("teacher_fuse_")}


def test_teachers_of_several_resolutions_and_scales():
    plain = {"teacher_kind": "vgg_vit", "fuse": "logits"}
    classes = _teachers("--task", "classification", "--set", "image_size=224")
    assert classes["msgff"] == {"teacher_kind": "msgff", "fuse": "logits"}
    assert classes["resolutions"] == {**plain, "resolutions": [112, 224]}
    # the size of the teacher's own images, and edges that a network for segmentation can have
    larger = _teachers("--task", "classification", "--set", "image_size=64", "teacher_image_size=160")
    assert larger["resolutions"]["resolutions"] == [80, 160]
    masks = _teachers("--task", "regions", "--set", "image_size=240", "fuse=stn")
    assert masks["resolutions"] == {"teacher_kind": "unet_vit", "fuse": "stn", "resolutions": [112, 240]}
    assert masks["msgff"] == {"teacher_kind": "unet_vit", "fuse": "msgff"}
    volumes = _teachers("--task", "regions", "--set", "spatial_dims=3", "roi_size=[96,96,64]")
    assert volumes["resolutions"]["resolutions"] == [48, 96]
    labels = MethodComparison.arm_labels([record("fuse_resolutions", 0, 0.1, 5.0, method="kd")])
    assert labels == {"fuse_resolutions": "kd, teacher of several resolutions"}


def test_the_shared_teacher_is_no_fusion_once_more():
    own = ["--task", "classification", "--set", "resolutions=[32,48]"]
    assert "resolutions" not in _teachers(*own) and "msgff" in _teachers(*own)
    # another kind of shared teacher leaves the resolutions to the hybrid
    assert _teachers(*own, "teacher_kind=vgg_vgg")["resolutions"]["resolutions"] == [32, 48]
    shared = _teachers("--task", "classification", "--set", "teacher_kind=msgff")
    assert (
        "msgff" not in shared and shared["logits"]["teacher_kind"] == shared["resolutions"]["teacher_kind"] == "vgg_vit"
    )
    # which is the usual fusion of that kind
    fused = _teachers("--task", "classification", "--hybrid", "msgff")
    assert "msgff" not in fused and fused["logits"] == {"teacher_kind": "msgff", "fuse": "logits"}


@pytest.mark.parametrize("task, words", [("segmentation", []), ("classification", ["--set", "image_size=64"])])
def test_teachers_of_several_resolutions_and_scales_can_be_built(
    task: str, words: list[str], tmp_path: Path, few_slices: Path
):
    arms = ["--arms", "fuse_resolutions", "fuse_msgff"]
    comparison, runs = _tiny(tmp_path, few_slices, "--task", task, *arms, *words)
    assert comparison.possible(runs) == runs


def test_teachers_are_trained_once_by_the_first_seed(tmp_path: Path, data: Path):
    runs = planned("methods", "--seeds", "4", "5", "--arms", "kd", "fuse_stn")
    assert [run.name for run in runs] == [
        "supervised-seed=4",
        "teacher-seed=4",
        "kd-seed=4",
        "teacher_fuse_stn-seed=4",
        "fuse_stn-seed=4",
        "supervised-seed=5",
        "kd-seed=5",
        "fuse_stn-seed=5",
    ]
    assert {run.name: run.teacher for run in runs if run.teacher} == {
        "kd-seed=4": "teacher-seed=4",
        "kd-seed=5": "teacher-seed=4",
        "fuse_stn-seed=4": "teacher_fuse_stn-seed=4",
        "fuse_stn-seed=5": "teacher_fuse_stn-seed=4",
    }


def test_what_the_runs_are_given(tmp_path: Path, data: Path):
    words = ["--seeds", "0", "--arms", "kd", "function_matching", "cross_architecture", "fuse_stn"]
    words += ["--set", "student_view=affine", "cache_teacher=memory", "temperature=3", "teacher_kind=unet"]
    words += ["teacher_options={}"]
    comparison, runs = made("methods", tmp_path, data, *words)
    given = {run.arm.name: comparison.settings_of(run) for run in runs}
    assert given["kd"]["temperature"] == 3 and "temperature" not in given["supervised"]
    assert {given[name]["epochs"] for name in ("supervised", "kd", "fuse_stn")} == {2}
    # what belongs to a method goes before what all share
    assert given["kd"]["student_view"] == "affine" and given["cross_architecture"]["student_view"] == "masked"
    assert given["function_matching"]["augmentation"] == "strong" and given["kd"]["augmentation"] == "flips"
    # a mixture of images has no cached output
    assert given["kd"]["cache_teacher"] == "memory" and given["function_matching"]["cache_teacher"] is False
    teacher, fused = given["teacher"], given["teacher_fuse_stn"]
    assert teacher["teacher_kind"] == "unet" and "student_view" not in teacher and "method" not in teacher
    assert (fused["teacher_kind"], fused["fuse"], fused["teacher_options"]) == ("unet_vit", "stn", None)
    assert (given["fuse_stn"]["teacher_kind"], given["fuse_stn"]["method"]) == ("unet_vit", "kd")
    assert given["fuse_stn"]["teacher_checkpoint"].endswith("runs/teacher_fuse_stn-seed=0/models/model.pt")


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_the_student_alone_leaves_out_images_without_labels(task: str, tmp_path: Path, few_slices: Path):
    """They were among its batches, where it learnt nothing from them."""
    words = ["--task", task, "--seeds", "0", "--arms", "kd", "--set", "label_fraction=0.5", "epochs=4"]
    comparison, runs = made("methods", tmp_path, few_slices, *words)
    given = {run.arm.name: comparison.settings_of(run) for run in runs}
    assert (given[ALONE]["epochs"], given["kd"]["epochs"]) == (8, 4)
    assert "train#dataset#data" in given[ALONE] and "train#dataset#data" not in given["kd"]
    get = bundle_parser(bundle_folder(comparison.task.bundle), given[ALONE]).get_parsed_content
    left, drawn = get("train#dataset").data, get("sections")["train"]
    assert all(item["labelled"] for item in left) and 0 < len(left) < len(drawn)
    # the bundle does so by itself, also for a user without an experiment; images that a teacher answers for stay
    alone = {name: value for name, value in given[ALONE].items() if name != "train#dataset#data"}
    for settings, expected in ((alone, len(left)), ({**alone, "method": "kd"}, len(drawn))):
        of_bundle = bundle_parser(bundle_folder(comparison.task.bundle), settings).get_parsed_content
        assert len(of_bundle("train#dataset").data) == expected


def test_settings_of_a_teacher_are_those_of_its_own_bundle():
    settings = {
        "epochs": 9,
        "teacher_epochs": 4,
        "image_size": 32,
        "student_base": 2,
        "network_def#base": 3,
        "amp": False,
    }
    assert settings_of_teacher("seg_teacher", settings) == {"epochs": 4, "image_size": 32, "amp": False}
    own = settings_of_teacher("cls_teacher", {"image_size": 32, "teacher_image_size": 64, "teacher_learning_rate": 0.1})
    assert own == {"image_size": 64, "learning_rate": 0.1}
    smoothed = {"label_smoothing": 0.1, "class_weights": "balanced"}
    assert settings_of_teacher("cls_teacher", smoothed) == {"class_weights": "balanced"}
    assert settings_of_teacher("cls_teacher", {**smoothed, "teacher_label_smoothing": 0.2})["label_smoothing"] == 0.2
    recipes = {"recipe": "nnunet", "weight_decay": 0.1}
    assert settings_of_teacher("seg_teacher", recipes) == {"weight_decay": 0.1}
    own = settings_of_teacher("brats_seg_teacher", {**recipes, "teacher_recipe": "nnunet", "teacher_weight_decay": 0.2})
    assert own == {"recipe": "nnunet", "weight_decay": 0.2}
    # and the slices that it draws
    shares = {"tumour_share": 0.4}
    assert settings_of_teacher("brats_seg_teacher", shares) == shares
    own = settings_of_teacher("brats_seg_teacher", {**shares, "teacher_tumour_share": 0.8})
    assert own == {"tumour_share": 0.8}


def test_a_given_teacher_tells_its_sizes_and_how_images_look(tmp_path: Path, data: Path):
    checkpoint = tmp_path / "t" / "models" / "model.pt"
    save_weights(checkpoint, {})
    record = {"epochs": 1, "image_size": 32, "teacher_kind": "unet_vit", "vit_hidden": 48, "scaling": "zscore"}
    checkpoint.with_suffix(".json").write_text(json.dumps({"settings": record}))
    words = ["--arms", "kd", "--seeds", "0", "--teacher_checkpoint", str(checkpoint)]
    comparison, runs = made("methods", tmp_path / "o", data, *words)
    assert [run.name for run in runs] == ["supervised-seed=0", "given", "kd-seed=0"]
    alone, itself, taught = (comparison.settings_of(run) for run in runs)
    assert itself["vit_hidden"] == 48 and "method" not in itself and runs[1].arm.bundle == "seg_teacher"
    assert taught["teacher_checkpoint"] == str(checkpoint.resolve()) and "teacher_checkpoint" not in alone
    # the student alone sees images as all others do
    assert alone["scaling"] == taught["scaling"] == "zscore"
    assert "vit_hidden" not in taught and alone["vit_hidden"] == 16
    kept = comparison._recorded_settings(runs[2])
    assert len(kept["teacher_sha256"]) == 64 and "teacher_checkpoint" not in kept
    explicit, runs = made("methods", tmp_path / "o", data, *words, "--set", "vit_hidden=16", "scaling=percentiles")
    assert (
        explicit.settings_of(runs[2])["vit_hidden"] == 16 and explicit.settings_of(runs[0])["scaling"] == "percentiles"
    )


def test_refusals(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]):
    given = [
        "experiment",
        "methods",
        "--profile",
        "tiny",
        "--dataset_dir",
        str(data),
        "--output_dir",
        str(tmp_path / "o"),
    ]
    for words, message in (
        (["--arms", "kdd"], "no arms ['kdd'] of segmentation; there are supervised, at, ckd"),
        (["--arms", "tokens"], "no arms ['tokens'] of segmentation"),
        (["--arms", "kd", "kd"], "arms must be one or more different"),
        (["--fusion_method", "supervised"], "--fusion_method must be a method with a teacher"),
        (["--hybrid", "unet_vti"], "--teacher_kind must be one of unet_vit, vgg_vit"),
        (["--teacher_checkpoint", "none.pt"], "there is no file 'none.pt'"),
        (["--set", "method=kd"], "the command sets method itself"),
    ):
        assert main([*given, *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("arms", [[], ["--arms", "kd"]])
def test_teachers_of_folds_are_none_that_it_trains(
    arms: list[str], tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
):
    """It trained one teacher of all patients, and then refused it to its first student."""
    given = ["experiment", "methods", "--profile", "tiny", "--dataset_dir", str(data), *arms]
    out = tmp_path / "out"
    folds = write_json(tmp_path / "folds.json", {"teacher_folds": 2})
    one = save_weights(tmp_path / "one.pt", {"a": torch.zeros(1)})
    for words, message in (
        (["--set", "teacher_folds=3"], "--teacher_folds 3 --output_dir cross_fitted ...` with the settings given here"),
        (["--set", "calibrate_teacher=true"], "a single teacher has seen all of them"),
        (["--teacher_checkpoint", str(folds), "--set", "teacher_folds=3"], "leave teacher_folds out, or give it as 2"),
        (["--teacher_checkpoint", str(one), "--set", "teacher_folds=3"], "is of 1 teacher"),
    ):
        assert main([*given, "--output_dir", str(out), *words]) == 2, words
        assert message in capsys.readouterr().err and not out.exists()
    comparison = ["experiment", "compare", "--profile", "tiny", "--dataset_dir", str(data), "--output_dir", str(out)]
    assert main([*comparison, "--arms", "teacher", "alone", "ckd", "--set", "teacher_folds=3"]) == 2
    assert "`ckdmed run seg_kd train --method kd --teacher_folds 3" in capsys.readouterr().err and not out.exists()


def _tiny(tmp_path: Path, data: Path, *words: str) -> tuple[MethodComparison, list]:
    return made("methods", tmp_path, data, "--seeds", "0", *words)


@pytest.fixture(scope="module")
def few_slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few phantoms with their datalist."""
    return slice_phantoms(tmp_path_factory.mktemp("slices"), 12, 32)


def test_what_does_not_fit_is_left_out_and_named(tmp_path: Path, few_slices: Path, caplog: pytest.LogCaptureFixture):
    comparison, runs = _tiny(tmp_path, few_slices, "--hybrid", "vgg_vit")
    few = ("supervised", "teacher", "kd", "hard_pseudo", "teacher_fuse_msgff", "fuse_msgff")
    left = comparison.possible([run for run in runs if run.arm.name in few])
    assert [run.arm.name for run in left] == ["supervised", "teacher", "kd"]
    assert "teacher_fuse_msgff: fusion must be one of" in caplog.text
    assert "hard_pseudo: it teaches only on images without labels, but here all have one" in caplog.text
    # a student goes with its teacher, without a line of its own
    assert caplog.text.count("left out because it does not fit") == 2

    # asked for by name it is an error
    strict, runs = _tiny(tmp_path, few_slices, "--arms", "hard_pseudo")
    with pytest.raises(ValueError, match="hard_pseudo: it teaches only on images without labels"):
        strict.possible(runs)
    fits, runs = _tiny(tmp_path, few_slices, "--arms", "hard_pseudo", "--set", "label_fraction=0.5")
    assert fits.possible(runs) == runs


@pytest.fixture
def few_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two methods and one fusion, of the many that are built."""
    monkeypatch.setitem(TASKS, "segmentation", replace(TASKS["segmentation"], fusions=("class_token", "msgff")))
    known = {name: one for name, one in methods("segmentation").items() if name in (ALONE, "kd", "hard_pseudo")}
    monkeypatch.setattr("ckdmed.experiments.methods.methods", lambda task: known)


def test_a_dry_run_leaves_out_what_does_not_fit_and_says_why(
    few_arms: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    words = ["experiment", "methods", "--profile", "tiny", "--output_dir", str(tmp_path / "o"), "--seeds", "0"]
    assert main([*words, "--dry-run", "--hybrid", "vgg_vit"]) == 0
    fused = [f"{role}fuse_{fuse}" for fuse in ("class_token", "resolutions") for role in ("teacher_", "")]
    listed = ["supervised", "teacher", "kd", *fused]
    assert capsys.readouterr().out.split() == [f"{name}-seed=0" for name in listed]
    assert "left out because it does not fit: teacher_fuse_msgff: fusion must be one of" in caplog.text
    assert "left out because it does not fit: hard_pseudo: it teaches only on images without labels" in caplog.text
    assert main([*words, "--dry-run", "--set", "label_fraction=0.5"]) == 0
    assert "hard_pseudo-seed=0" in capsys.readouterr().out
    # asked for by name it is an error, before phantoms are drawn
    for more in (["--dry-run"], []):
        assert main([*words, "--arms", "kd", "fuse_msgff", "--hybrid", "vgg_vit", *more]) == 2
        assert "teacher_fuse_msgff: fusion must be one of" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", TASKS)
def test_a_dry_run_of_each_task_needs_no_data(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--task", task, "--profile", "tiny", "--output_dir", str(tmp_path / "o"), "--arms", "kd", "--seeds", "0"]
    assert main(["experiment", "methods", *words, "--dry-run"]) == 0
    assert capsys.readouterr().out.split() == ["supervised-seed=0", "teacher-seed=0", "kd-seed=0"]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_looks_at_the_data_where_they_are_there(
    few_arms: None, tmp_path: Path, few_slices: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["experiment", "methods", "--profile", "tiny", "--output_dir", str(tmp_path / "o"), "--dry-run"]
    assert main([*words, "--dataset_dir", str(few_slices), "--arms", "hard_pseudo"]) == 2
    assert "hard_pseudo: it teaches only on images without labels" in capsys.readouterr().err
    # what it cannot look at it says
    assert main([*words, "--dataset_dir", str(tmp_path), "--arms", "kd"]) == 0
    found = capsys.readouterr()
    assert "has no datalist.json yet: whether the arms fit is not checked" in found.err and "kd-seed=0" in found.out
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_that_cannot_take_the_images_is_left_out(
    few_arms: None, tmp_path: Path, few_slices: Path, caplog: pytest.LogCaptureFixture
):
    # the shared teacher takes any size, and so do its students
    words = ("--set", "teacher_kind=segresnet", "image_size=40", "student_kind=segresnet")
    comparison, runs = _tiny(tmp_path, few_slices, *words)
    left = [run.arm.name for run in comparison.possible(runs)]
    assert left == ["supervised", "teacher", "kd"]
    assert "teacher_fuse_class_token: the teacher (UNetViT) cannot take images of 40x40" in caplog.text


def test_a_given_teacher_of_another_network_is_refused_before_the_first_training(tmp_path: Path, few_slices: Path):
    """It was found when the turn of its first student came."""
    weights = save_weights(tmp_path / "model.pt", segmentation_student(base=2, out_channels=1).state_dict())
    words = ("--teacher_checkpoint", str(weights), "--arms", "kd")
    comparison, runs = _tiny(tmp_path, few_slices, *words, "--set", "teacher_kind=unet", "teacher_base=4")
    with pytest.raises(ValueError, match="kd: .*model.pt' does not fit this"):
        comparison.possible(runs)
    comparison, runs = _tiny(tmp_path, few_slices, *words, "--set", "teacher_kind=unet", "teacher_base=2")
    assert "kd" in [run.arm.name for run in comparison.possible(runs)]


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_a_given_teacher_is_scored_beside_its_students(
    task: str, tmp_path: Path, phantoms: dict[str, Path], caplog: pytest.LogCaptureFixture
):
    words, bundle = ["--task", task, "--arms", "kd", "--seeds", "0"], TASKS[task].teacher_bundle
    trained, (_, run, _) = made("methods", tmp_path / "o", phantoms["methods"], *words)
    get = bundle_parser(bundle_folder(bundle), trained.settings_of(run)).get_parsed_content
    checkpoint = save_weights(tmp_path / "t" / "model.pt", get("network_def").state_dict())
    known = settings_read(json.loads((bundle_folder(bundle) / "evaluate.json").read_text(encoding="utf-8")))
    told = {name: get(name) for name in known if name not in ("threshold", "tta")}
    checkpoint.with_suffix(".json").write_text(json.dumps({"settings": {"epochs": 1, **told}}), encoding="utf-8")
    # its own split is another one
    others = {name: get("sections")[other] for name, other in (("train", "test"), ("validation", "validation"))}
    SectionRecord.of({**others, "test": []}, tmp_path).write(tmp_path / "t" / "sections.json")
    words += ["--teacher_checkpoint", str(checkpoint), "--set", "device=cpu"]
    comparison, runs = made("methods", tmp_path / "o", phantoms["methods"], *words)
    given = runs[1]
    assert comparison._unscored(given) is None and comparison.train(given) and not comparison.train(given)
    found = RunRecord.read(comparison.record_path(given, "validation"))
    patients = {item["patient_group"] for item in get("sections")["validation"]}
    assert set(found.patients[TASKS[task].patient_score]) == patients
    assert set(TASKS[task].scores) <= set(found.metrics) and found.seconds is None and found.arm == "given"
    assert not (comparison.folder(given) / "models").exists()
    students = [record(arm, 0, gain, 5.0, task) for arm, gain in (("supervised", 0.0), ("kd", 0.1))]
    scores = {TASKS[task].patient_score: dict.fromkeys(patients, 0.5)}
    same = {"patients": scores, "split": found.split, "data_sha256": found.data_sha256}
    alike = [replace(r, **same, settings={**r.settings, "profile": "tiny"}) for r in students]
    table = MethodComparison.tables([*alike, found])
    assert "| teacher, as given |" in table.split("Teachers:")[1]
    if task == "segmentation":
        summary = (comparison.folder(given) / "evaluation_validation" / "summary.json").read_text(encoding="utf-8")
        assert json.loads(summary)["settings"]["checkpoint"] == str(checkpoint)
    # where it learnt from patients that its students are scored on, its score would flatter
    SectionRecord.of({**others, "train": get("sections")["validation"], "test": []}, tmp_path).write(
        tmp_path / "t" / "sections.json"
    )
    reason = comparison._unscored(given)
    assert reason is not None and "trained on patients of this validation section" in reason
    # of a split of single slices the slices tell, whose patients stand on both sides
    trained_on, *others_of_it = [i for i in get("sections")["validation"] if i["patient"] == sorted(patients)[0]]
    for train, seen in ((trained_on, True), (get("sections")["train"][0], False)):
        crossing = {"train": [train, *others["train"]], "validation": others_of_it, "test": [{**trained_on, "id": "x"}]}
        SectionRecord.of(crossing, tmp_path).write(tmp_path / "t" / "sections.json")
        reason = comparison._unscored(given)
        assert (reason is not None and "trained on slices of this validation section" in reason) == seen
    checkpoint.with_suffix(".json").unlink()
    other, (_, again, _) = made("methods", tmp_path / "p", phantoms["methods"], *words)
    assert "no record of its training" in str(other._unscored(again))


def test_a_method_that_mixes_images_fits_one_size_of_them(tmp_path: Path, few_slices: Path):
    # a checkpoint is needed for images of two sizes
    teacher = tmp_path / "teacher.pt"
    larger = ("--set", "teacher_image_size=48")
    comparison, _ = _tiny(tmp_path, few_slices, "--task", "classification", "--arms", "kd", *larger)
    get = bundle_parser(bundle_folder("cls_teacher"), settings_of_teacher("cls_teacher", comparison.settings))
    save_weights(teacher, get.get_parsed_content("network_def").state_dict())
    words = ["--task", "classification", "--teacher_checkpoint", str(teacher), *larger]
    comparison, runs = _tiny(tmp_path, few_slices, "--arms", "kd", "function_matching", *words)
    with pytest.raises(ValueError, match="function_matching: teacher_image_size is 48 .* changes images of one size"):
        comparison.possible(runs)


def test_a_method_that_mixes_images_is_trained_on_regions(tmp_path: Path, data: Path):
    comparison, runs = _tiny(tmp_path, data, "--task", "regions", "--arms", "function_matching")
    (run,) = (run for run in runs if run.arm.name == "function_matching")
    # it has no cache of outputs to turn off
    check_bundle_settings("brats_seg_kd", comparison.settings_of(run))
    assert comparison.settings_of(run)["mixup"] > 0 and "cache_teacher" not in comparison.settings_of(run)


def test_the_shared_teacher_is_that_of_one_seed(tmp_path: Path, few_slices: Path):
    comparison, runs = made("methods", tmp_path, few_slices, "--arms", "kd", "--seeds", "0", "1")
    (shared,) = (run for run in runs if run.arm.name == "teacher")
    comparison._planned(shared).write(tmp_path / "records/validation/teacher-seed=0.json")
    assert comparison.possible(runs) == runs
    for seeds in (["1", "2"], ["3"]):
        other, later = made("methods", tmp_path, few_slices, "--arms", "kd", "--seeds", *seeds)
        with pytest.raises(ValueError, match="teacher is trained once, with the first seed, .* the seeds 0 and [13]"):
            other.possible(later)
    own = [record(arm, seed, 0.1, 5.0) for arm, seed in (("teacher", 0), ("teacher", 1), ("kd", 0))]
    with pytest.raises(ValueError, match="teacher is trained once"):
        MethodComparison.check_records(own)


def test_sizes_follow_the_recipe_and_the_dimensions(data: Path):
    chosen = experiment("methods")
    plain, recipe, volumes = (
        chosen.shared_settings(options("methods", "--task", "regions", "--profile", profile, *words))
        for profile, words in (
            ("compact", ()),
            ("compact", ("--set", "recipe=nnunet", "teacher_recipe=nnunet")),
            ("compact", ("--set", "spatial_dims=3")),
        )
    )
    assert (recipe["learning_rate"], recipe["teacher_learning_rate"], recipe["tumour_share"]) == (0.01, 0.01, 0.33)
    assert plain["learning_rate"] != 0.01 and plain["tumour_share"] != 0.33 and "roi_size" not in plain
    assert volumes["roi_size"] == [32, 32, 32] and volumes["batch_size"] == 2
    tiny = chosen.shared_settings(options("methods", "--task", "regions", "--set", "spatial_dims=3"))
    assert tiny["roi_size"] == [32, 32, 32]
    compared = experiment("compare")
    given = compared.given_settings(options("compare", "--profile", "compact", "--set", "recipe=nnunet"))
    assert given["learning_rate"] == 0.01 != compared.profile_settings("compact")["learning_rate"]


def test_a_method_for_another_teacher_is_left_out(tmp_path: Path, few_slices: Path, caplog: pytest.LogCaptureFixture):
    comparison, runs = _tiny(tmp_path, few_slices, "--task", "classification", "--set", "teacher_kind=vgg_vgg")
    left = comparison.possible([run for run in runs if run.arm.name in ("supervised", "teacher", "kd", "tokens")])
    assert [run.arm.name for run in left] == ["supervised", "teacher", "kd"]
    assert "tokens: this method compares the tokens of a Vision Transformer, but this teacher has none" in caplog.text


def test_networks_that_none_can_have_are_an_error(tmp_path: Path, data: Path):
    comparison, runs = _tiny(tmp_path, data, "--set", "fuse=stn", "teacher_kind=unet")
    with pytest.raises(ValueError, match="teacher: fuse='stn' joins a U-Net and a ViT"):
        comparison.possible(runs)
    # a given teacher has no arm of its own, and the student alone does without
    torch.save({}, tmp_path / "teacher.pt")
    given = ("--teacher_checkpoint", str(tmp_path / "teacher.pt"))
    comparison, runs = _tiny(tmp_path, data, *given, "--set", "fuse=stn", "teacher_kind=unet")
    with pytest.raises(ValueError, match="^dist: fuse='stn' joins a U-Net .*; kd: fuse='stn' joins a U-Net"):
        comparison.possible([run for run in runs if run.arm.name in ("supervised", "dist", "kd")])


def test_cost_of_a_step_by_hand():
    rows = [
        {"iteration": 10, "step_seconds": 5.0, "step_cpu_seconds": 9.0},
        {"iteration": 20, "step_seconds": 0.1, "step_cpu_seconds": 0.2},
        {"iteration": 30, "step_seconds": 0.3, "step_cpu_seconds": 0.2},
    ]
    # the first epoch, which fills the caches, does not count; 10 and 30 ms have the median 20
    assert step_costs(rows) == {WALL: 20.0, CPU: 20.0}
    assert step_costs(rows[:1]) == {WALL: 500.0, CPU: 900.0}
    # an epoch of a version that did not note it
    assert step_costs([{"iteration": 10}, *rows[1:]]) == {WALL: 30.0, CPU: 20.0}
    assert step_costs([{"iteration": 10}]) == {}


def record(
    arm: str, seed: int, shift: float, ms: float, task: str = "segmentation", method: str | None = ""
) -> RunRecord:
    patients = {f"p{number}": 0.5 + shift + 0.01 * number * seed for number in range(8)}
    metric = TASKS[task].patient_score
    metrics = dict.fromkeys((*TASKS[task].scores, *TASKS[task].distances), 0.5 + shift)
    settings = {} if method is None else {"method": method or arm}
    return RunRecord(
        f"{arm}-{seed}", arm, ["x"], seed, {"task": task, "section": "validation"}, metrics, {metric: patients},
        costs={CPU: ms, WALL: 2 * ms}, settings=settings, machine="a machine, no GPU",
    )  # fmt: skip


RECORDS = [
    record(arm, seed, shift, ms, method=method)
    for seed in (0, 1)
    for arm, shift, ms, method in (
        ("supervised", 0.0, 10.0, ""),
        ("teacher", 0.2, 40.0, None),
        ("kd", 0.05, 25.0, ""),
        ("cwd", 0.1, 30.0, ""),
        ("fuse_stn", -0.02, 35.0, "kd"),
    )
    # one teacher for the students of all seeds
    if (arm, seed) != ("teacher", 1)
]


def test_costs_of_another_machine_are_no_multiple_of_the_baselines():
    """They were divided by each other: an arm that was added on a slower machine looked dearer."""
    elsewhere = [replace(one, machine="another, no GPU") if one.arm == "cwd" else one for one in RECORDS]
    # of the arm that ran on both, the multiple is of the shared one
    both = [replace(one, machine="another, no GPU") if one.name == "kd-1" else one for one in elsewhere]
    (group,) = MethodComparison.groups([replace(one, costs={CPU: 99.0}) if one.name == "kd-1" else one for one in both])
    lines = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in cost_table(group).splitlines()[:6]}
    assert lines["student alone"] == "1.00" and lines["kd"] == "2.50" and lines["cwd"] == "-"
    assert cost_table(group).endswith("not comparable with it: cwd (another, no GPU).\n")


def test_tables_by_hand():
    text = MethodComparison.tables(RECORDS)
    tables = [part for part in text.split("\n\n") if part.startswith("| arm")]
    primary, scores, distances, costs, teachers, teachers_distances = tables
    assert "[95% interval, Holm]" in primary and "p (Holm)" in primary
    # the best first; a teacher is no arm, and does not count among the comparisons
    rows = [line.split("|")[1].strip() for line in primary.splitlines()[2:]]
    assert rows == ["cwd", "kd", "kd, teacher fused by stn"]
    assert "+0.1000 [+0.1000, +0.1000]" in primary.splitlines()[2] and "0.0003" in primary.splitlines()[2]
    assert "student alone" in scores and "baseline" in scores and "HD95" in distances
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:4]] for line in costs.splitlines()[2:]}
    assert CPU in costs and "times student alone" in costs
    assert cells["student alone"] == ["10.0 ± 0.0", "1.00"] and cells["cwd"] == ["30.0 ± 0.0", "3.00"]
    assert "| teacher" in teachers and "HD95" in teachers_distances and "Machine: a machine, no GPU." in text


GAINS = (("supervised", 0.0), ("kd", 0.05), ("cwd", 0.1))


def test_scores_of_classes_on_the_test_set_have_their_names_there(tmp_path: Path):
    """Tables ended in an error once `--final` had evaluated."""
    records = [record(arm, seed, gain, 1.0, "classification") for arm, gain in GAINS for seed in (0, 1)]

    def at_test(text: str) -> str:
        return text.replace("val_", "test_")

    tested = [
        replace(
            one,
            split={**one.split, "section": "test"},
            metrics={at_test(name): value + 0.1 for name, value in one.metrics.items()},
            patients={at_test(name): scores for name, scores in one.patients.items()},
        )
        for one in records
    ]
    text = MethodComparison.tables([*records, *tested])
    of_test, of_validation = text.split("### Classification, validation set")
    assert "### Classification, test set" in of_test and "val_accuracy" not in of_test
    assert "test_patient_accuracy: difference [95% interval, Holm]" in of_test and "0.6000" in of_test
    assert "test_accuracy" not in of_validation and "val_patient_accuracy: difference" in of_validation
    # the best first, by the section's own scores
    assert of_test.index("| cwd") < of_test.index("| kd")
    path = MethodComparison.picture([*records, *tested], tmp_path / "forest.png")
    assert path is not None and "Classification, test set" in str(read_values(path))


def test_each_fold_has_its_teacher_and_its_runs(tmp_path: Path, data: Path):
    words = ["--task", "regions", "--arms", "kd", "--fold", "2", "0", "--seeds", "4", "5", "--set", "n_folds=3"]
    comparison, runs = made("methods", tmp_path, data, *words, "train_on_validation=true")
    own = ["supervised-{}-seed=4", "teacher-{}-seed=4", "kd-{}-seed=4", "supervised-{}-seed=5", "kd-{}-seed=5"]
    assert [run.name for run in runs] == [name.format(f"fold={fold}") for fold in (2, 0) for name in own]
    assert {run.teacher for run in runs if run.arm.name == "kd"} == {"teacher-fold=2-seed=4", "teacher-fold=0-seed=4"}
    for run in runs:
        plan = comparison.settings_of(run)
        assert (plan["fold"], plan["n_folds"], plan["train_on_validation"]) == (run.split["fold"], 3, True)
        assert f"-fold={plan['fold']}-" in plan.get("teacher_checkpoint", run.name)
    assert "fold" not in comparison.settings_of(planned("methods", "--task", "regions", "--arms", "kd")[0])


def test_refusals_of_folds_and_of_the_test_set(data: Path):
    for words, message in (
        (["--fold", "0", "5"], "fold must be 0 to 4, got 5"),
        (["--fold", "3", "--set", "n_folds=3"], "fold must be 0 to 2, got 3"),
        (["--fold", "1", "--set", "fold=1"], "the command sets fold itself by --fold"),
    ):
        with pytest.raises(ValueError, match=message):
            MethodComparison.given_settings(options("methods", "--task", "regions", *words))
    with pytest.raises(ValueError, match="folds must be one or more different"):
        planned("methods", "--fold", "1", "1")
    with pytest.raises(ValueError, match="--final scores the test set, .* name them with --arms"):
        planned("methods", "--final")
    assert planned("methods", "--final", "--arms", "kd")


def test_folds_and_the_one_split_do_not_mix(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, FakeTrainer())
    words = ["--arms", "kd", "--seeds", "0"]
    for fold, message in (
        (["--fold", "1"], "the run supervised-fold=1-seed=0 is of a fold, but the run .* of a single split"),
        # another seed, so that no run of that name is there
        (["--set", "fold=1", "--seeds", "3"], r"different settings \(fold None and 1\)"),
    ):
        comparison, runs = made("methods", tmp_path, data, *words)
        comparison.do(runs)
        other, runs = made("methods", tmp_path, data, *words, *fold)
        with pytest.raises(ValueError, match=message):
            other.do(runs)


@pytest.mark.parametrize("given", ["--teacher_checkpoint", "student_pretrained"])
def test_weights_that_know_patients_of_a_later_fold_are_refused_first(
    tmp_path: Path, phantoms: dict[str, Path], given: str, monkeypatch: pytest.MonkeyPatch
):
    install(monkeypatch, FakeTrainer())
    words = ["--arms", "kd", "--seeds", "0", "--set", "n_folds=3"]
    comparison, runs = made("methods", tmp_path / "o", phantoms["methods"], *words, "--fold", "0")
    get = bundle_parser(bundle_folder("seg_kd"), comparison.settings_of(runs[0])).get_parsed_content
    sections = get("sections")
    save_weights(checkpoint := tmp_path / "t" / "model.pt", get("network_def").state_dict())
    SectionRecord.of(sections, checkpoint.parent).write(checkpoint.parent / "sections.json")
    words += [given, str(checkpoint)] if given.startswith("--") else [f"{given}={checkpoint}"]
    for folds, refused in ((["0"], False), (["0", "1"], True)):
        comparison, runs = made("methods", tmp_path / "o", phantoms["methods"], *words, "--fold", *folds)
        with pytest.raises(SectionOverlapError, match="chosen on .* test patients") if refused else nullcontext():
            comparison.possible(runs)


def test_students_start_from_a_network_of_another_size(
    tmp_path: Path, phantoms: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    """The record of its weights tells the size, and not the profile."""
    install(monkeypatch, FakeTrainer())
    own = {"student_kind": "attention_unet", "student_base": 6, "student_options": {"dropout": 0.1}}
    network = segmentation_student("attention_unet", spatial_dims=2, in_channels=1, out_channels=1, base=6)
    save_weights(start := tmp_path / "pruned" / "model.pt", network.state_dict())
    write_json(start.with_suffix(".json"), {"settings": {"epochs": 1, **own}})
    words = ["--arms", "kd", "--seeds", "0", "--set", f"student_pretrained={start}"]
    comparison, runs = made("methods", tmp_path / "o", phantoms["methods"], *words)
    assert comparison.possible(runs) == runs
    plan = comparison.settings_of(runs[0])
    assert not {*own} & {*plan} and plan["epochs"] == TASKS["segmentation"].tiny["epochs"]
    get = bundle_parser(bundle_folder("seg_kd"), plan).get_parsed_content
    assert {name: get(name) for name in own} == own
    comparison, runs = made("methods", tmp_path / "o", phantoms["methods"], *words, "student_base=4")
    with pytest.raises(ValueError, match="student_base is 4, but .* was trained with 6"):
        comparison.possible(runs)


def test_a_table_of_folds_names_them_and_their_patients():
    dice = ["Dice TC", "Dice WT", "Dice ET", "lesion-wise Dice TC", "lesion-wise Dice WT", "lesion-wise Dice ET"]
    distances = ["HD95 TC [mm]", "HD95 WT [mm]", "HD95 ET [mm]"]

    def of_fold(arm: str, fold: int, section: str = "test") -> RunRecord:
        one = record(arm, 0, 0.1 * (arm == "kd"), 5.0, "regions", None if arm == "teacher" else arm)
        patients = {metric: {f"{fold}{p}": v for p, v in own.items()} for metric, own in one.patients.items()}
        split = {"task": "regions", "fold": fold, "section": section}
        settings = {**one.settings, "fold": fold, "train_on_validation": True}
        metrics = {**one.metrics, **dict.fromkeys([*dice, *distances], 0.5)}
        return replace(one, name=f"{arm}-{fold}", split=split, patients=patients, settings=settings, metrics=metrics)

    text = MethodComparison.tables([of_fold(arm, fold) for fold in (0, 2) for arm in ("supervised", "kd", "teacher")])
    assert text.startswith("### Regions, test set of folds 0, 2: 16 patients\n")
    assert " 16 of 16 |" in text and text.count("| kd ") == 6
    # all scores of each region, in tables of a width that can be read
    heads = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| arm")]
    assert max(map(len, heads)) <= 8
    by_region = [head[2:] for head in heads if "Dice ET" in head or "HD95 ET [mm]" in head]
    assert by_region == [dice, distances] * 2
    assert {*TASKS["regions"].scores, *TASKS["regions"].distances} <= {name for head in heads for name in head}
    # who was trained on is not taken for somebody new
    (seen,) = MethodComparison.groups([of_fold("kd", 1, "validation")])
    assert seen.title == "Regions, validation set (trained on) of fold 1: 8 patients"


@pytest.mark.parametrize("first", [[], ["--teacher_checkpoint", "first"]])
def test_students_of_two_teachers_are_no_comparison(
    first: list[str], tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    # weights without a record are not scored, and the student alone has no teacher that would differ
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        save_weights(tmp_path / name, {"weight": torch.full((1,), len(name))})
    install(monkeypatch, FakeTrainer())
    comparison, runs = _tiny(tmp_path / "o", data, "--arms", "kd", *first)
    comparison.do([run for run in runs if run.arm.name != "given"])
    trainer = install(monkeypatch, FakeTrainer())
    other, added = _tiny(tmp_path / "o", data, "--arms", "cwd", "--teacher_checkpoint", "second")
    with pytest.raises(ValueError, match="students learned from several teachers"):
        other.do([run for run in added if run.arm.name != "given"])
    assert not trainer.asked


def test_records_of_two_tasks_are_no_comparison():
    with pytest.raises(ValueError, match="of the tasks classification, segmentation; make a table of one"):
        MethodComparison.tables([*RECORDS, record("supervised", 0, 0.0, 1.0, "classification")])
    (group,) = MethodComparison.groups([record("supervised", 0, 0.0, 1.0, "classification")])
    assert group.title == "Classification, validation set" and group.patient_metric == "val_patient_accuracy"


def test_the_page_of_a_comparison_has_the_corrected_intervals(tmp_path: Path):
    mixed = {"p0": 0.55, "p1": 0.49, "p2": 0.6, "p3": 0.48, "p4": 0.54, "p5": 0.5, "p6": 0.53, "p7": 0.49}
    metric = TASKS["segmentation"].patient_score
    records = [replace(r, command=["ckdmed", "experiment", "methods"]) for r in RECORDS if r.seed == 0]
    # the second smallest p-value of three
    others = {"cwd": mixed, "fuse_stn": dict.fromkeys(mixed, 0.5)}
    records = [replace(r, patients={metric: others[r.arm]}) if r.arm in others else r for r in records]
    collect_records(records, tmp_path / "methods-segmentation.jsonl")
    assert main(["report", str(tmp_path / "methods-segmentation.jsonl"), "--out", str(tmp_path / "out")]) == 0
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    arms = ["kd", "cwd", "fuse_stn"]
    found = corrected_differences(records, metric, "supervised", arms)["cwd"].difference
    assert found.level > 0.95 and "95% over patients (Holm)" in html
    (forest,) = (tmp_path / "out").rglob("*-forest.png")
    (panel,) = read_values(forest).values()
    assert panel["cwd"][0] == [round(value, 6) for value in (found.estimate, found.low, found.high)]
