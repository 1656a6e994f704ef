"""The classification bundles on slices of BraTS phantoms: by the mask, and by the case's name."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from ckdmed.bundle import brats_classes, brats_sections, class_names_of, classification_sections
from ckdmed.bundle.errors import root_cause
from ckdmed.data.brats import LoadCachedSliced, SliceIndex, build_slice_cache, read_mask
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.engines import weights_hash
from ckdmed.inference import InputsSkipped
from ckdmed.labels import SLICE_CATEGORIES, slice_category
from ckdmed.sections.classification import balanced_sampler
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import BUNDLES, history
from tests.bundle.cls_runs import STUDENT, TEACHER, run, workflow
from tests.bundle.test_multi_gpu import torchrun

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

SHAPE = (24, 24, 16)
CASES = 14
TYPES = ["GLI", "MET"]
BY_SLICE: dict[str, Any] = {"task": "brats_slice", "batch_size": 16, "epoch_slices": 32}
BY_TYPE: dict[str, Any] = {**BY_SLICE, "task": "brats_type", "class_names": TYPES}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of cases of two types, as a user's."""
    folder = tmp_path_factory.mktemp("brats") / "cases"
    write_brats_phantoms(folder, CASES, SHAPE, tumour_types=TYPES, progress=False)
    return folder


