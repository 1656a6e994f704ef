"""Cache of a frozen teacher's outputs, so that each view of a sample passes through it once."""

from __future__ import annotations

import logging
import os
import shutil
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from monai.transforms import Compose, RandFlipd
from monai.transforms.traits import RandomizableTrait
from monai.utils import CommonKeys

from ckdmed.checked_entries import DamagedEntry, read_entry, sealed, unsealed, write_entry
from ckdmed.data import deterministic_part, fingerprint, item_fingerprint, transforms_fingerprint
from ckdmed.engines.teachers.frozen import FrozenTeacher
from ckdmed.engines.teachers.structure import structure_fingerprint
from ckdmed.files import write_json
from ckdmed.inferers import autocast_dtype
from ckdmed.networks.taps import TappedOutput
from ckdmed.transforms import FLIPS, FlipStated

__all__ = ["TeacherCache"]

STORAGES = ("memory", "disk")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_LAYOUT = "layout.json"
# bytes before the values of an entry: the check sum of the image
_SUM_BYTES = 8

Entry = tuple[int, list[torch.Tensor]]
# name, shape of one sample as it is stored, and whether its channels lie last: a loss over maps of two orders is slow
Layout = list[tuple[str, tuple[int, ...], bool]]


class TeacherCache:
    """Outputs of a frozen teacher by sample and by how the sample was flipped.

    A network with a Vision Transformer, or with strided convolutions, does not commute with mirroring: its output for
    the mirrored image is not the mirrored output. So nothing is mirrored here. Every flip state of a sample (4 in two
    dimensions) has an entry of its own, which the teacher itself gives the first time that the state is drawn: the
    cached training is the uncached one, up to the rounding of ``dtype`` and up to what the number of samples in a batch
    changes in the last bits of a matrix product. The last bits also change with the place in the batch, so the teacher
    runs on one view at a time, and what is handed out is rounded the first time as well: an output depends on nothing
    but its view, neither on the rest of the batch nor on earlier calls. So trainings with entries in memory, on the
    disk, found there, or computed again after a run was interrupted are equal bit for bit.

    A teacher that averages over mirror images (``average_flips``) does commute with it. Where only its logits are
    stored, there is one entry for a sample, of the image as it was before the flips, which is mirrored when it is
    handed out.

    Every hit is checked against a check sum of the image that the entry belongs to. An entry on the disk carries a
    checksum of its values and of what it was made from, which is checked each time that it is read; one that was
    changed, cut or exchanged is recomputed, with a warning.

    Args:
        items: of the training dataset: each with a different ``id`` and the paths ``image`` and ``label``.
        transform: the dataset's whole chain. Its flips must be written down by
            :class:`~ckdmed.transforms.FlipStated`, and nothing else in it may be random.
        storage: "memory" or True (each process its own), or "disk" (a file for each entry, shared by processes and
            found again by later runs of the same teacher on the same images).
        cache_dir: for "disk".
        dtype: in which outputs are stored: "float32", "bfloat16" (no loss where the teacher runs in bfloat16) or
            "float16".
        limit_gib: size of the cache at most; outputs that do not fit are computed each time. By default half of the
            free memory or disk space when the training starts.
        id_key, flips_key: keys of a batch.

    Raises:
        ValueError: an unknown storage or dtype; "disk" without a folder; two items of one id; another random transform
            than recorded flips, with the reason; in the training, a batch without ids.
        RuntimeError: in the training, when an image is not the one that its entry was made of.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        transform: Compose | Sequence[Any],
        storage: str | bool = "memory",
        cache_dir: PathLike | None = None,
        dtype: str = "float32",
        limit_gib: float | None = None,
        id_key: str = "id",
        flips_key: str = FLIPS,
    ) -> None:
        # the setting that turns the cache on may be just true
        storage = "memory" if storage is True else storage
        if storage not in STORAGES:
            raise ValueError(f"storage must be one of {STORAGES}, got {storage!r}.")
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {sorted(DTYPES)}, got {dtype!r}.")
        if storage == "disk" and not cache_dir:
            raise ValueError("storage='disk' needs a folder: give cache_dir.")
        chain = transform if isinstance(transform, Compose) else Compose(transform)
        self.axes = _recorded_axes(chain, flips_key)
        self.names = {str(item[id_key]): item_fingerprint(_unlabelled(item), ("image",)) for item in items}
        if len(self.names) != len(items):
            raise ValueError(f"{len(items)} items have only {len(self.names)} different ids ('{id_key}').")
        self.preparation = transforms_fingerprint(deterministic_part(chain))
        self.storage = storage
        self.root = None if cache_dir is None else Path(cache_dir)
        self.dtype = DTYPES[dtype]
        self.limit_gib = limit_gib
        self.id_key = id_key
        self.flips_key = flips_key
        self.hits = self.misses = 0
        self.folder: Path | None = None
        self._key = ""
        self._limit = self._held = 0
        self._layout: Layout = []
        self._entries: dict[tuple[str, int], Entry] = {}
        self.logger = logging.getLogger(type(self).__name__)

    def open(self, teacher: FrozenTeacher, how: Any = None) -> None:
        """Take up the entries of this very teacher, or begin without any; to be called when a training starts.

        Args:
            teacher: weights, taps and channels are part of what names the entries, and all else that its outputs
                depend on (:func:`~ckdmed.engines.teachers.structure.structure_fingerprint`).
            how: the inferer that runs it; mixed precision is part of it too.
        """
        device = next((value.device.type for value in teacher.network.parameters()), "cpu")
        parts = {
            "teacher_sha256": teacher.state_hash(),
            "structure": structure_fingerprint(teacher.network),
            "taps": dict(teacher.taps.paths),
            "channels": [teacher.input_channels, teacher.spatial_dims],
            "average_flips": teacher.average_flips,
            "inferer": fingerprint(how),
            # what `amp` comes to differs between machines that share a folder
            "precision": str(autocast_dtype(how, device) or torch.float32).removeprefix("torch."),
            "preparation": self.preparation,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": device,
        }
        key = fingerprint(parts)
        if key != self._key:
            self._key, self._entries, self._layout, self._held = key, {}, [], 0
        self.hits = self.misses = 0
        self._limit = int(self._free() if self.limit_gib is None else self.limit_gib * 2**30)
        if self.storage == "disk" and self.root is not None:
            self.folder = self.root / key
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "made_by.json", parts)
            self._layout = self._read_layout()

    def _free(self) -> int:
        ranks = max(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
        if self.storage == "disk" and self.root is not None:
            self.root.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self.root).free // 2 // ranks
        try:
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 // ranks
        except (ValueError, OSError, AttributeError):
            return 4 * 2**30

    def __call__(
        self,
        images: torch.Tensor,
        batch: Mapping[Hashable, Any],
        teacher: FrozenTeacher,
        inferer: Callable[..., Any] | None = None,
    ) -> TappedOutput:
        """The teacher's output for ``images``; the inferer (by default MONAI's simple one) is called with each image
        without an entry, alone, and with what answers for it."""
        images = images.as_tensor() if isinstance(images, MetaTensor) else images
        views = self._views(batch, len(images))
        run = SimpleInferer() if inferer is None else inferer
        if teacher.average_flips and not teacher.taps.paths:
            upright = self._mirrored(images, views)
            output = self._outputs(upright, upright, [(name, 0) for name, _ in views], teacher, run, batch)
            return output._replace(logits=self._mirrored(output.logits, views))
        return self._outputs(images, batch.get(CommonKeys.IMAGE, images), views, teacher, run, batch)

    def _mirrored(self, maps: torch.Tensor, views: Sequence[tuple[str, int]]) -> torch.Tensor:
        """Each map mirrored as its view says, which undoes the same mirroring; class logits have no axes to mirror."""
        if maps.ndim < 3:
            return maps
        axes = [[axis + 1 for axis in range(maps.ndim - 2) if state >> axis & 1] for _, state in views]
        return torch.stack([one.flip(some) if some else one for one, some in zip(maps, axes)])

    def _outputs(
        self,
        images: torch.Tensor,
        shown: Any,
        views: Sequence[tuple[str, int]],
        teacher: FrozenTeacher,
        run: Callable[..., Any],
        batch: Mapping[Hashable, Any],
    ) -> TappedOutput:
        sums = _check_sums(shown)
        found = [self._get(view, total) for view, total in zip(views, sums)]
        unknown = [row for row, output in enumerate(found) if output is None]
        self.hits += len(views) - len(unknown)
        self.misses += len(unknown)
        for row in unknown:
            found[row] = output = self._computed(run(images[row : row + 1], teacher.for_samples(batch, [row])))
            self._put(views[row], sums[row], output)
        columns = zip(*(output for output in found if output is not None))
        stacked = [torch.stack(column).to(images.device, non_blocking=True).float() for column in columns]
        stacked = [part.movedim(-1, 1) if last else part for part, (_, _, last) in zip(stacked, self._layout)]
        features = {name: value for (name, *_), value in zip(self._layout[1:], stacked[1:])}
        return TappedOutput(stacked[0], features, teacher.project(features))

    def _computed(self, output: TappedOutput) -> list[torch.Tensor]:
        self._learn_layout(output)
        parts = [output.logits, *(output.features[name] for name, *_ in self._layout[1:])]
        return [
            (part.movedim(1, -1) if last else part).detach().to("cpu", self.dtype).contiguous()[0]
            for part, (_, _, last) in zip(parts, self._layout)
        ]

    def _views(self, batch: Mapping[Hashable, Any], count: int) -> list[tuple[str, int]]:
        ids, flips = batch.get(self.id_key), batch.get(self.flips_key)
        if ids is None or (flips is None and self.axes):
            raise ValueError(
                f"the batch has no '{self.id_key if ids is None else self.flips_key}': the cache of teacher "
                "outputs must know which sample an image is and how it was flipped."
            )
        states = [0] * count if flips is None else [int(state) for state in torch.as_tensor(flips)]
        return [(str(name), state) for name, state in zip(ids, states)]

    def _get(self, view: tuple[str, int], total: int) -> list[torch.Tensor] | None:
        entry = self._entries.get(view) if self.storage == "memory" else self._read(view)
        if entry is None:
            return None
        if entry[0] != total:
            raise RuntimeError(
                f"the image of sample '{view[0]}' (flip state {view[1]}) is not the one whose teacher output was "
                "cached: its preprocessing is not repeatable, or something random other than the flips acts on it. "
                + (
                    f"Delete {self.folder} if the images were changed."
                    if self.folder
                    else "Set cache_teacher to false."
                )
            )
        return entry[1]

    def _put(self, view: tuple[str, int], total: int, output: list[torch.Tensor]) -> None:
        size = sum(part.numel() for part in output) * output[0].element_size()
        if not self._held:
            whole = size * len(self.names) * 2 ** len(self.axes)
            self.logger.info(
                f"each of up to {len(self.names) * 2 ** len(self.axes)} views of {len(self.names)} samples takes "
                f"{size / 2**20:.2f} MiB ({whole / 2**30:.1f} GiB in all, {self._limit / 2**30:.1f} GiB allowed) "
                f"{'in memory' if self.storage == 'memory' else f'in {self.folder}'}"
            )
        if self._held + size > self._limit:
            if self._limit:
                self.logger.warning(
                    f"the cached teacher outputs fill the {self._limit / 2**30:.1f} GiB allowed: the other outputs "
                    "are computed in every step, one image at a time. Keep the cache on disk, use half precision, or "
                    "drop the feature terms, which take most of the space."
                )
                self._limit = 0
            return
        self._held += size
        if self.storage == "memory":
            # a copy of its own: what the teacher gave may be a view of more
            self._entries[view] = (total, [part.clone() for part in output])
        else:
            self._write(view, total, output)

    def _learn_layout(self, output: TappedOutput) -> None:
        layout: Layout = []
        for name, value in [("logits", output.logits), *sorted(output.features.items())]:
            last = value.ndim > 2 and not value.is_contiguous() and value.movedim(1, -1).is_contiguous()
            layout.append((name, tuple((value.movedim(1, -1) if last else value).shape[1:]), last))
        if self._layout and _shapes(self._layout) == _shapes(layout):
            return
        if self._layout:
            raise RuntimeError(f"the teacher's outputs had the shapes {self._layout} and now have {layout}.")
        if not self._layout and self.folder is not None:
            write_json(self.folder / _LAYOUT, sealed({"made_by": self._key, "layout": layout}))
        self._layout = layout

    def _path(self, view: tuple[str, int]) -> Path:
        if self.folder is None:
            raise RuntimeError("the cache of teacher outputs was used before it was opened.")
        if view[0] not in self.names:
            raise ValueError(
                f"sample '{view[0]}' is not among the {len(self.names)} items that the cache was made for."
            )
        return self.folder / f"{self.names[view[0]]}-{view[1]}.entry"

    def _made_of(self, view: tuple[str, int]) -> str:
        return f"{self._key} {self.names[view[0]]} {view[1]} {self._layout}"

    def _read(self, view: tuple[str, int]) -> Entry | None:
        path = self._path(view)
        if not self._layout:
            return None
        try:
            values = read_entry(path, self._made_of(view))
        except FileNotFoundError:
            return None
        except DamagedEntry as error:
            self.logger.warning(f"{error}; the teacher output is computed again.")
            return None
        total = int.from_bytes(values[:_SUM_BYTES].tobytes(), "little")
        flat = torch.from_numpy(values[_SUM_BYTES:]).view(self.dtype)
        parts = flat.split([_count(shape) for _, shape, _ in self._layout])
        return total, [part.view(shape) for part, (_, shape, _) in zip(parts, self._layout)]

    def _write(self, view: tuple[str, int], total: int, output: list[torch.Tensor]) -> None:
        parts = [part.contiguous().flatten().view(torch.uint8).numpy() for part in output]
        write_entry(self._path(view), self._made_of(view), [total.to_bytes(_SUM_BYTES, "little"), *parts])

    def _read_layout(self) -> Layout:
        if self.folder is None:
            return []
        try:
            table = unsealed(self.folder / _LAYOUT)
        except FileNotFoundError:
            return []
        except DamagedEntry as error:
            self.logger.warning(f"{error}; it is written again with the next teacher output.")
            return []
        if table.get("made_by") != self._key:
            self.logger.warning(
                f"{self.folder / _LAYOUT} belongs to another teacher; it is written again with the next output."
            )
            return []
        return [(str(name), tuple(int(size) for size in shape), bool(last)) for name, shape, last in table["layout"]]


def _unlabelled(item: Mapping[str, Any]) -> dict[str, Any]:
    """What of an item an answer may depend on: that is the same whatever is known of its label."""
    return {key: value for key, value in item.items() if key not in (CommonKeys.LABEL, "labelled")}


def _recorded_axes(chain: Compose, key: str) -> tuple[int, ...]:
    """The axes that the chain flips and writes down; everything else that is random is refused."""
    entries = chain.flatten().transforms
    records = [entry for entry in entries if isinstance(entry, FlipStated) and entry.key == key]
    recorded = {id(flip) for record in records for flip in record.flips}
    for entry in entries:
        if not isinstance(entry, RandomizableTrait) or isinstance(entry, FlipStated) or id(entry) in recorded:
            continue
        why = (
            f"its flips are not recorded: put FlipStated(flips, key={key!r}) after them"
            if isinstance(entry, RandFlipd)
            else "it makes a new image, which the teacher has not seen, each time"
        )
        raise ValueError(
            f"the teacher's outputs cannot be cached with the random transform {type(entry).__name__}: {why}. "
            "Set cache_teacher to false, or augmentation to 'flips' or 'none'."
        )
    return tuple(sorted({axis for record in records for axis in record.axes}))


def _check_sums(images: Any) -> list[int]:
    # one pixel in 16 tells two images, or two mirror images of one, apart
    thin = torch.as_tensor(images)[..., ::4, ::4].float().contiguous().cpu().numpy()
    return [zlib.crc32(row.tobytes()) for row in thin]


def _shapes(layout: Layout) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, (shape[-1], *shape[:-1]) if last else shape) for name, shape, last in layout]


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
