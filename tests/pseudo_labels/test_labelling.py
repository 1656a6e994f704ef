from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from ckdmed.bundle_files import bundle_folder
from ckdmed.cli import main
from ckdmed.data.label_files import read_label_slices
from ckdmed.data.load_slices import LoadSliced
from ckdmed.data.slice_datalist import read_slice_datalist
from ckdmed.files import load_weights, save_weights
from ckdmed.pseudo_labels.mask_values import mask_value
from ckdmed.pseudo_labels.written_folder import check_pseudo_labels, content_sha256
from ckdmed.sections.record import SectionRecord, find_own_or_shipped
from ckdmed.sections.slices import figshare_sections
from tests.bundle import seg_kd_runs
from tests.bundle.bundle_runs import record
from tests.toy import unet

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def datalist(folder: Path, volume: bool = False) -> Path:
    """Ten pictures of ten patients, four of them without a mask, and one unlabelled volume if asked."""
    rng = np.random.default_rng(0)
    content: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
    (folder / "pictures").mkdir(parents=True)
    for number in range(10):
        image = rng.integers(0, 90, (48, 40), dtype=np.uint8)
        mask = np.zeros((48, 40), np.uint8)
        mask[10:24, 8:20] = 255
        Image.fromarray(np.where(mask > 0, image + 120, image).astype(np.uint8)).save(folder / f"pictures/{number}.png")
        entry: dict[str, Any] = {"image": f"pictures/{number}.png", "patient": f"p{number}"}
        if number >= 4:
            Image.fromarray(mask).save(folder / f"pictures/{number}_label.png")
            entry["label"] = f"pictures/{number}_label.png"
        content["training" if number < 7 else "validation" if number == 7 else "test"].append(entry)
    if volume:
        scan = nib.Nifti1Image(rng.random((24, 20, 3)).astype(np.float32), np.diag([2.0, 1.0, 3.0, 1.0]))
        nib.save(scan, folder / "scan.nii.gz")
        content["training"].append({"image": "scan.nii.gz", "patient": "v"})
    path = folder / "datalist.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def model(folder: Path, seed: int, regions: dict[str, list[int] | None] | None = None) -> str:
    path = save_weights(folder / f"model{seed}.pt", unet(seed=seed).state_dict())
    record(path, "seg_kd", student_kind="unet", student_base=2, image_size=32, student_backbone=None,
           student_options=None, input_images=1, regions=regions, scaling="percentiles", clahe=False)  # fmt: skip
    return str(path)


def test_unlabelled_training_images_are_labelled_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = datalist(tmp_path / "in", volume=True)
    before = source.read_bytes()
    models = [model(tmp_path, seed) for seed in (1, 2)]
    out = tmp_path / "out"
    words = ["pseudo-label", str(source), "--models", *models, "--output_dir", str(out), "--soft"]
    assert main(words) == 0 and "5 of 5 images labelled" in capsys.readouterr().out
    assert source.read_bytes() == before
    content, original = json.loads((out / "datalist.json").read_text()), json.loads(before)
    for name in ("validation", "test"):
        assert content[name] == original[name]
    new = [e for e, was in zip(content["training"], original["training"]) if "label" not in was]
    assert len(new) == 5 and all(e["label"].startswith("pseudo_labels/") for e in new)
    for entry in new:
        assert entry["soft"]
        image, mask = out / entry["image"], out / entry["label"].replace("_probability", "_mask")
        soft = LoadSliced()({"image": str(image), "label": str(out / entry["label"]), "soft": True, "slice": 0})[
            "label"
        ]
        if mask.suffix == ".png":
            assert Image.open(image).size == Image.open(mask).size and set(np.unique(Image.open(mask))) <= {0, 255}
        else:
            assert nib.load(image).shape == nib.load(mask).shape
            np.testing.assert_allclose(nib.load(image).affine, nib.load(mask).affine)
        hard = LoadSliced()({"image": str(image), "label": str(mask), "slice": 0})["label"]
        assert 0 <= float(soft.min()) and float(soft.max()) <= 1 and len(np.unique(soft)) > 2
        assert ((soft >= 0.5) == (hard > 0)).all()
    rows = list(csv.DictReader((out / "audit.csv").open()))
    assert len(rows) == 5 and all(0 <= float(row["agreement"]) <= 1 and 0 <= float(row["kept"]) <= 1 for row in rows)
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["models"]) == 2 and all(len(entry["sha256"]) == 64 for entry in manifest["models"])
    assert not (out / ".work").exists()
    # whoever changes a mask is told of it
    assert main(["pseudo-label", str(out), "--check"]) == 0
    path = out / new[0]["label"]
    path.write_bytes(path.read_bytes() + b" ")
    assert main(["pseudo-label", str(out), "--check"]) == 1
    assert "has changed since the labels were made" in capsys.readouterr().out


