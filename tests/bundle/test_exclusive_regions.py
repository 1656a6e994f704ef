"""Regions that exclude each other, from the teacher's training to the masks of an inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckdmed.bundle.errors import root_cause
from ckdmed.networks import ExclusiveRegions
from tests.bundle import seg_kd_runs
from tests.bundle.bundle_runs import completed, history, opened

pytestmark = [pytest.mark.slow, pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]
REGIONS = {"core": [1], "rim": [2]}


@pytest.fixture
def datalist(tmp_path: Path) -> Path:
    """Discs with a rim, of nine patients."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    items = []
    (tmp_path / "data").mkdir()
    for number in range(9):
        distance = np.hypot(rows - rng.integers(16, 32), columns - rng.integers(16, 32))
        label = np.where(distance < 6, 1, np.where(distance < 10, 2, 0)).astype(np.uint8)
        image = (80 * (label == 1) + 160 * (label == 2) + rng.integers(0, 60, label.shape)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / f"image{number}.png")
        Image.fromarray(label).save(tmp_path / "data" / f"label{number}.png")
        items.append({"image": f"image{number}.png", "label": f"label{number}.png", "patient": f"p{number}"})
    path = tmp_path / "data" / "datalist.json"
    path.write_text(json.dumps({"training": items[:5], "validation": items[5:7], "test": items[7:]}), encoding="utf-8")
    return path


def test_taught_scored_and_used(tmp_path: Path, datalist: Path) -> None:
    shared: dict[str, Any] = {**seg_kd_runs.TINY, "device": "$torch.device('cpu')", "profile": "demo"}
    shared |= {"dataset_dir": str(datalist), "exclusive": True, "regions": REGIONS}
    for name in ("phantom_patients", "sections#phantom_size"):
        del shared[name]
    alone = {key: value for key, value in shared.items() if key not in ("teacher_epochs", "student_base")}
    completed(opened("seg_teacher", **{**alone, "output_dir": str(tmp_path / "teacher"), "teacher_kind": "dynunet"}))
    checkpoint = str(tmp_path / "teacher" / "models" / "model.pt")
    settings = {**shared, "output_dir": str(tmp_path / "student"), "teacher_checkpoint": checkpoint, "epochs": 8}
    settings |= {"learning_rate": 0.02, "student_base": 4}
    # the teacher's record has them
    del settings["exclusive"], settings["teacher_base"]
    made = completed(opened("seg_kd", **settings))
    rows = history(tmp_path / "student")
    assert {"supervised", "soft_targets", "edges"} <= set(rows[0]["terms"])
    assert rows[-1]["terms"]["supervised"] < rows[0]["terms"]["supervised"]
    assert made.network_def.head.conv.out_channels == 3
    assert isinstance(made.parser.get_parsed_content("validate#evaluator").network, ExclusiveRegions)
    for name in ("curves.png", "predictions.png"):
        assert (tmp_path / "student" / name).is_file()

    weights = str(tmp_path / "student" / "models" / "model.pt")
    scored = {key: value for key, value in shared.items() if key not in ("epochs", "teacher_epochs", "exclusive")}
    scored |= {"student_base": 4, "checkpoint": weights, "evaluation_dir": str(tmp_path / "scores")}
    completed(opened("seg_kd", "train.json", "evaluate.json", **{**scored, "output_dir": str(tmp_path / "student")}))
    assert (tmp_path / "scores" / "summary.json").is_file()

    used = opened(
        "seg_kd",
        "inference.json",
        dataset_dir=str(datalist.parent / "image8.png"),
        checkpoint=weights,
        output_dir=str(tmp_path / "masks"),
        device="cpu",
        threshold=0.5,
    )
    used.run()
    network = used.parser.get_parsed_content("network_def")
    assert isinstance(network, ExclusiveRegions)
    assert list((tmp_path / "masks").rglob("*.png"))


def test_what_does_not_go_together(tmp_path: Path) -> None:
    for given, message in (({"mixup": 0.4}, "set mixup to 0"), ({"teacher_folds": 3}, "teacher_folds are calibrated")):
        with pytest.raises(Exception) as raised:
            seg_kd_runs.workflow(tmp_path, exclusive=True, **given)
        assert message in str(root_cause(raised.value))
        assert not (tmp_path / "settings.json").exists()
