from __future__ import annotations

import os
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    EnsureTyped,
    Flipd,
    Lambdad,
    LoadImaged,
    Orientationd,
    RandFlipd,
    Resized,
    ScaleIntensityd,
    Spacingd,
    SpatialPadd,
)

from ckdmed.data import cached_dataset, deterministic_part, fingerprint, item_fingerprint, transforms_fingerprint


def items(folder: Path, count: int = 3) -> list[dict[str, Any]]:
    for n in range(count):
        np.save(folder / f"{n}.npy", np.arange(12, dtype=np.float32).reshape(3, 4) + n)
    return [{"id": str(n), "image": str(folder / f"{n}.npy"), "labelled": n > 0} for n in range(count)]


def chain(maxv: float = 1.0, reads: list | None = None) -> Compose:
    def note(image: Any) -> Any:
        if reads is not None:
            reads.append(1)
        return image

    return Compose(
        [
            LoadImaged("image", reader="NumpyReader"),
            Lambdad("image", func=note),
            EnsureChannelFirstd("image", channel_dim="no_channel"),
            ScaleIntensityd("image", minv=0.0, maxv=maxv),
            EnsureTyped("image", track_meta=False),
            RandFlipd("image", prob=0.5, spatial_axis=0),
        ]
    )


def test_both_ways_give_the_same_and_read_once(tmp_path: Path):
    data = items(tmp_path)
    outs = {}
    for cache in ("memory", "disk"):
        reads: list[int] = []
        transform = chain(reads=reads)
        dataset = cached_dataset(data, transform, cache, tmp_path / "cache", num_workers=1)
        seen = []
        for epoch in range(3):
            transform.set_random_state(seed=epoch)
            seen += [(item["id"], item["labelled"], item["image"].numpy().tobytes()) for item in dataset]
        assert len(reads) == 3
        outs[cache] = seen
    assert outs["memory"] == outs["disk"]
    # a random transform stays random
    assert len({image for name, _, image in outs["disk"] if name == "0"}) == 2
    reads = []
    list(cached_dataset(data, chain(reads=reads), "disk", tmp_path / "cache"))
    assert not reads
    assert isinstance(cached_dataset(data, chain(), "memory", num_workers=1), CacheDataset)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_chain_within_the_chain_is_kept_as_if_it_were_flat(tmp_path: Path, cache: str):
    """MONAI takes the inner one for random, so that a validation would read and prepare all its images each time."""
    data, reads = items(tmp_path), []
    nested = Compose([Compose([Compose(chain(reads=reads).transforms[:-1])])])
    dataset = cached_dataset(data, nested, cache, tmp_path / "cache", num_workers=1)
    seen = [[item["image"].numpy().tobytes() for item in dataset] for _ in range(2)]
    assert len(reads) == 3 and seen[0] == seen[1]
    # a training of the same images, such as that of another fold, finds what it needs
    again: list[int] = []
    training = cached_dataset(data, chain(reads=again), cache, tmp_path / "cache", num_workers=1)
    assert [training[number]["image"].shape for number in range(3)] == [(1, 3, 4)] * 3
    assert len(again) == (0 if cache == "disk" else 3)


def test_another_preprocessing_or_another_file_is_another_entry(tmp_path: Path):
    data = items(tmp_path)
    folder = tmp_path / "cache"
    first = cached_dataset(data, chain(), "disk", folder)
    assert float(max(item["image"].max() for item in first)) == 1
    assert float(max(item["image"].max() for item in cached_dataset(data, chain(2.0), "disk", folder))) == 2
    assert len(list(folder.glob("*.entry"))) == 6
    np.save(tmp_path / "0.npy", np.eye(5, dtype=np.float32))
    os.utime(tmp_path / "0.npy", ns=(1, 1))
    again = cached_dataset(data, chain(), "disk", folder)
    assert again[0]["image"].shape == (1, 5, 5) and again[1]["image"].shape == (1, 3, 4)