def test_the_teacher_that_a_run_leaves_labels_beside_its_student(tmp_path: Path):
    source, run = datalist(tmp_path / "in"), tmp_path / "run"
    student = Path(model(run / "models", 1))
    teacher = save_weights(run / "teacher/teacher.pt", unet(base=4, seed=2).state_dict())
    # one record tells of both
    noted = json.loads(student.with_suffix(".json").read_text(encoding="utf-8"))["settings"]
    noted |= {"teacher_kind": "unet", "teacher_base": 4, "teacher_options": None}
    student.with_suffix(".json").unlink()
    (run / "settings.json").write_text(json.dumps({"settings": noted}), encoding="utf-8")
    words = ["pseudo-label", str(source), "--models", str(teacher), str(student), "--output_dir", str(tmp_path / "out")]
    assert main(words) == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text(encoding="utf-8"))
    assert [len(manifest[name]) for name in ("models", "images")] == [2, 4]


def test_nobody_scores_what_networks_labelled(tmp_path: Path):
    source, out = datalist(tmp_path / "in"), tmp_path / "out"
    (tmp_path / "other").mkdir()
    network = model(tmp_path / "other", 1)
    assert main(["pseudo-label", str(source), "--models", network, "--output_dir", str(out)]) == 0
    made = {f"p{number}" for number in range(4)}
    # as those who are new to a network
    record_of = Path(network).parent / "sections.json"
    SectionRecord.of({"train": [], "validation": [], "test": []}, record_of).write(record_of)
    with pytest.warns(UserWarning, match=r"4 images of the section new without a label"):
        new = figshare_sections(str(out / "datalist.json"), "", checkpoint=network)["new"]
    assert {item["patient"] for item in new} == {f"p{number}" for number in range(4, 10)}
    # sections that are drawn again
    content = json.loads((out / "datalist.json").read_text())
    content["training"] += content.pop("validation") + content.pop("test")
    (out / "datalist.json").write_text(json.dumps(content), encoding="utf-8")
    for fold in range(3):
        drawn = figshare_sections(str(out / "datalist.json"), "", fold=fold, n_folds=3)
        assert not made & {item["patient"] for name in ("validation", "test") for item in drawn[name]}
        assert made <= {item["patient"] for item in drawn["train"] if item["labelled"]}
    for seed in range(3):
        again = read_slice_datalist(out / "datalist.json", seed=seed, progress=False)
        assert made <= {item["patient"] for item in again["training"]}
    content["training"][0]["pseudo_label"] = "yes"
    (out / "datalist.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="'pseudo_label' says whether networks made the mask, true or false; got"):
        read_slice_datalist(out / "datalist.json", progress=False)


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.parametrize("kind", ["--hard", "--soft"])
def test_a_student_trains_on_both(tmp_path: Path, kind: str):
    source = datalist(tmp_path / "in")
    out = tmp_path / "out"
    assert main(["pseudo-label", str(source), "--models", model(tmp_path, 1), "--output_dir", str(out), kind]) == 0
    made = seg_kd_runs.run(
        tmp_path / "run", dataset_dir=str(out / "datalist.json"), method="supervised", profile="demo"
    )
    items = made.parser.get_parsed_content("sections")["train"]
    assert len(items) == 7 and all(item["labelled"] for item in items)
    labels = torch.cat([item["label"].flatten() for item in made.parser.get_parsed_content("train")["dataset"]])
    assert bool(((labels > 0) & (labels < 1)).any()) == (kind == "--soft")


def test_images_that_the_networks_disagree_on_stay_unlabelled(tmp_path: Path):
    source = datalist(tmp_path / "in")
    models = [model(tmp_path, seed) for seed in (1, 2)]
    words = ["pseudo-label", str(source), "--models", *models, "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--min_agreement", "1"]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "audit.csv").open()))
    content = json.loads((tmp_path / "out" / "datalist.json").read_text())
    labels = {entry["image"]: entry.get("label", "") for entry in content["training"]}
    for row in rows:
        assert bool(labels[row["image"]]) == bool(row["label"]) == (float(row["agreement"]) == 1)


