"""Every bundle at a size that exports and runs in seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from tests.bundle.bundle_runs import record

ROOT = Path(__file__).resolve().parents[2]
#: Bundles with metadata; one that is added is tested by that alone.
BUNDLES = sorted(path.parent.name for path in ROOT.glob("bundles/*/metadata.json"))

# the sizes of networks; a bundle takes those that it has
SIZES: dict[str, Any] = {
    "student_kind": "unet",
    "student_base": 4,
    "teacher_base": 4,
    "image_size": 32,
    "vit_img_size": 32,
    "vit_hidden": 16,
    "vit_layers": 1,
    "vit_heads": 2,
    "vgg_width": 0.03,
}
RUN: dict[str, Any] = {
    "epochs": 1,
    "teacher_epochs": 1,
    "phantom_patients": 6,
    "phantom_cases": 6,
    "slices_per_epoch": 8,
    "roi_size": [16, 16, 16],
    "sections#phantom_size": 48,
}
# where sections come from another function than that of the slices of Figshare
RUN_OF_CASES: dict[str, Any] = {"sections#phantom_shape": [24, 24, 16]}


def config(bundle: str, name: str) -> dict[str, Any]:
    return json.loads((ROOT / "bundles" / bundle / name).read_text(encoding="utf-8"))


def fitting(sizes: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the sizes that a configuration has; classification has other kinds of students."""
    other = {"student_kind"} if "class_names" in settings else set()
    return {key: value for key, value in sizes.items() if key.split("#")[0] in settings and key not in other}


def sizes_of(bundle: str, name: str = "inference.json") -> dict[str, Any]:
    return fitting(SIZES, config(bundle, name))


def write_checkpoint(path: Path, bundle: str, name: str = "inference.json", component: str = "network_def") -> Path:
    """Random weights of a network of the bundle at its small sizes."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles" / bundle / name))
    parser.update(sizes_of(bundle, name))
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(parser.get_parsed_content(component).state_dict(), path)
    if component == "network_def":
        record(path, bundle, **sizes_of(bundle))
    return path


def environment() -> dict[str, str]:
    """For the processes that run commands: this checkout, one thread, no display."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
