"""Steps whose gradients are averaged into one: of the student, and of the teacher that is trained before it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from ckdmed.json_files import read_json
from tests.bundle import seg_kd_runs
from tests.bundle.bundle_runs import BUNDLES


@pytest.mark.bundle
def test_the_teacher_is_trained_by_as_many_as_the_student(tmp_path: Path) -> None:
    taken: list[int] = []
    hook = register_optimizer_step_post_hook(lambda optimizer, *rest: taken.append(id(optimizer)))
    try:
        made = seg_kd_runs.run(tmp_path, accumulation_steps=1000, teacher_epochs=2)
    finally:
        hook.remove()
    assert len(made.parser.get_parsed_content("train#dataloader")) > 1
    # an epoch's last step is taken whatever is left of it
    assert len(taken) == 3 and len(set(taken)) == 2
    assert torch.load(tmp_path / "teacher" / "teacher.pt", weights_only=True)


@pytest.mark.parametrize("setting", ["accumulation_steps", "compile"])
@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*_kd/train.json")))
def test_every_distillation_hands_it_to_both(bundle: str, setting: str) -> None:
    config = read_json(BUNDLES / bundle / "train.json")
    teachers = config.get("prepare_teacher") or config["prepare_teachers"]
    assert teachers[setting] == config["train"]["trainer"][setting] == f"@{setting}"
