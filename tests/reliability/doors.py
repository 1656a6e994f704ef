"""Every place at which the package takes up bytes that it has not just made: small sound files, and their reader."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, ScaleIntensityd
from PIL import Image
from pydicom.data import get_testdata_file

from ckdmed.data import cached_dataset
from ckdmed.data.brats import build_brats_datalist, build_slice_cache
from ckdmed.data.brats.datalist import read_brats_datalist, select_brats_items
from ckdmed.data.brats.slice_dataset import BratsSliceDataset
from ckdmed.data.datalist import assemble_datalist, read_datalist, write_datalist
from ckdmed.data.dicom_file import open_dicom
from ckdmed.data.dicom_pixels import read_frames
from ckdmed.data.figshare import read_figshare_slice
from ckdmed.data.phantoms.files import write_slice_mat
from ckdmed.data.slice_files import read_slices
from ckdmed.data.volume_reader import read_volume
from ckdmed.engines import FrozenTeacher, TeacherCache
from ckdmed.files import load_weights, save_weights
from ckdmed.reports import RunRecord
from tests.data.dicom_phantom import write_series
from tests.reliability.mutations import mutated
from tests.toy import unet

__all__ = ["DOORS", "Door", "Opened"]


@dataclass(frozen=True)
class Opened:
    """A door over files that were just written.

    Args:
        targets: the files that are damaged, one at a time.
        read: reads everything and gives a digest of what came out.
        begins: bytes of a target that stay as they are: a header that another door damages.
    """

    targets: Sequence[Path]
    read: Callable[[], str]
    begins: Mapping[Path, int] = field(default_factory=dict)

    def damaged(self, target: Path, sound: bytes, seed: int) -> tuple[str, bytes]:
        """How a target is damaged, and its content then; see `mutated`."""
        begin = self.begins.get(target, 0)
        how, rest = mutated(sound[begin:], seed)
        return how, sound[:begin] + rest


@dataclass(frozen=True)
class Door:
    """How damage is to be met.

    Args:
        make: writes the files into a folder and opens the door.
        detects: a checksum covers all that matters, so that nothing but the original may come out.
        rebuilds: of a cache: damage is no error, the entry is made again.
        costly: reading takes tens of milliseconds, so that the default tests damage fewer files.
    """

    make: Callable[[Path], Opened]
    detects: bool = False
    rebuilds: bool = False
    costly: bool = False


def digest(*values: Any) -> str:
    """Of arrays, tensors and plain values, nested in lists and mappings."""
    total = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            total.update(f"{value.dtype}{tuple(value.shape)}".encode())
            value = value.detach().as_subclass(torch.Tensor).contiguous().reshape(-1).view(torch.uint8).numpy()
        if isinstance(value, np.ndarray):
            total.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, Mapping):
            for key in sorted(value, key=str):
                add(str(key))
                add(value[key])
        elif isinstance(value, (list, tuple)):
            total.update(f"{len(value)}".encode())
            for entry in value:
                add(entry)
        else:
            total.update(repr(value).encode())

    add(list(values))
    return total.hexdigest()


def _picture(size: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    noise = np.random.default_rng(0).integers(0, 40, (size, size))
    return (120 * (np.hypot(rows - size / 2, columns - size / 2) < size / 3) + noise).astype(np.uint8)


def _slices(path: Path) -> Opened:
    def read() -> str:
        slices, geometry = read_slices((path,), -1)
        return digest(slices, geometry.to_text())

    return Opened([path], read)


def _mat(folder: Path) -> Opened:
    picture = _picture().astype(np.int16)
    border = np.array([[10.0, 10], [10, 30], [30, 30], [30, 10]])
    path = folder / "1.mat"
    write_slice_mat(path, picture, (picture > 100).astype(np.uint8), border, 2, "100001")
    return Opened([path], lambda: digest(vars(read_figshare_slice(path)), read_slices((path,), -1)[0]))


def _nifti(name: str) -> Callable[[Path], Opened]:
    def make(folder: Path) -> Opened:
        volume = np.stack([_picture(24)] * 5, axis=-1).astype(np.int16)
        nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1.0, 2.0, 1.0])), folder / name)

        def read() -> str:
            return digest(*read_volume(folder / name))

        return Opened([folder / name], read)

    return make


def _image(name: str) -> Callable[[Path], Opened]:
    def make(folder: Path) -> Opened:
        Image.fromarray(_picture()).save(folder / name)
        return _slices(folder / name)

    return make


def _dicom(folder: Path) -> Opened:
    volume = np.stack([_picture(32).T] * 4, axis=-1).astype(np.int16)
    files = write_series(folder / "series", volume)
    return Opened(files[:2], lambda: digest(*read_volume(files)))


def _compressed_dicom(*names: str) -> Callable[[Path], Opened]:
    """pydicom's own files, of which the compressed pixels are damaged."""

    def make(folder: Path) -> Opened:
        begins = {}
        for name in names:
            content = Path(str(get_testdata_file(name, download=False))).read_bytes()
            (folder / name).write_bytes(content)
            # behind the tag (7FE0,0010), its length and the offset table
            begins[folder / name] = content.rindex(b"\xe0\x7f\x10\x00") + 20

        return Opened(
            list(begins), lambda: digest([list(read_frames(path, open_dicom(path))) for path in begins]), begins
        )

    return make


