"""The classification bundles at a size that trains in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tests.bundle.bundle_runs import completed, opened, shared_phantoms

TEACHER: dict[str, Any] = {"vgg_width": 0.03, "vit_hidden": 8, "vit_layers": 1, "vit_heads": 2}
TINY: dict[str, Any] = {
    **TEACHER,
    "epochs": 1,
    "phantom_patients": 6,
    "sections#phantom_size": 48,
    "sections#phantom_slices": [3, 6],
    "image_size": 32,
    "device": "$torch.device('cpu')",
}
# a student of a tenth of the layers, with EfficientNet's names where the taps look
STUDENT: dict[str, Any] = {
    "teacher_epochs": 1,
    "network_def": {
        "_target_": "monai.networks.nets.EfficientNet",
        "blocks_args_str": [
            "r1_k3_s11_e1_i32_o16_se0.25",
            "r1_k3_s22_e2_i16_o24_se0.25",
            "r1_k3_s22_e2_i24_o40_se0.25",
            "r1_k3_s22_e2_i40_o80_se0.25",
            "r1_k3_s11_e2_i80_o112_se0.25",
        ],
        "spatial_dims": 2,
        "in_channels": "@in_channels",
        "num_classes": "$len(@class_names)",
        "width_coefficient": 0.25,
        "depth_coefficient": 1.0,
        "dropout_rate": 0.0,
        "image_size": 32,
    },
}
# what the phantoms of a run depend on
PHANTOMS = ("phantom_patients", "sections#phantom_size", "sections#phantom_slices", "seed")


def workflow(name: str, output_dir: Path, overlay: str | None = None, **overrides: Any) -> ConfigWorkflow:
    """A bundle's training, or with ``overlay`` what it makes of it, initialised."""
    settings = {**TINY, **(STUDENT if name == "cls_kd" else {}), "output_dir": str(output_dir), **overrides}
    if not {"dataset_dir", "task"} & set(settings):
        sizes = (str(settings.get(name)) for name in PHANTOMS)
        settings.setdefault("sections#phantom_dir", shared_phantoms("cls", *sizes))
    return opened(name, *(["train.json", overlay] if overlay else []), **settings)


def run(name: str, output_dir: Path, overlay: str | None = None, **overrides: Any) -> ConfigWorkflow:
    """The same, run to its end."""
    return completed(workflow(name, output_dir, overlay, **overrides))
