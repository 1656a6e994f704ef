from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from ckdmed.bundle import figshare_classes
from ckdmed.bundle.errors import root_cause
from ckdmed.engines import weights_hash
from ckdmed.inference import InputsSkipped
from ckdmed.networks import EfficientNetB0, classification_teacher
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import BUNDLES
from tests.bundle.cls_runs import TEACHER, TINY, run, workflow

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command itself with its own student, EfficientNet-B0, from inside the bundle's folder."""
    folder = tmp_path_factory.mktemp("cls") / "out"
    settings = {**TINY, "teacher_epochs": 1, "output_dir": str(folder)}
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "--config_file", "train.json", *options],
        cwd=BUNDLES / "cls_kd",
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(BUNDLES.parent)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "done: best val_accuracy" in done.stdout.splitlines()[-1] and f"Everything is in {folder}" in done.stdout
    return folder


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_artefacts(distilled: Path):
    for name in ("curves.png", "predictions.png", "settings.json", "teacher/teacher.pt"):
        assert (distilled / name).is_file()
    (row,) = rows(distilled / "metrics.jsonl")
    assert set(row["terms"]) == {"supervised", "soft_targets"} | ({"msgff"} if "msgff" in row["terms"] else set())
    assert set(row["metrics"]) == {"val_accuracy", "val_loss"} and 0 <= row["metrics"]["val_accuracy"] <= 1
    state = torch.load(distilled / "models" / "model.pt", weights_only=True)
    EfficientNetB0(3, 3).load_state_dict(state, strict=True)
    settings = json.loads((distilled / "settings.json").read_text(encoding="utf-8"))["settings"]
    assert settings["teacher_kind"] == "vgg_vit" and settings["class_names"][1] == "glioma"


@pytest.mark.rendered
def test_evaluate_scores_student_and_shows_the_teacher_beside_it(distilled: Path, tmp_path: Path):
    student = json.loads((BUNDLES / "cls_kd" / "train.json").read_text(encoding="utf-8"))["network_def"]
    run(
        "cls_kd",
        distilled,
        "evaluate.json",
        network_def=student,
        evaluation_dir=str(tmp_path),
        checkpoint=str(distilled / "models" / "model.pt"),
    )
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert {"accuracy", "balanced_accuracy", "macro_auc", "ece", "intervals"} <= set(summary["slices"])
    assert summary["temperature"]["value"] > 0 and len(summary["settings"]["checkpoint_sha256"]) == 64
    sections = figshare_classes(None, str(distilled / "phantoms"), phantom_patients=6, phantom_size=48)
    assert summary["n_slices"] == len(sections["test"])
    for name in ("gradcam.png", "predictions.png", "confusion_patients.png", "probabilities.csv"):
        assert (tmp_path / name).is_file()


def test_inference_on_good_and_bad_files(distilled: Path, tmp_path: Path):
    sections = figshare_classes(None, str(distilled / "phantoms"), phantom_patients=6, phantom_size=48)
    inputs = tmp_path / "in"
    inputs.mkdir()
    for item in sections["test"][:3]:
        (inputs / Path(item["image"]).name).symlink_to(item["image"])
    (inputs / "broken.mat").write_bytes(b"nothing")
    settings = {
        "dataset_dir": str(inputs),
        "output_dir": str(tmp_path / "out"),
        "checkpoint": str(distilled / "models" / "model.pt"),
        "image_size": 32,
        "student_kind": "efficientnet_b0",
        "device": "$torch.device('cpu')",
    }

    def infer(**more: object) -> ConfigWorkflow:
        made = ConfigWorkflow(
            str(BUNDLES / "cls_kd" / "inference.json"),
            meta_file=None,
            logging_file=False,
            workflow_type="infer",
            **settings,
            **more,
        )
        made.initialize()
        made.run()
        return made

    made = infer()
    with pytest.raises(InputsSkipped):
        made.finalize()
    table = list(csv.DictReader((tmp_path / "out" / "probabilities.csv").open()))
    assert sorted(row["name"] for row in table) == sorted(Path(item["image"]).stem for item in sections["test"][:3])
    assert "broken.mat" in (tmp_path / "out" / "skipped.csv").read_text(encoding="utf-8")
    # the probabilities are those of the training's own preprocessing and the student
    network = EfficientNetB0(3, 3).eval()
    network.load_state_dict(torch.load(distilled / "models" / "model.pt", weights_only=True))
    chain = workflow("cls_kd", distilled, resume=True).parser.get_parsed_content("validate#preprocessing")
    with torch.no_grad():
        for item in sections["test"][:3]:
            expected = network(chain(item)["image"][None]).softmax(1)[0]
            (row,) = [row for row in table if row["name"] == Path(item["image"]).stem]
            got = [float(row[f"probability_{name}"]) for name in ("meningioma", "glioma", "pituitary tumour")]
            assert got == pytest.approx(expected.tolist(), abs=1e-5)
    again = infer(resume=True)
    assert sorted(again.parser.get_parsed_content("job").kept) == sorted(row["name"] for row in table)
    with pytest.raises(InputsSkipped):
        again.finalize()
    assert len(list(csv.DictReader((tmp_path / "out" / "probabilities.csv").open()))) == 3


@pytest.mark.slow
def test_msgff_reads_the_last_convolution_and_the_chosen_block(tmp_path: Path):
    made = workflow("cls_kd", tmp_path, student_block=2, epochs=2)
    student = made.parser.get_parsed_content("student")
    teacher = made.parser.get_parsed_content("teacher")
    assert teacher.taps.paths == {"msgff": "branches.0.features.51"} and student.taps.paths == {"msgff": "_blocks.2"}
    assert student.projections["msgff"].conv.weight.shape[:2] == (15, 16)
    before = weights_hash(student.projections)
    made.run()
    assert weights_hash(student.projections) != before
    assert "msgff" in made.trainer.state.terms or rows(tmp_path / "metrics.jsonl")[0]["terms"]["msgff"] > 0


