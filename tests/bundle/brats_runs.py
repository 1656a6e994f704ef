"""The BraTS bundles' evaluation and inference at a size that runs in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from tests.bundle.bundle_runs import opened, record

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ("brats_seg_kd", "brats_seg_teacher")
SIZES: dict[str, dict[str, Any]] = {
    "brats_seg_kd": {"student_base": 2},
    "brats_seg_teacher": {
        "teacher_base": 2,
        "vit_img_size": 32,
        "vit_hidden": 16,
        "vit_layers": 1,
        "vit_heads": 2,
    },
}
TINY: dict[str, Any] = {"image_size": 32, "roi_size": [16, 16, 16], "device": "$torch.device('cpu')"}
PHANTOMS: dict[str, Any] = {"phantom_cases": 6, "sections#phantom_shape": [40, 36, 20]}


def write_checkpoint(path: Path, bundle: str = "brats_seg_kd", **settings: Any) -> str:
    """Random weights of the bundle's network at the tests' size."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles" / bundle / "inference.json"))
    parser.update({**TINY, **SIZES[bundle], **settings})
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    sizes = {**TINY, **SIZES[bundle], **settings}
    record(path, bundle, **{name: value for name, value in sizes.items() if name != "device"})
    return str(path)


def workflow(kind: str, bundle: str, output_dir: Path, **settings: Any) -> ConfigWorkflow:
    """``evaluate`` or ``inference`` of a bundle, initialised."""
    names = ["train.json", "evaluate.json"] if kind == "evaluate" else [f"{kind}.json"]
    sizes = {**TINY, **SIZES[bundle], **(PHANTOMS if kind == "evaluate" else {})}
    return opened(bundle, *names, **{**sizes, "output_dir": str(output_dir), **settings})


def infer(output_dir: Path, bundle: str = "brats_seg_kd", **settings: Any) -> tuple[dict[str, Any], int]:
    """Run the inference to its end; returns the report and the exit status."""
    run = workflow("inference", bundle, output_dir, **settings)
    run.run()
    status = 0
    try:
        run.finalize()
    except SystemExit as end:
        status = int(end.code or 0)
    return json.loads((output_dir / "report.json").read_text(encoding="utf-8")), status
