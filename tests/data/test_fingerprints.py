"""What tells two configured objects apart, and the images of one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from monai.transforms import Compose, Lambdad, MapLabelValued

from ckdmed.data.cached import cached_dataset
from ckdmed.data.fingerprints import describe, fingerprint, transforms_fingerprint
from ckdmed.data.shared_cache import SharedCacheDataset


class Regions:
    """Its order of regions is that of its channels."""

    def __init__(self, regions: dict[str, list[int]]) -> None:
        self.regions = regions

    def __call__(self, label: np.ndarray) -> np.ndarray:
        return np.stack([np.isin(label, values) for values in self.regions.values()]).astype(np.float32)


def test_the_order_of_regions_is_part_of_a_description(tmp_path: Path):
    regions = {"whole": [1, 2], "core": [2]}
    swapped = dict(reversed(regions.items()))
    chains = [Compose([Lambdad("label", Regions(entries))]) for entries in (regions, swapped)]
    assert len({transforms_fingerprint(list(chain.transforms)) for chain in chains}) == 2
    data = [{"id": "a", "image": "a.png", "label": np.array([[1, 2], [2, 2]])}]
    sums = [cached_dataset(data, chain, "disk", tmp_path)[0]["label"].sum((1, 2)).tolist() for chain in chains]
    assert sums == [[4.0, 3.0], [3.0, 4.0]]
    assert describe(Regions(regions)) == describe(Regions(dict(regions)))
    # that of an item and of an object's attributes is not
    assert fingerprint(regions) == fingerprint(swapped)
    first, second = MapLabelValued("label", [1], [2]), MapLabelValued("label", [1], [2])
    second.__dict__ = dict(reversed(second.__dict__.items()))
    assert fingerprint(first) == fingerprint(second)


def test_slices_of_one_file_are_kept_apart():
    SharedCacheDataset.clear()
    items = [{"image": "volume.nii.gz", "slice": number} for number in range(3)]
    read = Compose([_Numbered()])
    try:
        assert [item["image"] for item in SharedCacheDataset(items, read, num_workers=0)] == [0, 1, 2]
    finally:
        SharedCacheDataset.clear()


class _Numbered:
    """Stands for what reads a slice of a volume."""

    def __call__(self, item: dict) -> dict:
        return {**item, "image": item["slice"]}