@pytest.mark.parametrize(
    "settings, terms",
    [
        ({"method": "supervised", "mixup": 0.4, "label_smoothing": 0.1}, {"supervised"}),
        ({"teacher_kind": "vit_vit", "class_weights": [1.0, 2.0, 1.0]}, {"supervised", "soft_targets"}),
        (
            {"teacher_kind": "vgg_vgg", "method": "report_kd", "scaling": "report"},
            {"supervised", "soft_targets", "msgff"},
        ),
    ],
)
def test_settings(tmp_path: Path, settings: dict, terms: set):
    run("cls_kd", tmp_path, **settings)
    (row,) = rows(tmp_path / "metrics.jsonl")
    assert set(row["terms"]) == terms and row["loss"] > 0
    assert (tmp_path / "teacher" / "teacher.pt").exists() == (settings.get("method") != "supervised")


@pytest.mark.slow
def test_resumed_equals_unbroken(tmp_path: Path):
    settings = {"epochs": 3, "batch_size": 8, "mixup": 0.3}
    unbroken = run("cls_kd", tmp_path / "unbroken", **settings)
    broken = workflow("cls_kd", tmp_path / "broken", **settings)
    break_off(broken, Events.EPOCH_STARTED(once=3))
    resumed = run("cls_kd", tmp_path / "broken", resume=True, **settings)
    assert weights_hash(resumed.network_def) == weights_hash(unbroken.network_def)


@pytest.mark.slow
def test_teacher_bundle_feeds_the_student_bundle(tmp_path: Path):
    run("cls_teacher", tmp_path / "teacher", freeze="early")
    checkpoint = tmp_path / "teacher" / "models" / "model.pt"
    state = torch.load(checkpoint, weights_only=True)
    sizes = {"vit_img_size": 32, "vit_patch": 8, "vgg_img_size": None}
    classification_teacher("vgg_vit", **sizes, **TEACHER).load_state_dict(state)
    run("cls_kd", tmp_path / "student", teacher_checkpoint=str(checkpoint))
    assert not (tmp_path / "student" / "teacher").exists()
    run("cls_teacher", tmp_path / "teacher", "evaluate.json")
    assert (tmp_path / "teacher" / "evaluation" / "gradcam.png").is_file()


def test_frozen_layers_stay_as_they_were(tmp_path: Path):
    made = workflow("cls_kd", tmp_path, freeze="early")
    network = made.parser.get_parsed_content("teacher_network")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made.parser.get_parsed_content("prepare_teacher")()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    early = {n for n in before if n.startswith("branches.0.features.") and int(n.split(".")[3]) <= 26}
    assert early and not moved & early and "branches.0.features.49.weight" in moved


def test_a_mistyped_setting_is_refused(tmp_path: Path):
    with pytest.raises(RuntimeError) as caught:
        workflow("cls_kd", tmp_path, alfa=0.5)
    assert "'alfa' is not a setting of this bundle; did you mean 'alpha'?" in str(root_cause(caught.value))


def test_mixing_slices_of_patients_is_a_choice_and_shows(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    options = {"phantom_patients": 9, "phantom_size": 48, "fold": 1, "n_folds": 3}
    apart = figshare_classes(None, str(tmp_path), **options)
    mixed = figshare_classes(None, str(tmp_path), fold_source="slices", **options)

    def groups(sections: dict, name: str) -> set:
        return {item["patient_group"] for item in sections[name]}

    assert not groups(apart, "train") & groups(apart, "test")
    assert groups(mixed, "train") & groups(mixed, "test") and "too optimistic" in caplog.text
    assert sum(map(len, apart.values())) == sum(map(len, mixed.values()))
    paths = [item["image"] for part in mixed.values() for item in part]
    assert len(set(paths)) == len(paths)
    elsewhere = figshare_classes(None, str(tmp_path / "elsewhere"), fold_source="slices", **options)
    for name in mixed:
        assert [item["id"] for item in elsewhere[name]] == [item["id"] for item in mixed[name]]
    with pytest.raises(ValueError, match="'slices' needs a fold"):
        figshare_classes(None, str(tmp_path), fold_source="slices", phantom_patients=9, phantom_size=48)


@pytest.mark.slow
def test_the_teachers_answers_can_be_kept(tmp_path: Path):
    settings = {"epochs": 2, "batch_size": 8}
    asked = run("cls_kd", tmp_path / "asked", **settings)
    teacher = str(tmp_path / "asked" / "teacher" / "teacher.pt")
    kept = run("cls_kd", tmp_path / "kept", cache_teacher=True, teacher_checkpoint=teacher, **settings)
    cache = kept.parser.get_parsed_content("teacher_cache")
    slices = len(kept.parser.get_parsed_content("sections")["train"])
    assert cache.hits + cache.misses == 2 * slices and slices <= cache.misses < 2 * slices
    histories = [rows(tmp_path / name / "metrics.jsonl")[-1]["loss"] for name in ("asked", "kept")]
    assert histories[0] == pytest.approx(histories[1], rel=1e-3)
    assert asked.trainer.state.epoch == 2
    with pytest.raises(RuntimeError) as caught:
        run("cls_kd", tmp_path / "mixed", cache_teacher=True, mixup=0.2, teacher_checkpoint=teacher, **settings)
    assert "set mixup to 0 or cache_teacher to false" in str(root_cause(caught.value))
