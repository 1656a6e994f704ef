"""Pruning of a trained network with its figures before and after."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_dice
from monai.utils import CommonKeys
from torch import nn
from tqdm import tqdm

from ckdmed.bundle.effective_settings import strings
from ckdmed.bundle.scored_data import check_scored_data
from ckdmed.bundle.trained import recorded_settings
from ckdmed.bundle.typed_command import typed_command
from ckdmed.deploy.companions import copy_training_records
from ckdmed.deploy.costs import flops_of, parameters_of
from ckdmed.deploy.float_forms import as_function
from ckdmed.deploy.held_out import BundleData, bundle_data
from ckdmed.deploy.source import DeploySource, find_source
from ckdmed.deploy.timing import latencies
from ckdmed.deployed_network import refuse_deployed
from ckdmed.file_hash import sha256_of
from ckdmed.files import save_weights, write_json
from ckdmed.json_files import read_json
from ckdmed.networks.exclusive_regions import ExclusiveRegions, exclusive_regions
from ckdmed.networks.padded import AnySizeDynUNet
from ckdmed.networks.segmentation_kinds import PRUNED
from ckdmed.networks.unet_plus_plus import UNetPlusPlus
from ckdmed.pruning.channels import removed_channels, without_channels
from ckdmed.sections.spread import spread_items

__all__ = ["PrunedSize", "prune"]

WHOLE = "as trained"
_WRITTEN = ("model.pt", "model.json", "model.inputs.json")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrunedSize:
    """The figures of a network.

    Args:
        name: "as trained", or what was done to it.
        parameters: that can learn.
        gflops: of one input, 10^9.
        milliseconds: of one input on one thread, median.
        dice: mean over the images of the section and their regions, on their own grid: the ``slice_mean`` of an
            evaluation's summary.
    """

    name: str
    parameters: int
    gflops: float
    milliseconds: float
    dice: float


def prune(
    given: str,
    output_dir: Path,
    checkpoint: str | Path | None = None,
    ratio: float | None = None,
    depth: int | None = None,
    tolerance: float = 0.01,
    dataset_dir: str | None = None,
    images: int | None = None,
    calibration: int = 64,
    rounds: int = 15,
    progress: bool = False,
) -> list[PrunedSize]:
    """Prune the network of a run or a bundle and write it with the record of its settings.

    Without `ratio` and `depth` the network must be a UNet++, and the depth is chosen on the validation set: the least
    one whose Dice is within `tolerance` of the best. The validation set is read, never the test set.

    Args:
        given, checkpoint: see `find_source`.
        output_dir: gets ``model.pt`` and ``model.json``, and what is known of the patients and inputs of the training.
        ratio: share of the channels of each layer to remove.
        depth: of a UNet++.
        tolerance: loss of Dice that a smaller depth may have.
        dataset_dir: as the bundle takes it; phantoms for None.
        images: of the validation set at most, as many of each patient; all for None.
        calibration: images of the training set by which it is seen what channels do; 0 to go by the weights alone.
        rounds: of the timing.
        progress: show bars over the timing and the images that are scored.

    Returns:
        the figures of the whole network and of each that was looked at, the written one last.

    Raises:
        ValueError: no network of segmentation, none with a record of its settings; a deployed file; no data in
            `dataset_dir`; both `ratio` and `depth`, or neither for another network than a UNet++, or for one that was
            trained on its validation patients; images below 1, calibration or tolerance below 0; as `without_channels`
            and `UNetPlusPlus.pruned`.
        RefusedStart: no data are given for a network that was trained on some, see `check_scored_data`.
        FileExistsError: the folder holds a network, or the record of one.
    """
    if ratio is not None and depth is not None:
        raise ValueError("give either a share of the channels or a depth, not both: the result can be pruned again.")
    if images is not None and images < 1:
        raise ValueError(f"images must be at least 1, got {images}.")
    if calibration < 0:
        raise ValueError(f"calibration must be at least 0, got {calibration}.")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}.")
    _refuse_existing(output_dir)
    refuse_deployed(checkpoint, "pruned")
    source = find_source(given, checkpoint, dataset_dir)
    # neither channels nor a depth are to be chosen by them
    check_scored_data(dataset_dir, str(source.checkpoint))
    settings = recorded_settings(source.checkpoint)
    # a record tells of a student and its teacher, or is from before one of the two could have options
    declared = read_json(source.configs / "inference.json")
    side = next((word for word in ("student", "teacher") if f"{word}_options" in declared), None)
    if source.description.task == "classification" or settings is None or side is None:
        raise ValueError(
            f"{source.checkpoint}: only networks of the segmentation bundles can be pruned, with the record of their "
            "training beside them (model.json)."
        )
    if not any(f"@{side}_options" in text for text in strings(declared["network_def"])):
        raise ValueError(
            f"{source.configs / 'inference.json'}: its network_def does not read {side}_options, where the channels of "
            f"a pruned network stand, so that nothing could load the result: only a {side}_kind can be pruned."
        )
    if settings.get("train_on_validation"):
        if ratio is None and depth is None:
            raise ValueError(
                f"{source.checkpoint} was trained on its validation patients too, so no depth can be chosen on them: "
                "give --depth, or a share of the channels with --ratio."
            )
        logger.warning(f"{source.checkpoint} was trained on its validation patients too: their Dice is too high")
    exclusive = isinstance(source.network, ExclusiveRegions)
    # what the settings make is inside, and their channels are named as there
    whole: nn.Module = source.network.network if exclusive else source.network  # type: ignore[assignment]
    own = dict(settings.get(f"{side}_options") or {})
    candidates: dict[str, tuple[nn.Module, dict[str, Any]]] = {}
    if isinstance(whole, UNetPlusPlus):
        all_depths = range(1, whole.depth + 1)
        depths = [depth] if depth is not None else all_depths if ratio is None else all_depths[-1:]
        for number in depths:
            candidates[f"depth {number}"] = (
                whole.pruned(number),
                {**own, "depth": number, "deep_supervision": False, "ensemble": False},
            )
    elif ratio is None:
        raise ValueError(
            f"a {type(whole).__name__} has no depths to choose from: give the share of channels to remove."
        )
    with bundle_data(source, dataset_dir, "validation") as data:
        if ratio is not None:
            start, options = next(iter(candidates.values()), (whole, own))
            if isinstance(start, AnySizeDynUNet) and start.deep_supervision:
                # its other heads are no part of the graph that is followed; one is left, as of a UNet++
                start, options = start.without_heads(), {**own, "deep_supervision": False}
            run = as_function(source.network.eval())
            seen = torch.from_numpy(data.calibration(run, calibration)) if calibration else None
            link = "softmax" if exclusive else "sigmoid"
            small = without_channels(start, source.description.input_shape, ratio, seen, link)
            channels = {**own.get(PRUNED, {}), **removed_channels(start, small)}
            candidates = {f"{ratio:.0%} of the channels removed": (small, {**options, PRUNED: channels})}
        made = {WHOLE: whole, **{name: network for name, (network, _) in candidates.items()}}
        networks = {name: exclusive_regions(network, exclusive) for name, network in made.items()}
        found = _figures(source, data, networks, images, rounds, progress)
    chosen = _chosen(found[1:], tolerance)
    network, options = candidates[chosen.name]
    _write(source, settings, f"{side}_options", network, options, output_dir, found)
    return [*(size for size in found if size is not chosen), chosen]


def _refuse_existing(folder: Path) -> None:
    if there := [name for name in _WRITTEN if (folder / name).exists()]:
        raise FileExistsError(f"{folder} already holds a network ({there[0]}); name another folder.")


def _figures(
    source: DeploySource,
    data: BundleData,
    networks: Mapping[str, nn.Module],
    images: int | None,
    rounds: int,
    progress: bool,
) -> list[PrunedSize]:
    items = list(data.held_out) if images is None else spread_items(data.held_out, images)
    shape = source.description.input_shape
    rng = np.random.default_rng(0)
    inputs = rng.random((1, *shape), dtype=np.float32)
    times = latencies({}, networks, inputs, threads=1, rounds=rounds, progress=progress)
    return [
        PrunedSize(
            name,
            parameters_of(network),
            flops_of(network, shape) / 1e9,
            1e3 * times[name].wall,
            _dice(data, network, tqdm(items, desc=name, unit="image", leave=False, disable=not progress)),
        )
        for name, network in networks.items()
    ]


def _dice(data: BundleData, network: nn.Module, items: Iterable[Any]) -> float:
    run = as_function(network.eval())
    scores = []
    for given in items:
        item = data.prepare(given)
        mask = data.masks(item, data.logits(item, run))
        truth = np.asarray(item[CommonKeys.LABEL]) > 0
        if mask.shape != truth.shape:
            raise ValueError(f"masks of shape {mask.shape} cannot be compared with labels of shape {truth.shape}.")
        own, true = (torch.from_numpy(masks)[None].float() for masks in (mask, truth))
        # of each region, and 1 where both are empty, as `segmentation_scores` of an evaluation has it
        scores.append(compute_dice(own, true, ignore_empty=False).numpy())
    return float(np.mean(scores))


def _chosen(sizes: list[PrunedSize], tolerance: float) -> PrunedSize:
    best = max((size.dice for size in sizes if size.dice == size.dice), default=float("nan"))
    return next((size for size in sizes if size.dice >= best - tolerance), sizes[-1])


def _write(
    source: DeploySource,
    settings: Mapping[str, Any],
    key: str,
    network: nn.Module,
    options: Mapping[str, Any],
    folder: Path,
    sizes: list[PrunedSize],
) -> None:
    # another process may have been faster
    _refuse_existing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # of a teacher that a distillation left the record tells of its student too, as which it would be taken elsewhere
    own = {name: settings[name] for name in settings if key == "student_options" or not name.startswith("student_")}
    record = {
        "command": typed_command(),
        "settings": {**own, key: dict(options)},
        "pruned": {"from_sha256": sha256_of(source.checkpoint), "sizes": [asdict(size) for size in sizes]},
    }
    copy_training_records(source.checkpoint, folder, ["model.pt"])
    write_json(folder / "model.json", record)
    save_weights(folder / "model.pt", network.state_dict())
