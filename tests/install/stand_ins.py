"""What the documents call a user's files, made small."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser

from ckdmed.data.phantoms import write_brats_phantoms, write_figshare_phantoms
from tests.data.dicom_phantom import write_series
from tests.install.environments import ROOT


def figshare(folder: Path) -> None:
    write_figshare_phantoms(folder, n_patients=10, size=48, progress=False)


def brats(folder: Path) -> None:
    write_brats_phantoms(folder, 10, (24, 24, 16), tumour_types=("GLI", "MET"), progress=False)


def clinic(folder: Path) -> None:
    """NIfTI files named by modality; one case."""
    folder.mkdir(parents=True)
    for name in ("t1n", "t1c", "t2w", "t2f"):
        nibabel.save(nibabel.Nifti1Image(_volume(), np.diag([1.0, 1.0, 2.0, 1.0])), folder / f"case1_{name}.nii.gz")


def series(folder: Path) -> None:
    """Folders of DICOM series, named by modality."""
    for number, name in enumerate(("t1n", "t1c", "t2w", "t2f"), start=1):
        write_series(folder / name, _volume(), uid=f"1.2.826.0.1.3680043.8.498.{number}", number=number)


def one_series(folder: Path) -> None:
    number = int(folder.name)
    write_series(folder, _volume(), uid=f"1.2.826.0.1.3680043.8.498.{number}", number=number)


def mask(path: Path) -> None:
    """The mask of the case that the documents name, in another file."""
    (case,) = sorted((path.parent / "brats").glob("*-GLI-00001-000"))
    (own,) = case.glob("*-seg.nii.gz")
    shutil.copyfile(own, path)


def own_networks(path: Path) -> None:
    """The configuration that docs/own_networks.md shows."""
    page = (ROOT / "docs/own_networks.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    path.write_text(block, encoding="utf-8")


#: As the documents write it -> what makes it. In this order: one may be made of another.
MAKERS: dict[str, Callable[[Path], None]] = {
    "path/to/figshare": figshare,
    "path/to/slices": figshare,
    "path/to/scans": figshare,
    "figshare_mat": figshare,
    "path/to/brats": brats,
    "path/to/volumes": brats,
    "BRATS": brats,
    "brats": brats,
    "clinic": clinic,
    "P1": series,
    "/scans/0004": one_series,
    "/scans/0009": one_series,
    "mask.nii.gz": mask,
    "own.json": own_networks,
}


def make_files(words: list[str], folder: Path) -> list[str]:
    """The words with stand-ins, made in the folder where they are not there yet, for the files of a user in them."""
    changed = []
    for word in words:
        for name in MAKERS:
            match = re.fullmatch(rf"((?:.*[='\[])?){re.escape(name)}(/.*|['\]].*)?", word)
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


def write_student(path: Path, config: Path, options: dict[str, Any]) -> None:
    """Random weights of the network that a configuration with these options has."""
    parser = ConfigParser()
    parser.read_config(str(config))
    parser.update({key: value for key, value in options.items() if key in parser.get()})
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)


def _volume() -> np.ndarray:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 32, 12)), indexing="ij")
    head = x**2 + y**2 + z**2 < 0.8
    noise = np.random.default_rng(0).normal(0, 20, head.shape)
    return (np.where(head, 400 + 100 * x + noise, 0)).astype(np.int16)