def test_labels_without_a_tumour_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source, path = datalist(tmp_path / "in"), Path(model(tmp_path, 1))
    state = load_weights(path)
    last = [name for name, value in state.items() if value.shape == (1,)][-1]
    save_weights(path, {**state, last: torch.full((1,), -1e4)})
    assert main(["pseudo-label", str(source), "--models", str(path), "--output_dir", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "audit.csv").open()))
    assert rows and all(row["voxels"] == "0" for row in rows)
    assert f"{len(rows)} labels without any tumour ({rows[0]['image']}" in caplog.text


@pytest.mark.parametrize("given", [["training"], ["training", "test"]])
def test_sections_that_are_not_given_stay_those_in_which_the_images_were_chosen(tmp_path: Path, given: list[str]):
    source = datalist(tmp_path / "in")
    content = json.loads(source.read_text())
    if "test" not in given:
        content["training"] += content.pop("test")
    content["training"] += content.pop("validation")
    source.write_text(json.dumps(content), encoding="utf-8")
    before = read_slice_datalist(source, progress=False)
    out = tmp_path / "out"
    assert main(["pseudo-label", str(source), "--models", model(tmp_path, 1), "--output_dir", str(out)]) == 0
    after = read_slice_datalist(out / "datalist.json", progress=False)
    for name in ("training", "validation", "test"):
        patients = {item["patient"] for item in before[name]}
        assert patients and {item["patient"] for item in after[name]} == patients
        assert not any(item["label"].startswith("pseudo_labels/") for item in after[name] if name != "training")
    assert all(item["label"] for item in after["training"])


def test_patients_of_one_image_stay_together(tmp_path: Path):
    source = datalist(tmp_path / "in")
    content = json.loads(source.read_text())
    content["training"] += content.pop("test") + content.pop("validation")
    # every labelled image is that of a second patient too
    for entry in [entry for entry in content["training"] if "label" in entry]:
        copy = entry["image"].replace(".png", "_again.png")
        (source.parent / copy).write_bytes((source.parent / entry["image"]).read_bytes())
        content["training"].append({**entry, "image": copy, "patient": f"q{entry['patient']}"})
    source.write_text(json.dumps(content), encoding="utf-8")
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match="patients have several identifiers"):
        assert main(["pseudo-label", str(source), "--models", model(tmp_path, 1), "--output_dir", str(out)]) == 0
    new = json.loads((out / "datalist.json").read_text())
    patients = [{entry["patient"].removeprefix("q") for entry in new[name]} for name in ("training", "test")]
    assert all(patients) and not set.intersection(*patients)


