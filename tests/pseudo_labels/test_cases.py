"""BraTS cases without a mask, labelled by networks of slices and of volumes together."""

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
from monai.bundle import ConfigParser

from ckdmed.cli import main
from ckdmed.data.brats import brats_fold, build_brats_datalist, read_brats_datalist, read_mask
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.files import save_weights
from ckdmed.labels import REGIONS, brats_labels
from ckdmed.pseudo_labels import cases as pseudo_label_cases
from ckdmed.sections.brats import brats_sections
from ckdmed.sections.record import SectionRecord
from tests.bundle.brats_runs import ROOT, infer, write_checkpoint
from tests.bundle.bundle_runs import completed, opened
from tests.bundle.test_brats_bundles import TINY

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

OLD, NEW = "Brats18_ABC_1_1", "BraTS-GLI-00001-000"


def cases(folder: Path) -> Path:
    """Six cases of six patients: two of 2018 and 2023 in `training` have no mask, and differ in their axes."""
    write_brats_phantoms(folder, 6, (24, 20, 16), time_points=(1, 1), progress=False)
    (folder / "phantoms.json").unlink()
    old = folder / OLD
    old.mkdir()
    for modality, name in {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}.items():
        image = nib.load(folder / f"BraTS-GLI-00000-000/BraTS-GLI-00000-000-{modality}.nii.gz")
        nib.save(image.as_reoriented([[2, 1], [0, -1], [1, 1]]), old / f"{OLD}_{name}.nii.gz")
    shutil.rmtree(folder / "BraTS-GLI-00000-000")
    (folder / NEW / f"{NEW}-seg.nii.gz").unlink()
    built, skipped = build_brats_datalist(folder, require_label=False, fractions=(1, 0, 0), progress=False)
    assert not skipped
    items = {item["case"]: item for item in built["training"]}
    labelled = sorted(set(items) - {OLD, NEW})
    parts = {"training": [OLD, NEW, *labelled[:2]], "validation": labelled[2:3], "test": labelled[3:]}
    content = {**built, **{name: [items[case] for case in part] for name, part in parts.items()}}
    path = folder / "datalist.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def model(path: Path, bundle: str = "brats_seg_kd", seed: int = 0, **settings: Any) -> str:
    """Random weights, whose last layer is scaled and moved so that each region is some of the brain."""
    made = write_checkpoint(path, bundle, **settings)
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles" / bundle / "inference.json"))
    parser["checkpoint"], parser["device"] = made, "$torch.device('cpu')"
    network = parser.get_parsed_content("network_def").eval()
    generator = torch.Generator().manual_seed(seed)
    for values in network.parameters():
        values.data += 0.3 * torch.randn(values.shape, generator=generator)
    shape = (1, parser.get_parsed_content("in_channels"), *[32] * parser.get_parsed_content("spatial_dims"))
    weight, bias = list(network.parameters())[-2:]
    with torch.no_grad():
        logits = network(torch.randn(shape, generator=generator)).transpose(0, 1).flatten(1)
        for number, region in enumerate(parser.get_parsed_content("regions")):
            share = {"WT": 0.3, "TC": 0.5, "ET": 0.7}[region]
            scale = 1 / logits[number].std()
            middle = logits[number].quantile(share)
            weight[number] *= scale
            bias[number] = (bias[number] - middle) * scale
    save_weights(path, network.state_dict())
    return made


def relisted(source: Path, change: Any) -> None:
    content = json.loads(source.read_text(encoding="utf-8"))
    change(content)
    source.write_text(json.dumps(content), encoding="utf-8")


def words(source: Path, out: Path, *models: str, more: tuple[str, ...] = ()) -> list[str]:
    return ["pseudo-label", str(source), "--models", *models, "--output_dir", str(out), *more]


