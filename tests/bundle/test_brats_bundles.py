"""The trainings of the BraTS bundles, at a size that runs in a second."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.data import Dataset

from ckdmed.bundle import brats_sampler, brats_sections
from ckdmed.bundle.errors import root_cause
from ckdmed.data.brats import BratsSliceDataset
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.engines import weights_hash
from ckdmed.networks import SEGMENTATION_STUDENTS, SEGMENTATION_TEACHERS, UNET_BLOCKS, UNet, segmentation_teacher
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import completed, history, opened

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

TINY: dict[str, Any] = {
    "epochs": 1,
    "phantom_cases": 4,
    "sections#phantom_shape": [24, 24, 16],
    "image_size": 32,
    "roi_size": [16, 16, 16],
    "slices_per_epoch": 8,
    "batch_size": 4,
    "teacher_base": 2,
    "vit_img_size": 16,
    "vit_hidden": 8,
    "vit_layers": 1,
    "vit_heads": 2,
    "device": "$torch.device('cpu')",
}
STUDENT = {"student_base": 2, "teacher_epochs": 1}
VOLUMES = {"spatial_dims": 3, "batch_size": 2, "sw_overlap": 0.0}


def workflow(bundle: str, output_dir: Path, **overrides: Any) -> ConfigWorkflow:
    settings = {**TINY, **(STUDENT if bundle == "brats_seg_kd" else {}), "output_dir": str(output_dir), **overrides}
    return opened(bundle, **settings)


def run(bundle: str, output_dir: Path, **overrides: Any) -> ConfigWorkflow:
    return completed(workflow(bundle, output_dir, **overrides))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Phantoms and cut slices that the runs share."""
    folder = tmp_path_factory.mktemp("brats")
    return {"sections#phantom_dir": str(folder / "phantoms"), "cache_dir": str(folder / "cache")}


@pytest.mark.rendered
@pytest.mark.parametrize("volumes", [False, True], ids=["slices", "volumes"])
def test_a_student_is_taught(tmp_path: Path, phantoms: dict, volumes: bool):
    made = workflow("brats_seg_kd", tmp_path, **phantoms, **(VOLUMES if volumes else {}))
    teacher = made.parser.get_parsed_content("teacher")
    hashes: list[str] = []
    made.trainer.add_event_handler(Events.STARTED, lambda _: hashes.append(teacher.state_hash()))
    before = weights_hash(made.network_def)
    made.run()
    made.finalize()
    assert hashes == [teacher.state_hash()] and weights_hash(made.network_def) != before
    (row,) = history(tmp_path)
    assert list(row["metrics"]) == ["val_mean_dice", "val_dice_TC", "val_dice_WT", "val_dice_ET", "val_loss"]
    assert list(row["terms"])[:3] == ["supervised", "soft_targets", "soft_dice"] and row["loss"] > 0
    plain = UNet(spatial_dims=3 if volumes else 2, in_channels=4, out_channels=3, features=[2, 4, 8, 16, 32])
    plain.load_state_dict(torch.load(tmp_path / "models" / "model.pt", weights_only=True), strict=True)
    batch = made.trainer.state.batch
    assert batch["image"].shape[1:] == ((4, 16, 16, 16) if volumes else (4, 32, 32))
    # volumes: two patches of each of two
    assert batch["image"].shape[0] == 4 and batch["label"].shape[1] == 3 and batch["label"].max() <= 1
    for name in ("curves.png", "predictions.png"):
        assert plt.imread(tmp_path / name)[..., :3].std() > 0


def test_the_teacher_alone(tmp_path: Path, phantoms: dict):
    run("brats_seg_teacher", tmp_path, neighbours=1, modalities=["t1c", "t2f"], **phantoms)
    (row,) = history(tmp_path)
    assert 0 <= row["metrics"]["val_mean_dice"] <= 1 and not row["terms"]
    sizes = {name: TINY[name] for name in ("vit_img_size", "vit_hidden", "vit_layers", "vit_heads")}
    # two modalities of a slice and of its two neighbours
    plain = segmentation_teacher("unet_vit", in_channels=6, base=2, **sizes)
    plain.load_state_dict(torch.load(tmp_path / "models" / "model.pt", weights_only=True), strict=True)


