"""Small runs on disk, as trainings, evaluations and inferences leave them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from ckdmed.files import save_weights
from ckdmed.metrics import reliability_counts, segmentation_scores
from ckdmed.reports import write_segmentation_report

__all__ = ["MARKUP", "write_inference", "write_training"]

#: a name that would run, if it were not escaped
MARKUP = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


def write_training(folder: Path, seed: int = 0, best: float = 0.8, evaluated: bool = True, **settings: object) -> Path:
    """The output folder of a training of two epochs with a teacher."""
    import torch

    folder.mkdir(parents=True)
    record = {
        "command": ["python", "-m", "monai.bundle", "run", "--seed", str(seed)],
        "settings": {"bundle_root": "bundles/seg_kd", "method": "ckd", "epochs": 2, "seed": seed, **settings},
        "method_options": {"w_logit": 0.4711},
        "versions": {"ckdmed": "0.1.0"},
    }
    (folder / "settings.json").write_text(json.dumps(record))
    rows = [
        {"epoch": 1, "loss": 1.0, "terms": {"supervised": 0.9}, "seconds": 30.0, "metrics": {"val_mean_dice": 0.5}},
        {"epoch": 2, "loss": 0.5, "terms": {"supervised": 0.4}, "seconds": 30.0, "metrics": {"val_mean_dice": best}},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "teacher").mkdir()
    taught = {"epoch": 1, "loss": 0.7, "terms": {}, "seconds": 15.0, "metrics": {"val_mean_dice": 0.9}}
    (folder / "teacher/teacher_history.jsonl").write_text(json.dumps(taught) + "\n")
    save_weights(folder / "models/model.pt", {"a": torch.zeros(30), "b": torch.zeros(4)})
    save_weights(folder / "teacher/teacher.pt", {"a": torch.zeros(5000)})
    if evaluated:
        truth = np.pad(np.ones((6, 6), bool), 5)
        scores = [
            {"id": f"s{i}", "patient": f"p{i // 2}", "class": 1}
            | segmentation_scores(np.roll(truth, i % 3 + seed, axis=0), truth, 0.5)
            for i in range(8)
        ]
        reliability = [
            {"id": f"s{i}", "patient": f"p{i // 2}", "region": "tumour"}
            | {"counts": reliability_counts(0.2 + 0.7 * truth, truth, np.roll(truth, i % 3, axis=0))}
            for i in range(8)
        ]
        write_segmentation_report(
            scores, folder / "evaluation", {"section": "test"}, n_bootstrap=20, reliability=reliability
        )
    return folder


def write_inference(
    folder: Path,
    affine: np.ndarray,
    shape: tuple[int, int, int] = (20, 24, 6),
    mark_mm: tuple[int, int, int] = (3, 3, 3),
) -> Path:
    """The output folder of an inference over one volume with a bright, predicted mark towards the patient's right.

    Args:
        folder: of the run; the input lies beside it.
        affine: index to mm, RAS.
        shape: of the volume.
        mark_mm: where the mark is from the middle of the volume, in mm towards right, front and top.
    """
    inputs = folder.parent / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    middle = affine @ [*((np.array(shape) - 1) / 2), 1]
    index = np.linalg.inv(affine) @ [*(middle[:3] + np.array(mark_mm)), 1]
    first = np.round(index[:3]).astype(int)
    block = tuple(slice(i, i + 2) for i in first)
    image = np.random.default_rng(0).integers(50, 60, shape).astype(np.int16)
    image[block] = 200
    mask = np.zeros(shape, np.uint8)
    mask[block] = 1
    nib.save(nib.Nifti1Image(image, affine), inputs / "one.nii.gz")
    nib.save(nib.Nifti1Image(mask, affine), folder / "one_mask.nii.gz")
    report = {
        "dataset_dir": str(inputs),
        "checkpoint": "model.pt",
        "checkpoint_sha256": "ab" * 32,
        "settings": {"slice_axis": -1, "threshold": 0.3},
        "counts": {"done": 1, "kept": 0, "skipped": 1},
        "results": [
            {
                "name": "one",
                "input": [str(inputs / "one.nii.gz")],
                "outputs": ["one_mask.nii.gz"],
                "known_from": ["train"],
            }
        ],
        "skipped": [{"file": f"{MARKUP}.nii", "cause": "is empty"}],
    }
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "results.jsonl").write_text("")
    return folder