@pytest.fixture
def settings(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A slice cache for all tests."""
    return {"dataset_dir": str(cases), "cache_dir": str(tmp_path_factory.getbasetemp() / "slice-cache")}


def test_labels_are_those_of_the_masks_and_patients_stay_together(cases: Path, tmp_path: Path) -> None:
    sections = brats_classes(
        "brats_slice", str(cases), "", str(tmp_path), class_names_of("brats_slice"), ["t1c", "t2f"], min_voxels=3
    )
    groups = [{item["patient_group"] for item in items} for items in sections.values()]
    assert not (groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2])
    items = [item for part in sections.values() for item in part]
    assert len({item["id"] for item in items}) == len(items) and all(item["labelled"] for item in items)
    case = items[0]["case"]
    mask = read_mask(cases / case / f"{case}-seg.nii.gz")
    own = [item for item in items if item["case"] == case]
    for item in own:
        counts = [np.count_nonzero(mask[..., item["slice"]] == value) for value in (1, 2, 3)]
        assert item["label"] == slice_category(*counts, min_voxels=3)
    image = np.load(own[0]["image"])
    assert image.shape[1] == 2 and image.min() == 0 and image.max() == 1
    got = LoadCachedSliced("image", ["t2f"])(own[2])["image"]
    assert torch.equal(got, torch.from_numpy(image[own[2]["slice"], 1:].astype(np.float32)))
    with pytest.raises(ValueError, match=r"the cache lacks t1n \(found: t1c, t2f\)"):
        LoadCachedSliced("image", ["t1n"])(own[0])


def test_types_are_those_of_the_names_on_slices_with_tumour(cases: Path, tmp_path: Path) -> None:
    sections = brats_classes("brats_type", str(cases), "", str(tmp_path), ["MET", "GLI"])
    for items in sections.values():
        assert items
        index = SliceIndex.read(tmp_path / "brats-t1c", sorted({item["case"] for item in items}))
        assert len(items) == int((index.categories() > 0).sum())
        assert all(item["label"] == ["MET", "GLI"].index(item["case"].split("-")[1]) for item in items)
    with pytest.raises(
        ValueError, match=r"no labelled .* class PED; add cases of it, or give .* class_names: \['GLI', 'MET'\]"
    ):
        brats_classes("brats_type", str(cases), "", str(tmp_path), ["GLI", "MET", "PED"])
    with pytest.raises(ValueError, match=r"two or more of GLI, MEN, .* got \['GLI'\]"):
        brats_classes("brats_type", str(cases), "", str(tmp_path), ["GLI"])


def test_slices_of_patients_without_labels_are_all_taken(cases: Path, tmp_path: Path) -> None:
    sections = brats_classes("brats_type", str(cases), "", str(tmp_path), TYPES, label_fraction=0.5)
    without = [item for item in sections["train"] if not item["labelled"]]
    index = SliceIndex.read(tmp_path / "brats-t1c", sorted({item["case"] for item in without}))
    assert len(without) == len(index) and (index.categories() == 0).any()
    assert not {i["patient_group"] for i in without} & {i["patient_group"] for i in sections["train"] if i["labelled"]}
    # the sampler gives them the share of one class, whatever type they are of
    sampler = balanced_sampler(sections["train"], 30)
    drawn = [sections["train"][number] for number in sampler]
    kinds = [item["label"] if item["labelled"] else "none" for item in drawn]
    assert {kind: kinds.count(kind) for kind in kinds} == {0: 10, 1: 10, "none": 10}


def test_refusals(cases: Path, tmp_path: Path) -> None:
    given = {"dataset_dir": str(cases), "phantom_dir": "", "cache_dir": str(tmp_path), "class_names": TYPES}
    with pytest.raises(ValueError, match="task must be one of figshare, brats_slice, brats_type, got 'type'"):
        classification_sections("type", **given)
    with pytest.raises(ValueError, match="folds are available for task='figshare' only"):
        classification_sections("brats_type", **given, fold=1)
    with pytest.raises(ValueError, match="Figshare slices are T1-weighted with contrast"):
        classification_sections("figshare", **given, modalities=["t2f"])
    with pytest.raises(ValueError, match="class_names of brats_slice must be names for no tumour"):
        classification_sections("brats_slice", **given)


@pytest.mark.slow
def test_student_of_the_slices_category_is_trained_evaluated_and_resumed(settings: dict, tmp_path: Path) -> None:
    settings = {**settings, **BY_SLICE, "epochs": 2, "modalities": ["t1n", "t1c", "t2w", "t2f"]}
    unbroken = run("cls_kd", tmp_path / "unbroken", **settings)
    get = unbroken.parser.get_parsed_content
    assert get("in_channels") == 4 and get("class_names") == list(SLICE_CATEGORIES)
    assert get("train#dataset").cache_num == 0, "a dataset's slices are read from the slice cache"
    assert len(get("train#dataloader")) == 2
    assert [row["epoch"] for row in history(tmp_path / "unbroken")] == [1, 2]

    broken = workflow("cls_kd", tmp_path / "broken", **settings)
    break_off(broken, Events.EPOCH_STARTED(once=2))
    resumed = run("cls_kd", tmp_path / "broken", resume=True, **settings)
    assert weights_hash(resumed.network_def) == weights_hash(unbroken.network_def)

    run("cls_kd", tmp_path / "unbroken", "evaluate.json", **settings)
    summary = json.loads((tmp_path / "unbroken/evaluation/summary.json").read_text(encoding="utf-8"))
    assert summary["patients"] is None and summary["class_names"] == list(SLICE_CATEGORIES)
    assert summary["n_slices"] == len(get("sections")["test"])
    rows = list(csv.DictReader((tmp_path / "unbroken/evaluation/probabilities.csv").open()))
    assert {row["id"] for row in rows} == {item["id"] for item in get("sections")["test"]}


@pytest.mark.slow
def test_teacher_of_the_tumour_type_feeds_a_student_whose_cache_keeps_its_answers(
    settings: dict, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    settings = {**settings, **BY_TYPE, "class_weights": [1.0, 2.0]}
    run("cls_teacher", tmp_path / "teacher", **settings)
    run("cls_teacher", tmp_path / "teacher", "evaluate.json", **settings)
    summary = json.loads((tmp_path / "teacher/evaluation/summary.json").read_text(encoding="utf-8"))
    assert summary["class_names"] == TYPES and summary["patients"]["n"] >= 1
    checkpoint = str(tmp_path / "teacher/models/model.pt")
    student = run(
        "cls_kd",
        tmp_path / "student",
        teacher_checkpoint=checkpoint,
        cache_teacher="disk",
        cache="disk",
        epochs=3,
        **settings,
    )
    cache = student.parser.get_parsed_content("teacher_cache")
    assert cache.hits + cache.misses == 3 * 32 and cache.hits > 0
    # what was kept on the disk can be read again
    assert not [entry for entry in recwarn if "Corrupt cache" in str(entry.message)]


def infer(output_dir: Path, checkpoint: Path, **settings: Any) -> tuple[ConfigWorkflow, int]:
    """The student's inference, and its exit status."""
    made = ConfigWorkflow(
        str(BUNDLES / "cls_kd" / "inference.json"),
        meta_file=None,
        logging_file=False,
        workflow_type="infer",
        **{
            "image_size": 32,
            "device": "$torch.device('cpu')",
            "network_def": STUDENT["network_def"],
            "student_kind": "efficientnet_b0",
            "output_dir": str(output_dir),
            "checkpoint": str(checkpoint),
            **settings,
        },
    )
    made.initialize()
    made.run()
    try:
        made.finalize()
    except InputsSkipped as skipped:
        return made, int(skipped.code or 0)
    return made, 0


@pytest.mark.slow
def test_inference_of_cases_gives_the_evaluations_probabilities(cases: Path, settings: dict, tmp_path: Path) -> None:
    """On files of a case, on one 4-D file, and with a damaged case among them."""
    chosen = {"task": "brats_slice", "modalities": ["t2f", "t1c"]}
    run("cls_kd", tmp_path / "run", method="supervised", batch_size=16, epoch_slices=32, **settings, **chosen)
    run("cls_kd", tmp_path / "run", "evaluate.json", method="supervised", **settings, **chosen)
    rows = list(csv.DictReader((tmp_path / "run/evaluation/probabilities.csv").open()))
    names = sorted({row["id"].partition(":")[0] for row in rows})
    inputs = tmp_path / "in"
    for name in names:
        shutil.copytree(cases / name, inputs / name)
    broken = inputs / "BraTS-GLI-99999-000"
    broken.mkdir()
    for modality in ("t1n", "t1c", "t2w"):
        shutil.copy(inputs / names[0] / f"{names[0]}-{modality}.nii.gz", broken / f"{broken.name}-{modality}.nii.gz")
    checkpoint = tmp_path / "run/models/model.pt"
    _, status = infer(tmp_path / "out", checkpoint, dataset_dir=str(inputs), **chosen)
    assert status == 3 and "missing: t2f" in (tmp_path / "out/skipped.csv").read_text(encoding="utf-8")
    columns = [f"probability_{name}" for name in SLICE_CATEGORIES]
    expected = {row["id"]: [float(row[column]) for column in columns] for row in rows}
    found = {}
    for name in names:
        for row in csv.DictReader((tmp_path / "out" / f"{name}_probabilities.csv").open()):
            found[f"{row['case']}:{row['slice']}"] = [float(row[column]) for column in columns]
    assert found.keys() == expected.keys()
    # the cache holds float16
    assert all(found[key] == pytest.approx(expected[key], abs=5e-3) for key in expected)
    table = list(csv.DictReader((tmp_path / "out/probabilities.csv").open()))
    assert [row["name"] for row in table] == names
    assert sum(int(table[0][f"slices_{name}"]) for name in SLICE_CATEGORIES) == int(table[0]["slices"])

    images = [nib.load(inputs / names[0] / f"{names[0]}-{part}.nii.gz") for part in ("t2f", "t1n", "t1c", "t2w")]
    (tmp_path / "task" / "imagesTs").mkdir(parents=True)
    stacked = np.stack([np.asanyarray(image.dataobj) for image in images], axis=3)
    nib.save(nib.Nifti1Image(stacked, images[0].affine), tmp_path / "task/imagesTs/BRATS_007.nii.gz")
    _, status = infer(tmp_path / "one", checkpoint, dataset_dir=str(tmp_path / "task"), **chosen)
    assert status == 0
    lines = list(csv.DictReader((tmp_path / "one/BRATS_007_probabilities.csv").open()))
    for line in lines:
        same = found[f"{names[0]}:{line['slice']}"]
        assert [float(line[column]) for column in columns] == pytest.approx(same, abs=1e-6)
    again, _ = infer(tmp_path / "one", checkpoint, dataset_dir=str(tmp_path / "task"), resume=True, **chosen)
    assert again.parser.get_parsed_content("job").kept == ["BRATS_007"]


@pytest.mark.slow
def test_inference_without_a_folder_draws_cases(tmp_path: Path) -> None:
    made = workflow(
        "cls_kd", tmp_path / "net", phantom_cases=12, method="supervised", task="brats_type", class_names=TYPES
    )
    torch.save(made.network_def.state_dict(), tmp_path / "model.pt")
    shutil.copy(tmp_path / "net" / "settings.json", tmp_path / "model.json")
    _, status = infer(tmp_path / "out", tmp_path / "model.pt", task="brats_type", class_names=TYPES)
    table = list(csv.DictReader((tmp_path / "out/probabilities.csv").open()))
    assert status == 0 and len(table) == 2 and {row["predicted"] for row in table} <= set(TYPES)


@pytest.mark.slow
def test_two_processes_share_the_balanced_draws(cases: Path, tmp_path: Path) -> None:
    sizes = {"image_size": 32, **TEACHER, "vit_patch": 8, "epochs": 1, "teacher_epochs": 1, "batch_size": 6}
    files = ["bundles/cls_kd/train.json", "bundles/cls_kd/multi_gpu_train.json"]
    chosen = {"task": "brats_slice", "dataset_dir": cases, "epoch_slices": 24, "output_dir": tmp_path}
    done = torchrun(files, {**sizes, **chosen})
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = history(tmp_path)
    # 24 slices for two processes in batches of 6
    assert row["iteration"] == 2


def test_without_a_dataset_phantoms_of_the_types_are_drawn(tmp_path: Path) -> None:
    made = workflow(
        "cls_teacher", tmp_path, phantom_cases=12, **{**BY_TYPE, "sections#phantom_shape": [16, 16, 16], "epochs": 1}
    )
    sections = made.parser.get_parsed_content("sections")
    assert {item["case"].split("-")[1] for item in sections["train"]} == set(TYPES)
    (folder,) = (tmp_path / "phantoms").iterdir()
    assert "GLI-MET" in folder.name
    assert made.parser.get_parsed_content("train#dataset").cache_num > 0


def test_a_damaged_case_is_left_out_by_name(cases: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cases"
    shutil.copytree(cases, folder)
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    (folder / names[0] / f"{names[0]}-t1c.nii.gz").unlink()
    damaged = folder / names[1] / f"{names[1]}-t1c.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-400])
    with pytest.warns(UserWarning) as caught:
        sections = brats_classes("brats_type", str(folder), "", str(tmp_path / "cache"), TYPES)
    text = "\n".join(str(warning.message) for warning in caught)
    assert f"{names[0]}: " in text and "missing: t1c" in text
    assert "1 case could not be cut" in text and f"{names[1]}: " in text
    assert not {item["case"] for part in sections.values() for item in part} & set(names[:2])


def test_a_cache_of_the_bundles_is_one_of_the_library(cases: Path, tmp_path: Path) -> None:
    brats_classes("brats_slice", str(cases), "", str(tmp_path), SLICE_CATEGORIES)
    items = [item for part in brats_sections(str(cases), "", ["t1c"]).values() for item in part]
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    build_slice_cache(items, tmp_path / "brats-t1c", normalise="unit", progress=False)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}


def test_a_mistyped_task_is_refused_by_the_bundle(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        run("cls_teacher", tmp_path, task="slices")
    assert "task must be one of figshare, brats_slice, brats_type, got 'slices'" in str(root_cause(caught.value))
