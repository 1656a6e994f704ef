"""What the documents call a user's files, made small."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser
from skimage.io import imsave

from ckdmed.data.datalist import build_figshare_datalist, write_datalist
from ckdmed.data.phantoms import write_brats_phantoms, write_figshare_phantoms
from ckdmed.run_pages.niivue import _BUNDLE as NIIVUE_SCRIPT
from tests.bundle.bundle_runs import record
from tests.data.dicom_phantom import write_series
from tests.export.tiny import RUN, SIZES, config, fitting, sizes_of, write_checkpoint
from tests.install.environments import ROOT
from tests.networks.random_states import random_state
from tests.networks.test_efficientnet_lite import file_shapes
from tests.preparation.test_registration import AFFINE, head, known


def figshare(folder: Path) -> None:
    write_figshare_phantoms(folder, n_patients=20, size=48, progress=False)


def figshare_list(path: Path) -> None:
    """A datalist, in a folder of slices."""
    figshare(path.parent)
    write_datalist(build_figshare_datalist(path.parent, progress=False)[0], path)


def brats(folder: Path) -> None:
    write_brats_phantoms(folder, 10, (24, 24, 16), tumour_types=("GLI", "MET"), progress=False)


def clinic(folder: Path) -> None:
    """NIfTI files named by modality; one case."""
    _named(folder, "case1", ("t1n", "t1c", "t2w", "t2f"))


def series(folder: Path) -> None:
    """Folders of DICOM series, named by modality."""
    for number, name in enumerate(("t1n", "t1c", "t2w", "t2f"), start=1):
        write_series(folder / name, _volume(), uid=f"1.2.826.0.1.3680043.8.498.{number}", number=number)


def one_series(folder: Path) -> None:
    number = int(folder.name) if folder.name.isdigit() else 1
    write_series(folder, _volume(), uid=f"1.2.826.0.1.3680043.8.498.{number}", number=number)


def mask(path: Path) -> None:
    """The mask of the case that the documents name, in another file."""
    case = sorted((path.parent / "brats").glob("*-GLI-*"))[0]
    (own,) = case.glob("*-seg.nii.gz")
    image = nibabel.load(own)
    # with labels that all releases have
    labels = np.minimum(np.asarray(image.dataobj), 2).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), path)


def own_networks(path: Path) -> None:
    """The configuration that docs/own_networks.md shows."""
    page = (ROOT / "docs/own_networks.md").read_text(encoding="utf-8")
    path.write_text(re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)[0], encoding="utf-8")


def own_method(path: Path) -> None:
    """What docs/methods.md shows: files that it names just before their contents."""
    page = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    for name, block in re.findall(r"\(?`(my_\w+\.\w+)`\)?:?\n\n```\w+\n(.*?)```", page, flags=re.DOTALL):
        (path.parent / name).write_text(block, encoding="utf-8")


def pictures(folder: Path) -> None:
    """PNG slices with masks, and the datalist that the lines of docs/own_data.md make of them."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for patient in range(12):
        image = np.random.default_rng(patient).integers(20, 200, (48, 48), np.uint8)
        mask = np.zeros((48, 48), np.uint8)
        mask[10 : 20 + patient, 12:30] = 255
        for number in range(2):
            imsave(
                folder / f"images/p{patient}_{number}.png",
                image + 50 * (mask > 0).astype(np.uint8),
                check_contrast=False,
            )
            imsave(folder / f"masks/p{patient}_{number}.png", mask, check_contrast=False)
    page = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
    lines = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0]
    subprocess.run([sys.executable, "-c", lines], cwd=folder.parent, check=True)


def unlabelled_pictures(path: Path) -> None:
    """A datalist of PNG slices, the last of them without masks."""
    pictures(path.parent / "slices")
    items = json.loads((path.parent / "slices/datalist.json").read_text(encoding="utf-8"))["training"]
    for item in items:
        item.update({key: f"slices/{item[key]}" for key in ("image", "label")})
    for item in items[-4:]:
        del item["label"]
    path.write_text(json.dumps({"training": items}), encoding="utf-8")


def network(path: Path) -> None:
    write_checkpoint(path, "seg_kd")


def shipped(path: Path) -> None:
    """The weights that ship, with their record: another commit has those that the documents name."""
    for suffix in (".pt", ".json"):
        shutil.copy((ROOT / "bundles/seg_kd/models/model.pt").with_suffix(suffix), path.with_suffix(suffix))


def niivue(folder: Path) -> None:
    """The folder of an npm package, without its 2 MB."""
    bundle = folder / NIIVUE_SCRIPT
    bundle.parent.mkdir(parents=True)
    bundle.write_text("export class Niivue {}", encoding="utf-8")
    stated = {"name": "@niivue/niivue", "version": "0.69.0", "license": "BSD-2-Clause"}
    (folder / "package.json").write_text(json.dumps(stated), encoding="utf-8")


def lgg(folder: Path) -> None:
    """A folder for each case."""
    _named(folder / "case1", "case1", ("t1", "t1ce", "flair"))


def native(folder: Path) -> None:
    _named(folder, "case1", ("t1", "t1c", "t2", "fla"))


def patient(folder: Path) -> None:
    """Two sequences of one head, on grids of their own."""
    folder.mkdir(parents=True)
    first, second = head(0)
    for name, volume, affine in (("t1ce", first, AFFINE), ("flair", second, known((4, 3, -6), (5, 4, -3)) @ AFFINE)):
        nibabel.save(nibabel.Nifti1Image(volume, affine), folder / f"case_{name}.nii.gz")


