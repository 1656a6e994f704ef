"""Whether a deployed file is a network of the bundle that it is given to."""

from __future__ import annotations

from pathlib import Path

from monai.bundle import ConfigParser

from ckdmed.bundle.setting_check import WrongSettingError
from ckdmed.deployed_network import read_description
from ckdmed.labels import REGIONS
from ckdmed.runtime import is_deployed

__all__ = ["check_deployed", "named_outputs"]


def named_outputs(parser: ConfigParser) -> tuple[str, ...]:
    """What the outputs of a bundle's network are, in their order: classes, or regions of masks."""
    config = parser.get()
    for name in ("class_names", "region_names", "regions"):
        if name in config:
            return tuple(map(str, parser.get_parsed_content(name)))
    return REGIONS


def check_deployed(parser: ConfigParser) -> None:
    """Refuse a deployed file whose outputs are others than those of the bundle.

    Weights that do not fit are noticed when they are loaded. A deployed file runs whatever network it holds.

    Args:
        parser: of the bundle.

    Raises:
        WrongSettingError: names the file, its outputs and the bundle's.
        DeployedFileError: the file cannot be read.
    """
    if "checkpoint" not in parser.get():
        return
    checkpoint = Path(str(parser.get_parsed_content("checkpoint")))
    if not is_deployed(checkpoint) or not checkpoint.is_file():
        return
    description, expected = read_description(checkpoint), named_outputs(parser)
    if description.outputs != expected:
        raise WrongSettingError(
            f"--checkpoint: '{checkpoint}' is a network of {description.bundle} whose outputs are "
            f"{', '.join(description.outputs)}; those of this bundle are {', '.join(expected)}. Use it with a bundle "
            "of its own kind."
        )