def test_no_two_images_share_a_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = datalist(tmp_path / "in")
    content = json.loads(source.read_text())
    scan = nib.Nifti1Image(np.random.default_rng(1).random((24, 20, 2)).astype(np.float32), np.eye(4))
    for name in ("d.1.nii.gz", "d.2.nii.gz"):
        nib.save(scan, tmp_path / "in" / name)
        content["training"].append({"image": name, "patient": name})
    with Image.open(tmp_path / "in/pictures/0.png") as picture:
        picture.save(tmp_path / "in/pictures/0.jpg")
    content["training"].append({"image": "pictures/0.jpg", "patient": "p0", "id": "jpeg"})
    source.write_text(json.dumps(content), encoding="utf-8")
    words = ["pseudo-label", str(source), "--models", model(tmp_path, 1), "--output_dir", str(tmp_path / "out")]
    assert main(words) == 0
    labelled = json.loads((tmp_path / "out/datalist.json").read_text())["training"]
    masks = {entry["image"]: entry["label"] for entry in labelled}
    assert masks["d.1.nii.gz"] == "pseudo_labels/d.1_mask.nii.gz"
    assert masks["pictures/0.png"] == "pseudo_labels/pictures/0_png_mask.png"
    assert len(set(masks.values())) == len(masks) == 10
    # nor does a mask take the place of a file that was there
    (tmp_path / "in/pseudo_labels/pictures").mkdir(parents=True)
    (tmp_path / "in/pictures/5_label.png").rename(tmp_path / "in/pseudo_labels/pictures/1_mask.png")
    next(e for e in content["training"] if e["patient"] == "p5")["label"] = "pseudo_labels/pictures/1_mask.png"
    source.write_text(json.dumps(content), encoding="utf-8")
    assert main([*words[:-1], str(tmp_path / "again")]) == 2
    assert "the mask of pictures/1.png would replace pseudo_labels" in capsys.readouterr().err


def test_only_a_folder_of_pseudo_labels_and_nothing_else_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = datalist(tmp_path / "in")
    out = tmp_path / "out"
    words = ["pseudo-label", str(source), "--models", model(tmp_path, 1), "--output_dir", str(out)]
    (out / "trained").mkdir(parents=True)
    manifest, student = out / "manifest.json", out / "trained/model.pt"
    manifest.write_text('{"files": []}')
    student.write_bytes(b"weights")
    assert main(words) == 2 and "its manifest.json is not one of pseudo-labels" in capsys.readouterr().err
    manifest.unlink()
    assert main(words) == 2 and "no manifest.json of pseudo-labels" in capsys.readouterr().err
    student.rename(tmp_path / "model.pt")
    assert main(words) == 0 and main(words) == 0
    student.parent.mkdir()
    (tmp_path / "model.pt").rename(student)
    assert main(words) == 2 and "it holds trained/model.pt, which is not part" in capsys.readouterr().err
    assert student.read_bytes() == b"weights"
    student.unlink()
    corrected = out / "pseudo_labels/pictures/0_mask.png"
    corrected.write_bytes(corrected.read_bytes() + b" ")
    assert main(words) == 2 and "pictures/0_mask.png was changed after it was written" in capsys.readouterr().err
    assert corrected.read_bytes().endswith(b" ")


@pytest.mark.parametrize("value", [3, 300])
def test_masks_hold_the_value_that_the_region_was_trained_with(tmp_path: Path, value: int):
    source, regions = datalist(tmp_path / "in", volume=True), {"core": [value, 4], "background": [1, 255]}
    network = model(tmp_path, 1, regions)
    weights = torch.load(network, weights_only=True)
    # it marks everything
    next(bias for name, bias in reversed(weights.items()) if name.endswith("bias")).fill_(99)
    save_weights(Path(network), weights)
    words = ["pseudo-label", str(source), "--models", network, "--output_dir", str(tmp_path / "out")]
    assert main(words) == 0
    entries = json.loads((tmp_path / "out/datalist.json").read_text())["training"]
    labelled = [entry for entry in entries if "pseudo_labels" in entry["label"]]
    assert len(labelled) == 5
    for entry in labelled:
        item = {key: str(tmp_path / "out" / entry[key]) for key in ("image", "label")}
        assert np.unique(read_label_slices(item["label"])[0]).tolist() == [value]
        assert LoadSliced(regions=regions)(item)["label"].all()


def test_the_value_of_a_region_without_values():
    assert (mask_value({"tumour": None}, ".png"), mask_value({"tumour": None}, ".nii.gz")) == (255, 1)
    kept_out = {"tumour": None, "background": [1, 255]}
    assert (mask_value(kept_out, ".png"), mask_value(kept_out, ".nii.gz")) == (2, 2)
    assert mask_value({"core": [0, 7, 3]}, ".png") == 7


