"""Settings that do not go together are refused before a run begins, not once a teacher has been trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.effective_settings import reached
from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.run_lock import LOCK_NAME
from tests.bundle import cls_runs, seg_kd_runs
from tests.bundle.bundle_runs import BUNDLES, opened
from tests.bundle.test_brats_bundles import STUDENT, TINY

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]
SIZES: dict[str, dict[str, Any]] = {
    "seg_kd": {**seg_kd_runs.TINY, "device": "$torch.device('cpu')"},
    "cls_kd": {**cls_runs.TINY, **cls_runs.STUDENT},
    "brats_seg_kd": {**TINY, **STUDENT},
    "brats_seg_teacher": TINY,
    "brats_unimodal_kd": {**TINY, **STUDENT},
}


@pytest.mark.parametrize(
    ("bundle", "settings", "message"),
    [
        ("seg_kd", {"mixup": 0.2, "cache_teacher": "memory"}, "set mixup to 0 or cache_teacher to false"),
        ("seg_kd", {"augmentation": "report", "cache_teacher": "memory"}, "augmentation 'report' makes others"),
        ("seg_kd", {"method": "cross_architecture", "student_view": "strong"}, "student_view 'strong' moves pixels"),
        ("seg_kd", {"label_fraction": 0.5, "labelled_per_batch": 1.0}, "labelled_per_batch must be"),
        ("cls_kd", {"mixup": 0.2, "teacher_folds": 2}, "set mixup to 0 or teacher_folds to 1"),
        ("cls_kd", {"augmentation": "report", "cache_teacher": "disk"}, "augmentation 'report' makes others"),
        ("brats_seg_kd", {"mixup": 0.2, "teacher_folds": 2}, "set mixup to 0 or teacher_folds to 1"),
        ("brats_seg_kd", {"recipe": "nnunet", "labelled_per_batch": 0.5}, "uniformly from all slices"),
        ("brats_seg_kd", {"spatial_dims": 3, "labelled_per_batch": 0.5}, "labelled_per_batch is 0.5, but each volume"),
        ("brats_seg_teacher", {"spatial_dims": 3, "neighbours": 1}, "have no slices beside them"),
        ("brats_unimodal_kd", {"recipe": "nnunet", "labelled_per_batch": 0.5}, "uniformly from all slices"),
    ],
)
def test_before_the_run_begins(tmp_path: Path, bundle: str, settings: dict[str, Any], message: str) -> None:
    folder = tmp_path / "run"
    with pytest.raises((ValueError, RuntimeError)) as raised:
        opened(bundle, **{**SIZES[bundle], "output_dir": str(folder), **settings}).run()
    assert message in str(root_cause(raised.value))
    # the loss of classes is made of the labels, so that its folder is claimed and phantoms are drawn by then
    assert {path.name for path in folder.glob("*")} <= ({"phantoms", LOCK_NAME} if bundle == "cls_kd" else set())


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/train.json")))
@pytest.mark.parametrize("name, claim", [("train", "@claimed_dir"), ("evaluate", "check_evaluation_folder(")])
def test_a_folder_is_claimed_before_data_are_made(bundle: str, name: str, claim: str) -> None:
    """cls_kd drew its phantoms first, or cut its cases into slices, to be refused by the folder a minute later."""
    files = [BUNDLES / bundle / f"{part}.json" for part in dict.fromkeys(("train", name))]
    config = {key: value for path in files for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    steps = [*config["initialize"], *config["run"]]
    place = next(number for number, step in enumerate(steps) if claim in str(step))
    assert not {"sections", "dataset"} & reached({**config, "before": steps[: place + 1]}, ["before"])
