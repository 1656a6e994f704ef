"""NiiVue as an option for volumes: its bundle is the reader's own copy of the npm package, put into the page."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from ckdmed.json_files import read_json

from .blocks import VolumeViewer
from .case_images import CaseImages
from .case_pictures import colours_of, grey_levels

__all__ = ["NiiVue", "read_niivue", "volume_viewer"]

_BUNDLE = Path("dist", "niivue.umd.js")
# the package states it without its text, which has to go along with every copy
_BSD_2 = (
    "Redistribution and use in source and binary forms, with or without modification, are permitted provided that the "
    "following conditions are met:\n\n1. Redistributions of source code must retain the above copyright notice, this "
    "list of conditions and the following disclaimer.\n\n2. Redistributions in binary form must reproduce the above "
    "copyright notice, this list of conditions and the following disclaimer in the documentation and/or other "
    "materials provided with the distribution.\n\nTHIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "
    '"AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF '
    "MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR "
    "CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES "
    "(INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR "
    "BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR "
    "TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF "
    "THE POSSIBILITY OF SUCH DAMAGE."
)


@dataclass(frozen=True)
class NiiVue:
    """The package.

    Attributes:
        script: its bundle for pages, which defines ``niivue``.
        licence: in words.
    """

    script: str
    licence: str


def read_niivue(folder: Path) -> NiiVue:
    """Read the unpacked npm package ``@niivue/niivue``.

    Raises:
        ValueError: the folder is none of it, or the package is under another licence than BSD-2-Clause, whose text is
            what the pages state.
    """
    remedy = "get it with `npm pack @niivue/niivue`, unpack the file and give the folder `package` of it"
    if not (folder / "package.json").is_file() or not (folder / _BUNDLE).is_file():
        raise ValueError(f"{folder}: is not NiiVue's npm package (package.json and {_BUNDLE.as_posix()}); {remedy}.")
    package = read_json(folder / "package.json")
    if not isinstance(package, dict) or package.get("name") != "@niivue/niivue":
        raise ValueError(f"{folder / 'package.json'}: is of another package; {remedy}.")
    if package.get("license") != "BSD-2-Clause":
        raise ValueError(
            f"{folder / 'package.json'}: states the licence {package.get('license')!r}, but the pages state "
            "BSD-2-Clause; use a version under that licence."
        )
    head = f"NiiVue {package.get('version')}, BSD-2-Clause. Copyright (c) the NiiVue authors. All rights reserved."
    script = (folder / _BUNDLE).read_text(encoding="utf-8")
    return NiiVue(script, f"{head}\n\n{_BSD_2}")


def volume_viewer(images: CaseImages, niivue: NiiVue) -> VolumeViewer | None:
    """A case for NiiVue, in its own geometry; None where it is no volume with a place in space."""
    if images.voxel_ml is None:
        return None
    affine = np.array(images.geometry.affine)
    colours = colours_of(images.regions)
    labels = np.zeros(images.slices.shape, np.uint8)
    for value, name in enumerate(colours, 1):
        # inner regions come after those that hold them
        labels[images.regions[name]] = value
    image = _nifti(images.geometry.to_array(grey_levels(images.slices)), affine)
    marked = images.geometry.to_array(labels)
    mask = _nifti(marked, affine)
    regions = {value: (name, colour) for value, (name, colour) in enumerate(colours.items(), 1)}
    return VolumeViewer(niivue.script, niivue.licence, image, mask, regions, _centre(marked, affine))


def _centre(labels: np.ndarray, affine: np.ndarray) -> tuple[float, float, float]:
    """The middle of what is marked, or of the volume, in mm."""
    volume = labels.reshape(labels.shape[:3])
    places = np.argwhere(volume) if volume.any() else (np.array([volume.shape]) - 1) / 2
    x, y, z = (affine @ [*places.mean(axis=0), 1.0])[:3]
    return float(x), float(y), float(z)


def _nifti(array: np.ndarray, affine: np.ndarray) -> bytes:
    volume = np.ascontiguousarray(array.reshape(array.shape[:3]))
    # a fixed time makes equal inputs equal pages
    return gzip.compress(nib.Nifti1Image(volume, affine).to_bytes(), mtime=0)
