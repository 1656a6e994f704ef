"""Datasets of the BraTS bundles: cached slices, or whole volumes, behind one function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import distributed
from torch.utils.data import Dataset, DistributedSampler, Sampler, Subset

from ckdmed.counted import counted
from ckdmed.data import cached_dataset
from ckdmed.data.brats import BalancedSliceSampler, BratsSliceDataset, ForegroundSliceSampler, build_slice_cache
from ckdmed.sections.labelled_per_batch import chosen_unlabelled_share
from ckdmed.transforms import BrainIntensity

__all__ = ["brats_dataset", "brats_sampler", "labelled_part"]

logger = logging.getLogger(__name__)


def brats_dataset(
    items: Sequence[Mapping[str, Any]],
    transform: Compose,
    spatial_dims: int,
    modalities: Sequence[str],
    cache_dir: str,
    neighbours: int = 0,
    cache: str = "memory",
    cache_rate: float = 1.0,
    workers: int = 1,
    scaling: str = "zscore",
    clahe: bool | str = False,
) -> Dataset:
    """Slices of the cases, cut once and read one by one from the disk, or the volumes themselves.

    Args:
        items: cases, see `brats_sections`.
        transform: of an item: a slice (see `BratsSliceDataset`; its mask has the labels of 2023) or a case with paths.
        spatial_dims: 2 for slices, 3 for volumes.
        modalities: channels of a slice, in this order.
        cache_dir: where slices go (a folder for each choice of modalities and intensities), and volumes with
            ``cache="disk"``.
        neighbours: slices on both sides as further channels; with volumes 0.
        cache, cache_rate: of volumes, see `cached_dataset`.
        workers: processes that cut cases, or threads that fill the memory.
        scaling, clahe: intensities of slices, see :class:`~ckdmed.transforms.BrainIntensity`; those of volumes are part
            of their transform.

    Returns:
        the dataset. The masks of cases that are not ``labelled`` are hidden: neither their items nor, of slices, their
        ``categories`` know them.

    Raises:
        ValueError: `spatial_dims` is neither 2 nor 3, `neighbours` with volumes; no case could be cut.
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    if spatial_dims == 3:
        if neighbours:
            raise ValueError(f"neighbours is {neighbours}, but volumes (spatial_dims 3) have no slices beside them.")
        return cached_dataset(items, transform, cache, str(Path(cache_dir) / "volumes"), cache_rate, max(workers, 2))
    intensities: str | _SliceIntensities = "zscore"
    name = ["slices", *modalities]
    if scaling != "zscore" or clahe is not False:
        intensities = _SliceIntensities(scaling, clahe)
        name.append(intensities.folder)
    folder = Path(cache_dir) / "-".join(name)
    _one_process_first(items, folder, workers, intensities)
    # what is there already is left alone, so that every process learns of the same cases
    made, skipped = build_slice_cache(items, folder, normalise=intensities, progress=False)
    if skipped:
        reasons = "\n".join(f"  {entry.case}: {entry.reason}" for entry in skipped[:10])
        logger.warning(
            f"left out {len(skipped)} of {counted(len(items), 'case')}, which could not be cut into slices:\n{reasons}"
        )
    if not made:
        raise ValueError(
            f"none of {counted(len(items), 'case')} could be cut into slices; the first: {skipped[0].reason}"
        )
    return BratsSliceDataset(
        folder,
        cases=[path.name for path in made],
        transform=transform,
        modalities=modalities,
        neighbours=neighbours,
        unlabelled=[str(item["case"]) for item in items if not item["labelled"]],
    )


class _SliceIntensities:
    """The intensities of a modality's slices by the part that scales whole cases; (S, rows, columns) to the same."""

    def __init__(self, scaling: str, clahe: bool | str) -> None:
        self.intensity = BrainIntensity(scaling, clahe)

    def __str__(self) -> str:
        names: dict[bool | str, str] = {False: "", True: ", CLAHE"}
        equalised = names.get(self.intensity.clahe, ", histogram equalised")
        return f"{self.intensity.scaling} of the brain{equalised}"

    @property
    def folder(self) -> str:
        """What the cache's name says of it."""
        names: dict[bool | str, str] = {False: "", True: "-clahe"}
        equalised = names.get(self.intensity.clahe, "-equalised")
        return f"{self.intensity.scaling}{equalised}"

    def __call__(self, slices: np.ndarray) -> np.ndarray:
        volume = torch.from_numpy(np.ascontiguousarray(slices, np.float32)).movedim(0, -1)
        return np.asarray(torch.as_tensor(self.intensity(volume[None]))[0].movedim(-1, 0))