def test_networks_of_several_kinds_label_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The ensemble of Lachinov et al., and a student of such a kind that reads what it labelled."""
    source, out, teacher = cases(tmp_path / "in"), tmp_path / "out", "brats_seg_teacher"
    models = [
        model(
            tmp_path / "a/model.pt", teacher, seed=1, teacher_kind="grouped_unet", teacher_options={"block": "plain"}
        ),
        model(
            tmp_path / "b/model.pt", teacher, seed=2, teacher_kind="grouped_unet", teacher_options={"block": "resnext"}
        ),
        model(tmp_path / "c/model.pt", teacher, seed=3, teacher_kind="cascaded_unet"),
    ]
    assert main(words(source.parent, out, *models)) == 0
    assert "2 of 2 cases labelled" in capsys.readouterr().out
    masks = [read_mask(out / entry["label"]) for entry in read_brats_datalist(out / "datalist.json")["training"][:2]]
    assert all(mask.any() for mask in masks)
    settings = {**TINY, "student_base": 2, "student_kind": "grouped_unet", "method": "supervised"}
    for name in ("phantom_cases", "sections#phantom_shape", "teacher_base"):
        settings.pop(name, None)
    completed(opened("brats_seg_kd", **settings, dataset_dir=str(out), output_dir=str(tmp_path / "student")))
    assert (tmp_path / "student" / "models" / "model.pt").is_file()


@pytest.mark.parametrize("average", ["prob", pytest.param("logit", marks=pytest.mark.slow)])
def test_masks_are_those_of_the_averaged_probabilities_on_the_cases_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], average: str
):
    source, out = cases(tmp_path / "in"), tmp_path / "out"
    before = source.read_bytes()
    models = [
        model(tmp_path / "a/model.pt", seed=1, modalities=["t2f", "t1c"]),
        model(tmp_path / "b/model.pt", "brats_seg_teacher", seed=2, teacher_kind="unet"),
        model(tmp_path / "c/model.pt", seed=3, spatial_dims=3, regions=["WT", "ET", "TC"]),
    ]
    sure = "0.55"
    given = words(source.parent, out, *models, more=("--average", average, "--min_confidence", sure))
    assert main(given) == 0
    said = capsys.readouterr()
    assert "2 of 2 cases labelled" in said.out and f"run brats_seg_kd train --dataset_dir {out}" in said.out
    # how much is copied
    assert "copying" in said.err and source.read_bytes() == before
    content, original = read_brats_datalist(out / "datalist.json"), json.loads(before)
    assert content["validation"] == original["validation"] and content["test"] == original["test"]
    assert content["training"][2:] == original["training"][2:]
    rows = list(csv.DictReader((out / "audit.csv").open()))
    for entry, was, row in zip(content["training"][:2], original["training"][:2], rows, strict=True):
        probabilities = []
        for number, name in enumerate(models):
            alone = tmp_path / f"alone{number}"
            bundle, dims = ("brats_seg_teacher" if number == 1 else "brats_seg_kd"), 3 if number == 2 else 2
            own: dict[str, Any] = {"spatial_dims": dims}
            own |= {"teacher_kind": "unet"} if number == 1 else {}
            if not alone.exists():
                content_of = {**original, "training": [], "validation": [], "test": original["training"][:2]}
                (source.parent / "two.json").write_text(json.dumps(content_of))
                infer(alone, bundle, checkpoint=name, probabilities=True, dataset_dir=str(source.parent / "two.json"),
                      **own)  # fmt: skip
            found = [nib.load(alone / f"{entry['case']}_probability_{region}.nii.gz").get_fdata() for region in REGIONS]
            probabilities.append(np.stack(found))
        values = np.stack(probabilities)
        if average == "logit":
            values = np.clip(values, 1e-6, 1 - 1e-6)
            mean = 1 / (1 + np.exp(-np.log(values / (1 - values)).mean(0)))
        else:
            mean = values.mean(0)
        table = brats_labels(2018 if entry["case"] == OLD else 2023)
        right = table.from_regions(mean >= float(sure))
        mask, image = nib.load(out / entry["label"]), nib.load(source.parent / entry["image"][0])
        assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)
        written = read_mask(out / entry["label"])
        assert np.array_equal(written, right) and mask.get_data_dtype() == np.uint8
        # in which the releases differ
        assert {0, table.ed, table.et} <= set(np.unique(written))
        assert entry["pseudo_label"] and "label" not in was and entry["has_et"]
        numbers = {name: int((written == value).sum()) for value, name in table.names.items() if value}
        assert entry["label_voxels"] == {name: number for name, number in numbers.items() if number}
        loose = table.to_regions(table.from_regions(mean >= 0.5))
        for region, ours, all_of in zip(REGIONS, table.to_regions(written), loose, strict=True):
            voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
            assert float(row[f"volume_ml_{region}"]) == pytest.approx(ours.sum() * voxel_ml, abs=1e-3)
            assert float(row[f"kept_{region}"]) == pytest.approx(ours.sum() / all_of.sum(), abs=1e-4)
            assert 0 <= float(row[f"agreement_{region}"]) < 1
        assert float(row["agreement"]) == min(float(row[f"agreement_{region}"]) for region in REGIONS)
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["models"]) == 3 and [len(entry["sha256"]) for entry in manifest["images"]] == [4, 4]
    assert not (out / ".work").exists() and set(manifest["files"]) >= {entry["label"] for entry in manifest["images"]}
    # whoever changes an image or a mask is told of it
    assert main(["pseudo-label", str(out), "--check"]) == 0
    for path in (out / content["training"][0]["image"][3], out / content["training"][1]["label"]):
        path.write_bytes(path.read_bytes() + b" ")
    assert main(["pseudo-label", str(out), "--check"]) == 1
    assert "2 problems" in capsys.readouterr().out
    # and nothing that was changed is replaced
    assert main(given) == 2 and "was changed after it was written" in capsys.readouterr().err


def test_a_student_trains_on_them_and_nobody_scores_them(tmp_path: Path):
    source, out = cases(tmp_path / "in"), tmp_path / "out"
    assert main(words(source, out, model(tmp_path / "model.pt", seed=1))) == 0
    settings = {name: value for name, value in TINY.items() if name not in ("phantom_cases", "sections#phantom_shape")}
    made = completed(
        opened("brats_seg_kd", **{**settings, "method": "supervised", "epochs": 1}, dataset_dir=str(out),
               output_dir=str(tmp_path / "run"))  # fmt: skip
    )
    train = made.parser.get_parsed_content("sections")["train"]
    assert len(train) == 4 and all(item["labelled"] for item in train)
    assert (made.parser.get_parsed_content("train")["dataset"].categories > 0).any()
    assert (tmp_path / "run/models/model.pt").is_file()
    # no fold tests what networks labelled, be it drawn or given
    content = read_brats_datalist(out / "datalist.json")
    for fold in range(3):
        drawn = brats_fold(content, fold, 3)
        assert not any(item.get("pseudo_label") for name in ("validation", "test") for item in drawn[name])
        assert {OLD, NEW} <= {item["case"] for item in drawn["training"]}
    # nor a scoring of patients who are new to a network
    record = SectionRecord.of({"train": [], "validation": [], "test": []}, tmp_path / "sections.json")
    record.write(tmp_path / "sections.json")
    new = brats_sections(str(out), checkpoint=str(tmp_path / "model.pt"))["new"]
    assert [item["case"] for item in new if not item["labelled"]] == [OLD, NEW] and len(new) == 6
    relisted(
        out / "datalist.json",
        lambda listed: [
            item.update(fold=number % 3)
            for number, item in enumerate(listed["training"] + listed["validation"] + listed["test"])
        ],
    )
    with pytest.raises(ValueError, match="2 cases without a mask .or with one that networks made. in the folds"):
        brats_sections(str(out), fold=0, n_folds=3)


def test_cases_that_the_networks_disagree_on_stay_unlabelled(tmp_path: Path):
    source, out = cases(tmp_path / "in"), tmp_path / "out"
    models = [model(tmp_path / f"{seed}.pt", seed=seed) for seed in (1, 2)]
    assert main(words(source, out, *models, more=("--min_agreement", "1"))) == 0
    content = read_brats_datalist(out / "datalist.json")
    assert not any("pseudo_label" in entry or entry["label_voxels"] for entry in content["training"][:2])
    assert [row["label"] for row in csv.DictReader((out / "audit.csv").open())] == ["", ""]
    assert not (out / "pseudo_labels").exists()


def test_more_cases_than_are_asked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, network = cases(tmp_path / "in"), model(tmp_path / "model.pt", seed=1)
    assert main(words(source, tmp_path / "together", network)) == 0
    monkeypatch.setattr("ckdmed.pseudo_labels.cases._AT_ONCE", 1)
    assert main(words(source, tmp_path / "singly", network)) == 0
    for name in ("audit.csv", f"pseudo_labels/{OLD}_mask.nii.gz", f"pseudo_labels/{NEW}_mask.nii.gz"):
        assert (tmp_path / "together" / name).read_bytes() == (tmp_path / "singly" / name).read_bytes()


def test_a_case_gets_its_own_answer_whatever_the_order_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, network = cases(tmp_path / "in"), model(tmp_path / "model.pt", seed=1)
    assert main(words(source, tmp_path / "asked", network)) == 0
    own = pseudo_label_cases.inferred
    monkeypatch.setattr(pseudo_label_cases, "inferred", lambda *args, **given: own(*args, **given)[::-1])
    assert main(words(source, tmp_path / "turned", network)) == 0
    for name in (f"pseudo_labels/{OLD}_mask.nii.gz", f"pseudo_labels/{NEW}_mask.nii.gz"):
        assert (tmp_path / "asked" / name).read_bytes() == (tmp_path / "turned" / name).read_bytes()
    monkeypatch.setattr(pseudo_label_cases, "inferred", lambda *args, **given: own(*args, **given)[:1])
    assert main(words(source, tmp_path / "half", network)) == 2 and not (tmp_path / "half").exists()


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    source, out = cases(tmp_path / "in"), tmp_path / "out"
    kept = source.read_text(encoding="utf-8")
    good = model(tmp_path / "model.pt")

    def refused(message: str, *models: str, more: tuple[str, ...] = ()) -> None:
        assert main(words(source, out, *(models or (good,)), more=more)) == 2
        assert message in capsys.readouterr().err
        assert not out.exists()
        source.write_text(kept, encoding="utf-8")

    refused("soft labels are not made for BraTS cases", more=("--soft",))
    refused("was trained with regions ['WT']", model(tmp_path / "wt.pt", regions=["WT"]))
    slices = tmp_path / "slices.pt"
    shutil.copyfile(good, slices)
    slices.with_suffix(".json").write_text('{"settings": {"epochs": 1, "student_kind": "unet", "image_size": 32}}')
    refused("is not a network of brats_seg_kd and brats_seg_teacher", str(slices))
    relisted(source, lambda listed: listed["test"][0].pop("label"))
    refused("1 case of the section 'test' without a mask")
    relisted(source, lambda listed: listed.update(training=listed["training"][2:]))
    refused("every case of the section 'training' has a mask")
    relisted(source, lambda listed: listed["training"][1].update(
        image=listed["training"][1]["image"][:3], modalities=["t1n", "t1c", "t2w"]))  # fmt: skip
    refused(f"the case {NEW} lacks t2f")
    relisted(source, lambda listed: listed["training"][1]["image"].__setitem__(0, listed["training"][0]["image"][0]))
    refused(f"the case {NEW}: ")
    relisted(source, lambda listed: listed["training"][1]["image"].__setitem__(0, "gone.nii.gz"))
    refused("gone.nii.gz: no such file")
    # a mask that is there keeps its place
    taken = tmp_path / f"in/pseudo_labels/{NEW}_mask.nii.gz"
    taken.parent.mkdir()
    shutil.copyfile(tmp_path / "in" / json.loads(kept)["training"][2]["label"], taken)
    relisted(source, lambda listed: listed["training"][2].update(label=taken.relative_to(source.parent).as_posix()))
    refused(f"would replace pseudo_labels/{NEW}_mask.nii.gz")
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: shutil._ntuple_diskusage(10, 9, 1))
    refused("but the disk has 0.0 GB left")


def test_networks_that_know_test_patients_may_not_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, network = cases(tmp_path / "in"), Path(model(tmp_path / "run/model.pt"))
    content = json.loads(source.read_text(encoding="utf-8"))
    for section in ("train", "validation"):
        known = {"train": [], "validation": [], "test": [], section: content["test"]}
        SectionRecord.of(known, network.parent / "sections.json").write(network.parent / "sections.json")
        assert main(words(source, tmp_path / "out", str(network))) == 2
        assert "was trained or chosen on 1 patient of the test section" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_networks_of_cases_do_not_label_slices(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from tests.pseudo_labels.test_labelling import datalist

    network = model(tmp_path / "model.pt")
    assert main(words(datalist(tmp_path / "in"), tmp_path / "out", network)) == 2
    assert (
        "is not a network of seg_kd and seg_teacher, according to the record of its training" in capsys.readouterr().err
    )