def case_mask(path: Path) -> None:
    """What an inference would write, on the grid of the prepared case."""
    image = nibabel.load(sorted(path.parent.glob("case-t1c.nii.gz"))[0])
    mask = (np.asarray(image.dataobj) > np.percentile(np.asarray(image.dataobj), 90)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(mask, image.affine), path)


def training(folder: Path) -> None:
    """A short training, evaluated and used for an inference."""
    small = fitting({**SIZES, **RUN, "phantom_patients": 20}, config("seg_kd", "train.json"))
    tiny = [f"--{name}={value}" for name, value in small.items()]
    ran = [sys.executable, "-m", "ckdmed", "run", "seg_kd"]
    subprocess.run([*ran, "train", *tiny, "--output_dir", str(folder)], cwd=ROOT, check=True)
    subprocess.run([*ran, "evaluate", "--output_dir", str(folder)], cwd=ROOT, check=True)
    slices = next((folder / "phantoms").glob("*"))
    found = ["--dataset_dir", str(slices), "--output_dir", str(folder / "inference")]
    subprocess.run([*ran, "infer", "--checkpoint", str(folder / "models/model.pt"), *found], cwd=ROOT, check=True)


def same_training(folder: Path) -> None:
    """Another name for the training of the page's first command."""
    shutil.copytree(folder.parent / "output", folder)


def published_lite0(path: Path) -> None:
    """A file with the names and shapes of the published EfficientNet-Lite0."""
    torch.save(random_state(file_shapes(), gain=1.5), path)


def comparison(folder: Path) -> None:
    shutil.copytree(ROOT / "docs/records/compare", folder / "records")


#: As the documents write it -> what makes it. In this order: one may be made of another.
MAKERS: dict[str, Callable[[Path], None]] = {
    "figshare/datalist.json": figshare_list,
    "slices/datalist.json": lambda path: pictures(path.parent),
    "slices/images": lambda path: pictures(path.parent),
    "datalist.json": unlabelled_pictures,
    "unet/models/model.pt": network,
    "efficientnet/models/model.pt": network,
    "efficientnet-lite0-57934424.pth": published_lite0,
    "path/to/run": training,
    "output": training,
    "seed0": same_training,
    "seed1": same_training,
    "seed2": same_training,
    "comparison": comparison,
    "package": niivue,
    "dicom/t1w": one_series,
    "lgg": lgg,
    "native": native,
    "patient": patient,
    "prepared/case/case-seg.nii.gz": case_mask,
    "path/to/figshare": figshare,
    "path/to/slices": figshare,
    "path/to/scans": figshare,
    "figshare_mat": figshare,
    "path/to/brats": brats,
    "path/to/lgg": brats,
    "path/to/volumes": brats,
    "BRATS": brats,
    "brats": brats,
    "clinic": clinic,
    "P1": series,
    "/scans/0004": one_series,
    "/scans/0009": one_series,
    "mask.nii.gz": mask,
    "own.json": own_networks,
    "ship_c/models/model.pt": shipped,
    "my_method.json": own_method,
    "my_loss.json": own_method,
}


def make_files(words: list[str], folder: Path) -> list[str]:
    """The words with stand-ins, made in the folder where they are not there yet, for the files of a user in them."""
    changed = []
    for word in words:
        for name in MAKERS:
            match = re.fullmatch(rf"((?:.*[='\"\[])?){re.escape(name)}(/.*|['\"\]].*)?", word)
            # lists are written by an earlier command of the page
            if match and not (match[2] or "").endswith(".json"):
                place = folder / name.strip("/")
                if not place.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    if name == "mask.nii.gz" and not (folder / "brats").exists():
                        brats(folder / "brats")
                    MAKERS[name](place)
                word = f"{match[1]}{name.strip('/')}{_case(match[2] or '', place)}"
                break
        changed.append(word)
    return changed


def _case(rest: str, place: Path) -> str:
    """A case of the phantoms for the case that is named."""
    name = rest.strip("/")
    if not re.fullmatch(r"BraTS-GLI-\d+-\d+", name) or (place / name).exists():
        return rest
    return f"/{sorted(path.name for path in place.glob('*-GLI-*'))[0]}"


def write_student(path: Path, bundle: str, options: dict[str, Any]) -> None:
    """Random weights of a small network of a bundle, with the record that a training with these options would leave."""
    # that of another bundle's command
    path.with_suffix(".json").unlink(missing_ok=True)
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles" / bundle / "inference.json"))
    chosen = {**sizes_of(bundle), **{key: value for key, value in options.items() if key in ("task", "modalities")}}
    parser.update(chosen)
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    record(path, bundle, **chosen)


def _named(folder: Path, case: str, names: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        nibabel.save(nibabel.Nifti1Image(_volume(), np.diag([1.0, 1.0, 2.0, 1.0])), folder / f"{case}_{name}.nii.gz")


def _volume() -> np.ndarray:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 32, 12)), indexing="ij")
    head = x**2 + y**2 + z**2 < 0.8
    noise = np.random.default_rng(0).normal(0, 20, head.shape)
    return (np.where(head, 400 + 100 * x + noise, 0)).astype(np.int16)