def test_a_file_that_was_cut_short_is_made_anew(tmp_path: Path):
    data = items(tmp_path, 1)
    (first,) = cached_dataset(data, chain(), "disk", tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.entry")
    for content in (file.read_bytes()[: file.stat().st_size // 2], b""):
        file.write_bytes(content)
        with pytest.warns(UserWarning, match="making it again"):
            again = cached_dataset(data, chain(), "disk", tmp_path / "cache")[0]
        assert torch.equal(again["image"].flatten().sort().values, first["image"].flatten().sort().values)
        assert file.stat().st_size > len(content)


def test_entries_that_do_not_fit_are_made_anew(tmp_path: Path):
    data, folder = items(tmp_path), tmp_path / "cache"
    still = Compose(chain().transforms[:-1])
    expected = [item["image"].numpy().tobytes() for item in cached_dataset(data, still, "disk", folder)]
    first, second, third = sorted(folder.glob("*.entry"))
    kept = {file: file.read_bytes() for file in (first, second, third)}
    # two samples exchanged, a bit of a pixel in the third
    first.write_bytes(kept[second])
    second.write_bytes(kept[first])
    at = kept[third].rindex(np.float32(1).tobytes())
    third.write_bytes(kept[third][:at] + b"\1" + kept[third][at + 1 :])
    with pytest.warns(UserWarning, match="does not match its checksum.*making it again") as warned:
        found = [item["image"].numpy().tobytes() for item in cached_dataset(data, still, "disk", folder)]
    assert found == expected and sum("making it again" in str(w.message) for w in warned) == 3
    assert {file: file.read_bytes() for file in kept} == kept


@pytest.mark.skipif(os.name == "nt", reason="there the time of the last change of a file's entry is not told")
def test_a_source_of_equal_size_and_time_is_another(tmp_path: Path):
    (item,) = items(tmp_path, 1)
    still = Compose(chain().transforms[:-1])
    before = cached_dataset([item], still, "disk", tmp_path / "cache")[0]["image"]
    status = os.stat(item["image"])
    np.save(item["image"], np.arange(12, dtype=np.float32)[::-1].reshape(3, 4))
    os.utime(item["image"], ns=(status.st_atime_ns, status.st_mtime_ns))
    again = cached_dataset([item], still, "disk", tmp_path / "cache")[0]["image"]
    assert os.stat(item["image"]).st_size == status.st_size and torch.equal(again, before.flip(1, 2))


def test_workers(tmp_path: Path):
    loader = DataLoader(
        cached_dataset(items(tmp_path), chain(), "disk", tmp_path / "cache"), batch_size=3, num_workers=2
    )
    for _ in range(2):
        (batch,) = loader
        assert batch["image"].shape == (3, 1, 3, 4) and batch["id"] == ["0", "1", "2"]


def enclosing(number: int) -> Any:
    return lambda x: x + number


def test_what_was_called_before_is_described_alike(tmp_path: Path):
    """MONAI's invertible transforms hold a thread-local from their first call on, which made caches unfindable."""
    item = {"image": np.arange(48, dtype=np.float32).reshape(6, 8), "label": np.eye(6, 8, dtype=np.float32)}
    keys = ["image", "label"]
    steps = [
        EnsureChannelFirstd(keys, channel_dim="no_channel"),
        Resized(keys, (8, 8), mode=["bilinear", "nearest"]),
        SpatialPadd(keys, (10, 10)),
        Spacingd(keys, (2.0, 2.0)),
        Orientationd(keys, "LP"),
        CropForegroundd(keys, "image"),
        Flipd(keys, 0),
        ScaleIntensityd("image"),
    ]
    before = transforms_fingerprint(steps)
    Compose(steps)(item)
    assert transforms_fingerprint(steps) == before
    assert transforms_fingerprint(pickle.loads(pickle.dumps(steps))) == before


def test_fingerprints_depend_on_settings_and_not_on_the_process():
    def same() -> list[Any]:
        return [ScaleIntensityd("image", minv=0.0, maxv=1.0), EnsureTyped("image", dtype=torch.float32)]

    assert transforms_fingerprint(same()) == transforms_fingerprint(same())
    assert transforms_fingerprint(same()) != transforms_fingerprint(same()[::-1])
    assert transforms_fingerprint(same()) != transforms_fingerprint([same()[0], EnsureTyped("image", dtype=torch.int8)])
    assert fingerprint({"b": 1, "a": {2, 3}}) == fingerprint({"a": {3, 2}, "b": 1}) != fingerprint({"a": {2}, "b": 1})
    assert fingerprint(np.zeros(3)) != fingerprint(np.zeros((3, 1))) != fingerprint(np.ones(3))
    assert fingerprint(lambda x: x + 1) != fingerprint(lambda x: x * 2)
    for one, other in (
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x, y=1: x + y, lambda x, y=2: x + y),
        (partial(pow, 2), partial(pow, 3)),
        (enclosing(1), enclosing(2)),
    ):
        assert fingerprint(one) != fingerprint(other)
    circle: list[Any] = []
    circle.append(circle)
    assert fingerprint(circle) == fingerprint(circle)


def test_the_deterministic_part_ends_at_the_first_random_transform():
    assert [type(t).__name__ for t in deterministic_part(chain())][-1] == "EnsureTyped"
    assert deterministic_part([RandFlipd("image"), ScaleIntensityd("image")]) == []


def test_items_are_told_apart_by_their_files_too(tmp_path: Path):
    (item,) = items(tmp_path, 1)
    before = item_fingerprint(item)
    assert item_fingerprint(dict(item)) == before != item_fingerprint({**item, "labelled": True})
    os.utime(item["image"], ns=(5, 5))
    assert item_fingerprint(item) != before


@pytest.mark.parametrize(
    "kwargs, message", [({"cache": "tape"}, "cache must be one of"), ({"cache": "disk"}, "folder")]
)
def test_wrong_settings(kwargs: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        cached_dataset([], chain(), **kwargs)
