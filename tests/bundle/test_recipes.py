"""The recipes in the segmentation bundles: the settings reach what they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events

from ckdmed.data.brats import BalancedSliceSampler, ForegroundSliceSampler
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.losses import BatchDiceBCELoss, MultiHeadLoss
from ckdmed.transforms import ForegroundPatchesd
from tests.bundle import seg_kd_runs, test_brats_unimodal
from tests.bundle.bundle_runs import completed, history, opened
from tests.bundle.test_brats_bundles import STUDENT, TINY, VOLUMES

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]
NNUNET = {"teacher_kind": "dynunet", "recipe": "nnunet"}


def brats(bundle: str, folder: Path, **settings: Any) -> Any:
    sizes = {**TINY, **(STUDENT if bundle == "brats_seg_kd" else {})}
    return opened(bundle, **{**sizes, "output_dir": str(folder), **settings})


def settings_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "settings.json").read_text(encoding="utf-8"))["settings"]


@pytest.mark.slow
def test_nnu_nets_teacher_of_slices(tmp_path: Path) -> None:
    made = brats("brats_seg_teacher", tmp_path, **NNUNET, epochs=2)
    seen: list[list[bool]] = []
    shapes: list[tuple[int, ...]] = []
    made.trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: (
            seen.append(engine.state.batch["label"].flatten(1).any(dim=1).tolist()),
            shapes.append(tuple(engine.state.output["pred"].shape)),
        ),
    )
    completed(made)
    # one of a batch of four by force, the last; logits of three heads
    assert len(seen) == 4 and all(batch[-1] for batch in seen)
    assert set(shapes) == {(4, 3, 3, 32, 32)}
    optimizer = made.parser.get_parsed_content("optimizer")
    assert isinstance(optimizer, torch.optim.SGD) and optimizer.param_groups[0]["weight_decay"] == 3e-5
    # 0.01 (1 - 2/4)^0.9 after the first epoch of two steps
    assert [row["learning_rate"] for row in history(tmp_path)] == [pytest.approx(0.01 * 0.5**0.9), pytest.approx(0)]
    assert settings_of(tmp_path)["teacher_options"] == {"deep_supervision": True, "deep_supr_num": 2}
    assert (tmp_path / "models" / "model.pt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("volumes", [False, True], ids=["slices", "volumes"])
def test_a_teacher_by_nnu_nets_recipe_and_a_student_by_the_usual_one(tmp_path: Path, volumes: bool) -> None:
    settings = {"teacher_recipe": "nnunet", "teacher_kind": "dynunet", **(VOLUMES if volumes else {})}
    made = completed(brats("brats_seg_kd", tmp_path, **settings))
    assert isinstance(made.parser.get_parsed_content("optimizer"), torch.optim.AdamW)
    noted = settings_of(tmp_path)
    assert (noted["teacher_learning_rate"], noted["teacher_weight_decay"], noted["weight_decay"]) == (0.01, 3e-5, 1e-4)
    (row,) = [json.loads(line) for line in (tmp_path / "teacher" / "teacher_history.jsonl").open(encoding="utf-8")]
    assert row["learning_rate"] == pytest.approx(0)
    if volumes:
        student, teacher = (
            [type(step).__name__ for step in found.transform.transforms]
            for found in (
                made.parser.get_parsed_content("train#dataset"),
                made.parser.get_parsed_content("teacher_dataset").dataset,
            )
        )
        assert "ForegroundPatchesd" in teacher and "RegionPatchesd" in student
        assert [name.replace("ForegroundPatchesd", "RegionPatchesd") for name in teacher] == student
    else:
        assert isinstance(made.parser.get_parsed_content("teacher_sampler"), ForegroundSliceSampler)
        assert isinstance(made.parser.get_parsed_content("train#sampler"), BalancedSliceSampler)


@pytest.mark.slow
def test_a_student_by_nnu_nets_recipe_and_half_of_the_labels(tmp_path: Path) -> None:
    settings = {"recipe": "nnunet", "student_kind": "dynunet", "label_fraction": 0.5, "phantom_cases": 8}
    made = completed(brats("brats_seg_kd", tmp_path, **settings, slices_per_epoch=16))
    assert isinstance(made.parser.get_parsed_content("optimizer"), torch.optim.SGD)
    assert isinstance(made.parser.get_parsed_content("train#sampler"), ForegroundSliceSampler)
    assert settings_of(tmp_path)["student_options"]["deep_supervision"] is True
    assert made.trainer.state.terms["supervised"] > 0


@pytest.mark.slow
def test_the_slices_of_figshare(tmp_path: Path) -> None:
    settings = {**seg_kd_runs.TINY, "device": "$torch.device('cpu')", "epochs": 1, **NNUNET}
    for name in ("teacher_epochs", "student_base"):
        del settings[name]
    made = completed(opened("seg_teacher", **settings, output_dir=str(tmp_path / "teacher")))
    assert isinstance(made.parser.get_parsed_content("optimizer"), torch.optim.SGD)
    checkpoint = str(tmp_path / "teacher" / "models" / "model.pt")
    taught = seg_kd_runs.run(tmp_path / "student", teacher_checkpoint=checkpoint, recipe="nnunet", epochs=1)
    # the teacher's kind and its heads are those of its record
    assert settings_of(tmp_path / "student")["teacher_options"] == {"deep_supervision": True, "deep_supr_num": 2}
    assert taught.trainer.state.terms["soft_targets"] > 0


@pytest.mark.slow
def test_a_cascade_by_amsgrad_alone_and_as_a_teacher(tmp_path: Path) -> None:
    made = completed(brats("brats_seg_teacher", tmp_path / "alone", teacher_kind="cascaded_unet", recipe="amsgrad"))
    optimizer, loss = (made.parser.get_parsed_content(name) for name in ("optimizer", "loss_function"))
    assert isinstance(optimizer, torch.optim.Adam) and optimizer.defaults["amsgrad"]
    assert isinstance(made.parser.get_parsed_content("lr_scheduler"), torch.optim.lr_scheduler.MultiStepLR)
    assert isinstance(loss, MultiHeadLoss) and isinstance(loss.loss, BatchDiceBCELoss)
    noted = settings_of(tmp_path / "alone")
    assert [noted[name] for name in ("learning_rate", "weight_decay", "loss")] == [0.001, 1e-6, "batch_dice_bce"]
    assert history(tmp_path / "alone")[0]["learning_rate"] == 0.001
    settings = {"teacher_kind": "cascaded_unet", "teacher_recipe": "amsgrad"}
    made = completed(brats("brats_seg_kd", tmp_path / "taught", **settings))
    assert isinstance(made.parser.get_parsed_content("optimizer"), torch.optim.AdamW)
    loss = made.parser.get_parsed_content("prepare_teacher").keywords["loss_function"]
    assert isinstance(loss, MultiHeadLoss) and isinstance(loss.loss, BatchDiceBCELoss)
    assert (tmp_path / "taught" / "teacher" / "teacher.pt").is_file()


@pytest.mark.slow
def test_teachers_of_several_modalities(tmp_path: Path) -> None:
    write_brats_phantoms(tmp_path / "data", 6, (24, 24, 16), time_points=(1, 1), progress=False)
    for mode in ("frozen", "online"):
        settings = {"teacher_recipe": "nnunet", "teacher_mode": mode, "epochs": 1}
        made = completed(test_brats_unimodal.workflow(tmp_path / mode, tmp_path / "data", **settings))
        teachers = made.parser.get_parsed_content("teacher_optimizer")
        assert teachers is None if mode == "frozen" else isinstance(teachers, torch.optim.SGD)


def test_the_teachers_share_of_patches_on_tumour_is_its_own(tmp_path: Path) -> None:
    # the setting reached slices alone where both have one recipe
    settings = {**VOLUMES, "recipe": "nnunet", "teacher_recipe": "nnunet", "teacher_tumour_share": 0.8}
    made = brats("brats_seg_kd", tmp_path, **settings, tumour_share=0.2)
    shares = []
    for dataset in (
        made.parser.get_parsed_content("train#dataset"),
        made.parser.get_parsed_content("teacher_dataset").dataset,
    ):
        steps = dataset.transform.transforms
        (patches,) = [step for step in steps if isinstance(step, ForegroundPatchesd)]
        shares.append(patches.share)
    assert shares == [0.2, 0.8]