@pytest.mark.parametrize("bundle", ["brats_seg_kd", pytest.param("brats_seg_teacher", marks=pytest.mark.slow)])
def test_of_a_fold_all_but_its_patients_train_to_the_last_epoch(
    tmp_path: Path, phantoms: dict, bundle: str, caplog: pytest.LogCaptureFixture
):
    folds = {"fold": 1, "n_folds": 3, "train_on_validation": True}
    with caplog.at_level("INFO"):
        made = run(bundle, tmp_path, **phantoms, **folds, epochs=2, learning_rate=0.01)
    get = made.parser.get_parsed_content
    groups = {name: {item["patient_group"] for item in items} for name, items in get("sections").items()}
    assert groups["validation"] < groups["train"] and groups["test"] and not groups["test"] & groups["train"]
    own = {"phantom_cases": 4, "phantom_shape": [24, 24, 16], "fold": 1, "n_folds": 3}
    drawn = brats_sections(None, phantoms["sections#phantom_dir"], **own)
    assert groups["test"] == {item["patient_group"] for item in drawn["test"]}
    # of each of them slices are cut and drawn
    assert {str(table["patient_group"]) for table in get("train#dataset").index.tables} == groups["train"]
    assert get("best_model").last and get("best_model").epoch == 2
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in get("network_def").state_dict().items())
    assert "models/model.pt: weights of the last epoch" in caplog.text
    if bundle == "brats_seg_kd":
        # the teacher that it trains as well
        assert get("prepare_teacher").keywords["last"] is True


@pytest.mark.slow
def test_a_teacher_is_used_as_it_is_by_the_student(tmp_path: Path, phantoms: dict):
    made = run("brats_seg_teacher", tmp_path / "teacher", teacher_kind="cohra", **phantoms)
    checkpoint = tmp_path / "teacher" / "models" / "model.pt"
    taught = run(
        "brats_seg_kd",
        tmp_path / "student",
        teacher_kind="cohra",
        teacher_checkpoint=str(checkpoint),
        w_feat=0,
        **phantoms,
    )
    made.network_def.load_state_dict(torch.load(checkpoint, weights_only=True))
    assert taught.parser.get_parsed_content("teacher").state_hash() == weights_hash(made.network_def)
    assert (
        not (tmp_path / "student" / "teacher").exists() and "features" not in history(tmp_path / "student")[0]["terms"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "volumes"),
    # efficientnet_lite is a network of images
    [
        (kind, volumes)
        for kind in SEGMENTATION_TEACHERS
        for volumes in (False, True)[: 1 + (kind != "efficientnet_lite")]
    ],
)
def test_every_teacher_teaches(tmp_path: Path, phantoms: dict, teacher: str, volumes: bool):
    own = {"teacher_base": 12, "teacher_options": {"window_size": 2}} if teacher == "swin_unetr" else {}
    settings = {"method": "report_kdpp" if teacher == "dynunet" else "ckd", "epochs": 2, **own, **phantoms}
    run("brats_seg_kd", tmp_path, teacher_kind=teacher, **settings, **(VOLUMES if volumes else {}))
    # in the last tenth of the steps ckd is about the mask alone
    first, last = history(tmp_path)
    assert {"soft_targets", "features", "attention"} <= set(first["terms"])
    assert all(torch.isfinite(torch.tensor([row["loss"], *row["terms"].values()])).all() for row in (first, last))


