"""Networks by their definitions: the deployed one, its own teacher, and the full-size teacher of its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from ckdmed.deploy.source import DeploySource

__all__ = ["AtSize", "Definition", "WithChannels", "built", "definition_of", "teachers_of"]

#: ``_target_`` and arguments, without references.
Definition = dict[str, Any]

_SIZES: tuple[str, ...] = (
    *("teacher_kind", "teacher_base", "teacher_options", "vit_img_size", "vit_hidden", "vit_layers", "vit_heads"),
    *("vgg", "vgg_width", "vit_patch", "fuse", "resolutions", "map_weights"),
)
# what student and teacher see is the same
_SHARED: tuple[str, ...] = (
    *("image_size", "modalities", "spatial_dims", "roi_size", "class_names", "input_images", "neighbours"),
    "grey_as_rgb",
    *("student_modalities", "teachers"),
)
_WEIGHTS = ("vit_pretrained", "vgg_pretrained")


def definition_of(source: DeploySource) -> Definition:
    """Of the deployed network."""
    return _resolved(_parser(source, "inference.json"), "network_def")


def teachers_of(source: DeploySource) -> dict[str, Definition]:
    """Teachers by name, without weights: how long a network takes does not depend on them.

    "teacher, full size" has the bundle's default sizes for real data, "own teacher" those that the record of the
    student's training names, if it was trained with one; it sees images of the size that it saw then. Of several
    teachers it is all of them, one after another. In a bundle that trains a teacher it is that network at its full
    size.
    """
    record = source.description.settings
    kinds: dict[str, Mapping[str, Any]] = {"teacher, full size": {"profile": "full"}}
    # a bundle that taught is not there any more
    if record.get("method", "supervised") != "supervised" and not record.get("teacher_bundle"):
        kinds["own teacher"] = {key: record[key] for key in _SIZES if key in record}
    found: dict[str, Definition] = {}
    for name, settings in kinds.items():
        parser = _parser(source, "train.json")
        config = parser.get()
        teacher = _teacher_in(config)
        if teacher is None:
            return {}
        shared = {key: record[key] for key in _SHARED if key in record}
        wanted = {"profile": "full", **shared, **settings, **dict.fromkeys(_WEIGHTS)}
        for key, value in wanted.items():
            if key in config:
                parser[key] = value
        if "needed" in config[teacher]:
            # a student that was trained alone is compared with what could have taught it
            parser[f"{teacher}#needed"] = True
        found[name] = _resolved(parser, teacher)
        if teacher == _SEVERAL:
            channels = int(parser.get_parsed_content("in_channels"))
            found[name] = {"_target_": f"{__name__}.WithChannels", "network": found[name], "channels": channels}
    edge = record.get("teacher_image_size")
    if "own teacher" in found and edge and edge != record.get("image_size"):
        found["own teacher"] = {"_target_": f"{__name__}.AtSize", "network": found["own teacher"], "edge": int(edge)}
    return found


_SEVERAL = "teacher_ensemble"


def _teacher_in(config: Mapping[str, Any]) -> str | None:
    """Where a bundle's configuration defines its teacher; None where it has one by another word, as an overlay may."""
    known = ("teacher_def", _SEVERAL) if "method" in config else ("network_def",)
    return next((key for key in known if isinstance(config.get(key), Mapping) and "_target_" in config[key]), None)


class WithChannels(nn.Module):
    """A network that sees more channels than the one it is compared with, on the channels of that one, repeated.

    Args:
        network: takes (B, channels, *spatial).
        channels: how many.

    Shape: (B, any number of channels, *spatial) to what the network gives.
    """

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.channels = network, channels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image[:, [k % image.shape[1] for k in range(self.channels)]])


class AtSize(nn.Module):
    """A network that sees larger images than the one it is compared with, on the images of that one, enlarged.

    Args:
        network: takes (B, C, edge, edge).
        edge: in pixels.

    Shape: (B, C, H, W) to what the network gives.
    """

    def __init__(self, network: nn.Module, edge: int) -> None:
        super().__init__()
        self.network, self.edge = network, edge

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(nn.functional.interpolate(image, size=(self.edge, self.edge)))


def built(definition: Definition) -> nn.Module:
    """The network, in evaluation mode."""
    return ConfigParser({"network": definition}).get_parsed_content("network").cpu().eval()


def _parser(source: DeploySource, name: str) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(source.configs / name))
    parser["bundle_root"], parser["checkpoint"] = str(source.root), str(source.checkpoint)
    return parser


def _resolved(parser: ConfigParser, name: str) -> Definition:
    return {
        key: value if key == "_target_" else parser.get_parsed_content(f"{name}::{key}")
        for key, value in parser.get()[name].items()
    }