def _checkpoint(folder: Path) -> Opened:
    path = save_weights(folder / "model.pt", unet().state_dict())
    return Opened([path], lambda: digest(load_weights(path)))


def _datalist(folder: Path) -> Opened:
    names = [str(n) for n in range(1, 13)]
    items = [
        {
            "id": n,
            "image": f"{n}.mat",
            "label": f"{n}.mat",
            "patient": n,
            "patient_group": n,
            "tumor_label": 1 + int(n) % 3,
        }
        for n in names
    ]
    path = write_datalist(assemble_datalist(items, 0, (0.6, 0.2, 0.2)), folder / "datalist.json")
    return Opened([path], lambda: digest(read_datalist(path)))


def _record(folder: Path) -> Opened:
    record = RunRecord("run", "alone", ["ckdmed", "compare"], 0, {"name": "patients"}, {"Dice per slice": 0.5})
    path = record.write(folder / "run.json")
    return Opened([path], lambda: digest(vars(RunRecord.read(path))))


def _disk_cache(folder: Path) -> Opened:
    np.save(folder / "1.npy", _picture().astype(np.float32))
    items = [{"id": "1", "image": str(folder / "1.npy")}]

    def read() -> str:
        chain = Compose(
            [
                LoadImaged("image", reader="NumpyReader"),
                EnsureChannelFirstd("image", channel_dim="no_channel"),
                ScaleIntensityd("image"),
                EnsureTyped("image", track_meta=False),
            ]
        )
        return digest(cached_dataset(items, chain, "disk", folder / "cache")[0]["image"])

    read()
    return Opened(sorted(p for p in (folder / "cache").rglob("*") if p.is_file()), read)


def _teacher_cache(folder: Path) -> Opened:
    np.save(folder / "1.npy", _picture(32).astype(np.float32))
    items = [{"id": "1", "image": str(folder / "1.npy"), "label": str(folder / "1.npy")}]
    image = torch.from_numpy(_picture(32).astype(np.float32))[None, None] / 160
    teacher = FrozenTeacher(unet(base=2, seed=3), taps={"d1": "decoder.d1"})

    def read() -> str:
        cache = TeacherCache(items, Compose([]), "disk", folder / "cache")
        cache.open(teacher)
        said = cache(image, {"image": image, "id": ["1"]}, teacher)
        return digest(said.logits, said.features)

    read()
    return Opened(sorted(p for p in (folder / "cache").rglob("*") if p.is_file()), read)


def _slice_cache(folder: Path) -> Opened:
    for name, suffix in (("t1c", "-t1c"), ("t2f", "-t2f"), ("seg", "-seg")):
        volume = np.zeros((8, 9, 6), np.uint8 if name == "seg" else np.int16)
        volume[1:-1, 1:-1, 1:-1] = 2 if name == "seg" else np.random.default_rng(len(name)).integers(1, 90, (6, 7, 4))
        path = folder / "cases/BraTS-GLI-00001-000" / f"BraTS-GLI-00001-000{suffix}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), path)
    datalist, _ = build_brats_datalist(folder / "cases", fractions=(1, 0, 0), modalities=["t1c", "t2f"], progress=False)
    items = select_brats_items(datalist, folder / "cases")

    def read() -> str:
        build_slice_cache(items, folder / "cache", progress=False)
        dataset = BratsSliceDataset(folder / "cache")
        return digest([dict(dataset[n]) for n in range(len(dataset))])

    read()
    return Opened(sorted(p for p in (folder / "cache").rglob("*") if p.is_file()), read)


def _brats_datalist(folder: Path) -> Opened:
    _slice_cache(folder)
    datalist, _ = build_brats_datalist(folder / "cases", fractions=(1, 0, 0), modalities=["t1c", "t2f"], progress=False)
    path = folder / "brats.json"
    path.write_text(json.dumps(datalist), encoding="utf-8")
    return Opened([path], lambda: digest(read_brats_datalist(path)))


DOORS: dict[str, Door] = {
    "Figshare .mat": Door(_mat),
    "NIfTI, not compressed": Door(_nifti("a.nii")),
    "NIfTI, compressed": Door(_nifti("a.nii.gz"), detects=True),
    "PNG": Door(_image("a.png"), detects=True),
    "JPEG": Door(_image("a.jpg")),
    "DICOM series": Door(_dicom),
    "DICOM, JPEG": Door(
        _compressed_dicom("SC_rgb_jpeg_dcmtk.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm"), costly=True
    ),
    "DICOM, JPEG-LS": Door(
        _compressed_dicom("MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_16.dcm"), costly=True
    ),
    "DICOM, JPEG 2000": Door(_compressed_dicom("MR_small_jp2klossless.dcm", "SC_rgb_gdcm_KY.dcm"), costly=True),
    "DICOM, RLE": Door(_compressed_dicom("MR_small_RLE.dcm", "SC_rgb_rle_16bit_2frame.dcm")),
    "checkpoint": Door(_checkpoint, detects=True),
    "datalist of slices": Door(_datalist),
    "datalist of cases": Door(_brats_datalist),
    "run record": Door(_record),
    "disk cache of samples": Door(_disk_cache, detects=True, rebuilds=True),
    "cache of teacher outputs": Door(_teacher_cache, detects=True, rebuilds=True),
    "slice cache": Door(_slice_cache, detects=True, rebuilds=True),
}