@pytest.mark.slow
@pytest.mark.parametrize("volumes", [False, True], ids=["slices", "volumes"])
@pytest.mark.parametrize(
    ("kind", "options"), [*(("grouped_unet", {"block": block}) for block in UNET_BLOCKS), ("cascaded_unet", None)]
)
def test_networks_of_an_ensemble_alone(tmp_path: Path, phantoms: dict, kind: str, options: dict | None, volumes: bool):
    settings = {"teacher_kind": kind, "teacher_options": options, **phantoms, **(VOLUMES if volumes else {})}
    made = workflow("brats_seg_teacher", tmp_path, **settings)
    before = {name: value.clone() for name, value in made.network_def.named_parameters()}
    completed(made)
    (row,) = history(tmp_path)
    assert row["loss"] > 0 and 0 <= row["metrics"]["val_mean_dice"] <= 1
    # of a cascade the networks of every scale learn
    assert not [name for name, value in made.network_def.named_parameters() if torch.equal(value, before[name])]
    again = segmentation_teacher(kind, 3 if volumes else 2, base=2, options=options)
    again.load_state_dict(torch.load(tmp_path / "models" / "model.pt", weights_only=True), strict=True)


# networks of images alone, and what of the others a tiny patch allows
FLAT = {"efficientnet_lite"}
OWN: dict[str, dict[str, Any]] = {
    "swin_unetr": {"student_base": 12, "student_options": {"window_size": 2}},
    "flexible_unet": {"student_options": {"backbone": "resnet10"}},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "volumes"),
    [(kind, volumes) for kind in SEGMENTATION_STUDENTS for volumes in (False, True) if not (volumes and kind in FLAT)],
)
def test_every_student_is_taught(tmp_path: Path, phantoms: dict, student: str, volumes: bool):
    # in the last tenth of the steps ckd is about the mask alone
    settings = {"teacher_kind": "segresnet", "epochs": 2, **OWN.get(student, {}), **phantoms}
    settings |= VOLUMES if volumes else {}
    made = workflow("brats_seg_kd", tmp_path, student_kind=student, **settings)
    before = weights_hash(made.network_def)
    completed(made)
    first, _ = history(tmp_path)
    assert weights_hash(made.network_def) != before and {"soft_targets", "features"} <= set(first["terms"])
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert state.keys() == made.network_def.state_dict().keys()


@pytest.mark.parametrize("labelled_per_batch", [None, 0.75])
@pytest.mark.slow
def test_half_of_the_labels(tmp_path: Path, phantoms: dict, labelled_per_batch: float | None):
    made = workflow(
        "brats_seg_kd",
        tmp_path,
        label_fraction=0.5,
        labelled_per_batch=labelled_per_batch,
        phantom_cases=8,
        slices_per_epoch=16,
        **phantoms,
    )
    seen: list[tuple[bool, bool]] = []

    def look(engine: Any) -> None:
        batch = engine.state.batch
        seen.extend(zip(batch["labelled"].tolist(), batch["label"].flatten(1).any(dim=1).tolist()))

    made.trainer.add_event_handler(Events.ITERATION_COMPLETED, look)
    made.run()
    train = made.parser.get_parsed_content("sections")["train"]
    hidden = {item["case"] for item in train if not item["labelled"]}
    dataset: BratsSliceDataset = made.parser.get_parsed_content("train#dataset")
    share = (dataset.categories < 0).mean() if labelled_per_batch is None else 0.25
    assert 0 < len(hidden) < len(train) and sum(not labelled for labelled, _ in seen) == round(16 * share)
    # a hidden mask is not in the batch, and half of the others' slices show a tumour
    assert not any(mask for labelled, mask in seen if not labelled)
    known = [mask for labelled, mask in seen if labelled]
    assert abs(sum(known) - len(known) / 2) <= 1
    teacher_data = made.parser.get_parsed_content("teacher_dataset")
    assert not {teacher_data[i]["case"] for i in range(len(teacher_data))} & hidden


@pytest.mark.parametrize("share", [0, 1, 2.0])
def test_a_share_that_is_none(share: float):
    with pytest.raises(ValueError, match=f"labelled_per_batch must lie between 0 and 1, or be null, got {share}"):
        brats_sampler(Dataset([]), labelled_per_batch=share)


