"""What is deployed: the network of a run or of a bundle, and all that a deployed file says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

import ckdmed
from ckdmed.bundle.dataset_check import check_dataset
from ckdmed.bundle.deployed_check import named_outputs
from ckdmed.bundle.given_run import bundle_and_weights
from ckdmed.bundle.load_weights import load_checkpoint
from ckdmed.bundle.scans import BRATS_NAMES
from ckdmed.bundle.trained import (
    OF_PREDICTIONS,
    reads_record,
    record_to_ship,
    recorded_entry,
    recorded_settings,
)
from ckdmed.file_hash import sha256_of
from ckdmed.json_files import read_json
from ckdmed.runtime import Description, is_deployed

__all__ = ["DeploySource", "find_source"]

_TASKS = {"slice_preprocessing": "segmentation", "class_slices": "classification", "case_preprocessing": "cases"}


@dataclass(frozen=True)
class DeploySource:
    """A trained network with its bundle.

    Args:
        bundle: name.
        configs: the folder that holds ``inference.json`` and the others.
        root: of the bundle.
        checkpoint: the weights.
        network: with its weights, in evaluation mode.
        description: of the float32 forms.
        teacher_settings: those of the record that tell the size of the teacher that the network had; None where no
            record tells, or it had none.
    """

    bundle: str
    configs: Path
    root: Path
    checkpoint: Path
    network: nn.Module
    description: Description
    teacher_settings: Mapping[str, Any] | None


def find_source(
    given: str, checkpoint: str | Path | None = None, dataset_dir: str | Path | None = None
) -> DeploySource:
    """Find the network of a run or a bundle and load it.

    Args:
        given, checkpoint: see `ckdmed.bundle.given_run.bundle_and_weights`.
        dataset_dir: data that are to be read for it, as the bundle takes them; they are looked for before the network
            is loaded, which takes its time.

    Raises:
        ValueError: there is no such run or bundle, it has no weights, or they are of another network; there are no data
            of this bundle in ``dataset_dir``.
    """
    root, weights = bundle_and_weights(given, checkpoint)
    configs = root / "configs" if (root / "configs" / "inference.json").is_file() else root
    parser = ConfigParser()
    parser.read_config(str(configs / "inference.json"))
    record = recorded_settings(weights)
    if record is None and any(map(reads_record, parser.get().values())):
        raise ValueError(
            f"'{weights}' has no record of what it was trained with, so its network and the images that it expects "
            "are unknown: put that of its training (models/model.json or settings.json of its output folder) beside "
            f"it as {weights.with_suffix('.json').name}."
        )
    parser["bundle_root"], parser["checkpoint"] = str(root), str(weights.absolute())
    task = _task(parser, configs)
    if dataset_dir is not None:
        cases = task == "cases"
        modalities = parser.get_parsed_content("modalities") if cases else None
        check_dataset(str(dataset_dir), cases=cases, modalities=modalities)
    network = _loaded(parser.get_parsed_content("network_def").cpu(), weights)
    name = root.name
    return DeploySource(
        name,
        configs,
        root,
        weights,
        network,
        _description(name, task, parser, root, configs, weights, record_to_ship(parser, parser.get(), record)),
        record or None,
    )


def _loaded(network: nn.Module, weights: Path) -> nn.Module:
    try:
        return load_checkpoint(network, str(weights)).eval()
    except ValueError as error:
        own = (None if is_deployed(weights) else recorded_entry(weights)) or {}
        if not any(name.split("#")[0] == "network_def" for name in own.get("components") or ()):
            raise
        raise ValueError(
            f"'{weights}' was trained with a network_def of one's own, which this command is not given: export the run "
            "as a bundle with the entries of its components (docs/own_networks.md), and give that bundle."
        ) from error


def _task(parser: ConfigParser, configs: Path) -> str:
    target = str(parser.get()["preprocessing"]["_target_"]).rpartition(".")[2]
    if target not in _TASKS:
        raise ValueError(f"{configs / 'inference.json'}: its preprocessing {target} cannot be deployed.")
    task = _TASKS[target]
    if task == "classification" and parser.get_parsed_content("task") != "figshare":
        # its slices are cut out of cases
        task = "cases"
    return task


def _description(
    name: str, task: str, parser: ConfigParser, root: Path, configs: Path, weights: Path, settings: Mapping[str, Any]
) -> Description:
    config = parser.get()

    def setting(key: str, default: Any = None) -> Any:
        return parser.get_parsed_content(key) if key in config else default

    channels = int(setting("in_channels", setting("input_images", 1)))
    volume = setting("spatial_dims", 2) == 3
    spatial: Sequence[int] = setting("roi_size") if volume else [int(setting("image_size"))] * 2
    metadata = read_json(configs / "metadata.json")
    before = {
        key: setting(key) for key in ("image_size", "slice_axis", "scaling", "clahe", "modalities") if key in config
    }
    before["images"] = int(setting("input_images", 1))
    if setting("grey_as_rgb", False):
        before["grey_as_rgb"] = True
    if "brain" in config:
        # as made_like_brats told the configuration, or the exporter wrote into it
        before[BRATS_NAMES] = setting("brain") == "auto"
    after = {key: setting(key) for key in OF_PREDICTIONS if key in config}
    licence = next(
        (line.strip() for line in (root / "LICENSE").read_text(encoding="utf-8").splitlines() if line.strip()), ""
    )
    return Description(
        bundle=name,
        task=task,
        precision="float32",
        input_shape=(channels, *(int(size) for size in spatial)),
        outputs=named_outputs(parser),
        preprocessing=before,
        postprocessing=after,
        settings=settings,
        source={
            "checkpoint_sha256": sha256_of(weights),
            "ckdmed": ckdmed.__version__,
            "name": str(metadata.get("name", name)),
            "version": str(metadata.get("version", "")),
        },
        licence=f"{licence} (LICENSE of the bundle); data: docs/data_license.txt of the bundle",
        intended_use=str(metadata.get("intended_use", "")),
    )
