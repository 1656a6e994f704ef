"""The distillation bundle at a size that trains in a second."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tests.bundle.bundle_runs import BUNDLES, completed, opened, shared_phantoms

BUNDLE = BUNDLES / "seg_kd"

TINY: dict[str, Any] = {
    "epochs": 1,
    "teacher_epochs": 1,
    "phantom_patients": 6,
    "sections#phantom_size": 48,
    "image_size": 32,
    "student_base": 2,
    "teacher_base": 4,
    "vit_img_size": 32,
    "vit_hidden": 16,
    "vit_layers": 1,
    "vit_heads": 2,
    "device": "cpu",
}
# what the phantoms of a run depend on
PHANTOMS = ("phantom_patients", "sections#phantom_size", "sections#phantom_slices", "seed")


def workflow(output_dir: Path, **overrides: Any) -> ConfigWorkflow:
    """The training of the bundle, initialised."""
    settings = {**TINY, "device": "$torch.device('cpu')", "output_dir": str(output_dir), **overrides}
    if not {"dataset_dir", "task"} & set(settings):
        sizes = (str(settings.get(name)) for name in PHANTOMS)
        settings.setdefault("sections#phantom_dir", shared_phantoms("seg", *sizes))
    return opened("seg_kd", **settings)


def run(output_dir: Path, **overrides: Any) -> ConfigWorkflow:
    """The same, run to its end."""
    return completed(workflow(output_dir, **overrides))


def command(output_dir: Path, **overrides: Any) -> list[str]:
    """The command line of such a run, to be started inside the bundle's folder."""
    settings = {**TINY, "device": "$torch.device('cpu')", "output_dir": str(output_dir), **overrides}
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", "train.json", *options]


def environment() -> dict[str, str]:
    """For a process that finds this checkout from anywhere."""
    path = os.pathsep.join(filter(None, (str(BUNDLES.parent), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