def _one_process_first(
    items: Sequence[Mapping[str, Any]], folder: Path, workers: int, intensities: str | _SliceIntensities
) -> None:
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        build_slice_cache(items, folder, normalise=intensities, workers=max(workers, 1))
    if distributed.is_initialized():
        distributed.barrier()


def labelled_part(dataset: Any, transform: Sequence[Callable] | None = None) -> Dataset:
    """What of a dataset of `brats_dataset` has labels that may be used: the same cache.

    Args:
        dataset: slices or volumes.
        transform: steps of another one than the dataset's, which differs from it in random changes alone; None for
            the same.
    """
    if transform is not None:
        dataset = copy(dataset)
        dataset.transform = Compose(transform).flatten()
    if isinstance(dataset, BratsSliceDataset):
        return dataset.subset(dataset.categories >= 0)
    items: Sequence[Mapping[str, Any]] = dataset.data
    return Subset(dataset, [number for number, item in enumerate(items) if item["labelled"]])


def brats_sampler(
    dataset: Dataset,
    tumour_share: float = 0.5,
    slices_per_epoch: int | None = None,
    seed: int = 0,
    labelled_per_batch: float | None = None,
    recipe: str = "adamw",
    batch_size: int = 1,
) -> Sampler | None:
    """How a training goes through a dataset of `brats_dataset`, in another order each epoch (``set_epoch``).

    Slices are drawn by :class:`BalancedSliceSampler`, those without labels in their share of the dataset or in another;
    with the recipe nnunet by :class:`ForegroundSliceSampler`, which draws what is not tumour by force from all slices.
    Volumes are gone through each once: by a ``DistributedSampler`` in a run of several processes, else the order is the
    loader's (None). Where torch distributed is initialised every process draws its share.

    Args:
        dataset: slices or volumes.
        tumour_share: share of slices with tumour among those with labels; with nnunet of each batch.
        slices_per_epoch: over all processes; None for twice the number of the rarer kind (with or without tumour).
        seed: of the order.
        labelled_per_batch: in (0, 1), share of the drawn slices that have labels, where some have and some have none;
            None for their share of the dataset. Volumes are not drawn by it.
        recipe: of the training, see :func:`~ckdmed.recipes.recipe_optimizer`.
        batch_size: of the loader; nnunet reads it.

    Raises:
        ValueError: see the samplers; a labelled_per_batch outside (0, 1), or one with the recipe nnunet.
    """
    parallel = distributed.is_initialized()
    num_replicas, rank = (distributed.get_world_size(), distributed.get_rank()) if parallel else (1, 0)
    labelled = dataset.categories >= 0 if isinstance(dataset, BratsSliceDataset) else ()
    unlabelled_share = chosen_unlabelled_share(labelled, labelled_per_batch)
    if not isinstance(dataset, BratsSliceDataset):
        if num_replicas == 1:
            return None
        return DistributedSampler(dataset, num_replicas, rank, shuffle=True, seed=seed, drop_last=True)
    if recipe == "nnunet":
        if labelled_per_batch is not None:
            raise ValueError(
                f"labelled_per_batch is {labelled_per_batch}, but the recipe nnunet draws its other samples uniformly "
                "from all slices: leave it null, or use the recipe adamw."
            )
        return ForegroundSliceSampler(
            dataset.categories,
            batch_size,
            share=tumour_share,
            num_samples=slices_per_epoch,
            seed=seed,
            num_replicas=num_replicas,
            rank=rank,
        )
    if unlabelled_share is None:
        unlabelled_share = float(np.mean(dataset.categories < 0))
    return BalancedSliceSampler(
        dataset.categories,
        tumour_share=tumour_share,
        num_samples=slices_per_epoch,
        seed=seed,
        unlabelled_share=unlabelled_share,
        num_replicas=num_replicas,
        rank=rank,
    )
