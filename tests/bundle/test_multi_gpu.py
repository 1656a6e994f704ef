"""The multi-GPU overlays under torchrun, with gloo on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from ckdmed.engines import load_network

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

SIZES = {"image_size": 32, "teacher_base": 2, "vit_img_size": 32, "vit_hidden": 12, "vit_heads": 2, "vit_layers": 1}
SIZES |= {"batch_size": 4, "epochs": 2, "device": "cpu"}
PATIENTS: dict[str, object] = {"phantom_patients": 15}
CASES: dict[str, object] = {"phantom_cases": 6, "sections#phantom_shape": [24, 24, 16], "slices_per_epoch": 16}
STUDENT: dict[str, object] = {"student_base": 2, "teacher_epochs": 1}
OF_BUNDLE: dict[str, dict[str, object]] = {
    "seg_kd": {**PATIENTS, **STUDENT, "label_fraction": 0.5},
    "seg_teacher": PATIENTS,
    "brats_seg_kd": {**CASES, **STUDENT, "label_fraction": 0.5},
    "brats_seg_teacher": CASES,
    "brats_unimodal_kd": {**CASES, **STUDENT, "label_fraction": 0.5},
}
# a bundle in another of its ways of training
VARIANTS: dict[str, dict[str, object]] = {"brats_unimodal_kd": {"teacher_mode": "online"}}


def torchrun(files: list[str], settings: dict[str, object]) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle"]
    words += ["run", "--config_file", str(files)]
    for key, value in settings.items():
        words += [f"--{key}", str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("bundle", "variant"),
    [pytest.param(name, {}, id=name) for name in sorted(OF_BUNDLE)]
    + [pytest.param(name, settings, id=f"{name}-variant") for name, settings in VARIANTS.items()],
)
def test_its_metric_is_that_of_one_process(bundle: str, variant: dict[str, object], tmp_path: Path) -> None:
    files = [f"bundles/{bundle}/train.json", f"bundles/{bundle}/multi_gpu_train.json"]
    settings = {**SIZES, **OF_BUNDLE[bundle], **variant}
    # the overlay chooses the devices itself
    told = {key: value for key, value in settings.items() if key != "device"}
    done = torchrun(files, {**told, "output_dir": tmp_path / "two"})
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in (tmp_path / "two/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    best = max(row["metrics"]["val_mean_dice"] for row in rows)

    workflow = ConfigWorkflow(
        str(ROOT / files[0]), workflow_type="train", output_dir=str(tmp_path / "one"), **settings  # type: ignore
    )
    workflow.initialize()
    load_network(workflow.parser.get_parsed_content("network_def"), str(tmp_path / "two/models/model.pt"))
    evaluator = workflow.parser.get_parsed_content("validate#evaluator")
    evaluator.run()
    assert evaluator.state.metrics["val_mean_dice"] == pytest.approx(best, abs=1e-6)


def test_one_failure_ends_the_run_with_its_error(tmp_path: Path) -> None:
    overlay = tmp_path / "fails.json"
    overlay.write_text(json.dumps({"run": ["$@train#trainer.run() if @rank == 0 else 1 / 0"]}), encoding="utf-8")
    files = ["bundles/seg_teacher/train.json", "bundles/seg_teacher/multi_gpu_train.json", str(overlay)]
    told = {key: value for key, value in SIZES.items() if key != "device"}
    done = torchrun(files, {**told, **PATIENTS, "epochs": 200, "output_dir": tmp_path / "out"})
    assert done.returncode != 0
    assert "division by zero" in done.stderr + done.stdout