def test_networks_of_different_regions_do_not_label_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = datalist(tmp_path / "in")
    core, whole = model(tmp_path, 1, {"core": [3]}), model(tmp_path, 2)
    both = model(tmp_path, 3, {"core": [3], "whole": [1, 3]})
    words = ["pseudo-label", str(source), "--output_dir", str(tmp_path / "out"), "--models"]
    assert main([*words, core, whole]) == 2
    said = capsys.readouterr().err
    assert "{'tumour': None}, but" in said and "{'core': [3]}" in said
    assert main([*words, both]) == 2 and "has 2 regions (core, whole)" in capsys.readouterr().err
    assert main([*words, model(tmp_path, 4, {"core": [0]})]) == 2 and "no value above 0" in capsys.readouterr().err


def test_a_series_of_files_is_compared_as_a_whole(tmp_path: Path):
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"one")
    entry = {"image": "series", "sha256": content_sha256(series)}
    (tmp_path / "manifest.json").write_text(json.dumps({"images": [entry]}))
    assert check_pseudo_labels(tmp_path) == []
    (series / "1.dcm").write_bytes(b"two")
    assert "series has changed since the labels were made" in check_pseudo_labels(tmp_path)[0]


def test_a_patient_in_two_sections_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = datalist(tmp_path / "in")
    content = json.loads(source.read_text())
    content["test"][0]["patient"] = "p0"
    source.write_text(json.dumps(content), encoding="utf-8")
    words = ["pseudo-label", str(source), "--models", model(tmp_path, 1), "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2 and "'p0' is in test, training" in capsys.readouterr().err


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = datalist(tmp_path / "in")
    bare = str(save_weights(tmp_path / "bare" / "deep" / "er" / "still" / "model.pt", unet().state_dict()))
    good = model(tmp_path, 1)
    complete = [str(source), "--models", good, "--output_dir", str(tmp_path / "x")]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for words, message in (
        ([str(source), "--output_dir", str(tmp_path / "x")], "give one or more checkpoints"),
        ([str(source), "--models", bare, "--output_dir", str(tmp_path / "x")], "has no record of its training"),
        ([str(source), "--models", good], "give --output_dir"),
        (
            [str(source), "--models", good, "--output_dir", str(tmp_path / "full")],
            "it holds mine.txt but no manifest.json",
        ),
        ([*complete, "--min_confidence", "2"], "min_confidence is 2"),
        ([*complete, "--min_agreement", "0.8"], "a single network agrees with itself everywhere"),
        ([*complete, "--soft", "--min_confidence", "0.8"], "soft labels hold all probabilities"),
        ([str(source), "--models", good, good, "--output_dir", str(tmp_path / "x")], "model1.pt' is given twice"),
        ([str(tmp_path / "in"), *complete[1:]], "in: no such datalist; give the JSON file"),
        ([str(tmp_path / "full"), "--check"], "manifest.json is not a manifest of pseudo-labels: give a folder"),
    ):
        assert main(["pseudo-label", *words]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists() and (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_a_network_that_knows_the_test_patients_may_not_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = datalist(tmp_path / "in")
    good = Path(model(tmp_path, 1))
    content = json.loads(source.read_text())
    swapped = {"train": content["test"], "validation": content["validation"], "test": content["training"]}
    sections = {
        name: [{"patient": e["patient"], "patient_group": e["patient"], "id": e["image"]} for e in part]
        for name, part in swapped.items()
    }
    SectionRecord.of(sections, good.parent / "sections.json").write(good.parent / "sections.json")
    assert main(["pseudo-label", str(source), "--models", str(good), "--output_dir", str(tmp_path / "x")]) == 2
    assert "was trained or chosen on 2 patients of the test section (p8)" in capsys.readouterr().err


def test_nor_may_the_weights_that_ship(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, shipped = datalist(tmp_path / "in"), bundle_folder("seg_kd") / "models" / "model.pt"
    known = find_own_or_shipped(shipped)
    assert known is not None
    content = json.loads(source.read_text())
    content["test"][0]["patient"] = next(iter(known.patients["train"]))
    source.write_text(json.dumps(content))
    assert main(["pseudo-label", str(source), "--models", str(shipped), "--output_dir", str(tmp_path / "x")]) == 2
    assert "was trained or chosen on 1 patient of the test section" in capsys.readouterr().err