def test_half_of_the_labels_of_volumes(tmp_path: Path, phantoms: dict):
    made = workflow("brats_seg_kd", tmp_path, label_fraction=0.5, phantom_cases=8, **phantoms, **VOLUMES)
    data, teacher_data = (made.parser.get_parsed_content(name) for name in ("train#dataset", "teacher_dataset"))
    patches = [patch for n in range(len(data)) for patch in data[n]]
    assert any(not patch["labelled"] for patch in patches)
    assert not any(patch["label"].any() for patch in patches if not patch["labelled"])
    assert any(patch["label"].any() for patch in patches if patch["labelled"])
    assert 0 < len(teacher_data) < len(data) and all(patch["labelled"] for patch in teacher_data[0])


@pytest.mark.slow
@pytest.mark.parametrize("volumes", [False, True], ids=["slices", "volumes"])
def test_resumed_equals_unbroken(tmp_path: Path, phantoms: dict, volumes: bool):
    settings = {"epochs": 3, "method": "supervised", **phantoms, **(VOLUMES if volumes else {})}
    unbroken = run("brats_seg_kd", tmp_path / "unbroken", **settings)
    broken = workflow("brats_seg_kd", tmp_path / "broken", **settings)
    seen: dict[str, list[str]] = {"first": [], "second": []}
    broken.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: seen["first" if e.state.epoch == 1 else "second"].extend(_drawn(e))
    )
    break_off(broken, Events.EPOCH_STARTED(once=3))
    # each epoch has slices, or patches, of its own
    assert len(seen["first"]) == len(seen["second"]) and seen["first"] != seen["second"]
    resumed = run("brats_seg_kd", tmp_path / "broken", **settings, resume=True)
    assert weights_hash(resumed.network_def) == weights_hash(unbroken.network_def)
    assert weights_hash(resumed.network_def) != weights_hash(broken.network_def)


def _drawn(engine: Any) -> list[str]:
    return [
        f"{name} {float(image.sum()):.4f}" for name, image in zip(engine.state.batch["id"], engine.state.batch["image"])
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epoch": 1}, "'epoch' is not a setting of this bundle; did you mean 'epochs'?"),
        ({"dataset_dir": "/nowhere"}, "dataset_dir '/nowhere' is not a folder"),
        ({"teacher_checkpoint": "/nowhere.pt"}, "there is no checkpoint '/nowhere.pt'"),
        ({"teacher_kind": "u_net"}, "teacher_kind must be one of unet_vit, "),
        ({"teacher_kind": "swin_unetr"}, "base of a swin_unetr teacher must be a multiple of 12, got 2"),
        ({"modalities": ["t1c", "t1ce"]}, "each one of t1n, t1c, t2w, t2f"),
        ({"neighbours": 1, **VOLUMES}, "neighbours is 1, but volumes"),
        ({"spatial_dims": 4}, "spatial_dims must be one of 2, 3, got 4"),
        ({"image_size": 40}, "multiple of 16"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, phantoms: dict, overrides: dict, message: str):
    with pytest.raises(Exception) as raised:
        run("brats_seg_kd", tmp_path, **{**phantoms, **overrides})
    assert message in str(root_cause(raised.value))


def test_a_damaged_volume_is_named_and_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = write_brats_phantoms(tmp_path / "data", 5, (24, 24, 16), time_points=(1, 1), progress=False).parent
    item = brats_sections(str(data), str(tmp_path))["train"][0]
    broken = Path(item["image"][2])
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    with caplog.at_level("WARNING"):
        run("brats_seg_kd", tmp_path / "out", dataset_dir=str(data), method="supervised", epochs=1, student_base=2)
    assert re.search(
        rf"left out 1 of 3 cases, which could not be cut into slices:\n.*{item['case']}: .*{broken.name}", caplog.text
    )
    assert history(tmp_path / "out")
