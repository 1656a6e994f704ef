"""Where a bundle keeps its inference configuration, its metadata and its weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

__all__ = ["ZooBundle", "open_bundle"]

_CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml", "inference.json")
_METADATA = ("configs/metadata.json", "metadata.json")
_WEIGHTS = ("models/model.pt", "models/model.safetensors")


@dataclass(frozen=True)
class ZooBundle:
    """An opened bundle; nothing in it has run yet.

    Attributes:
        folder: of the bundle.
        config: its inference configuration.
        weights: of the network.
        parser: of the configuration and the metadata, with ``bundle_root`` set to the folder.
    """

    folder: Path
    config: Path
    weights: Path
    parser: ConfigParser

    def channel_names(self, side: str, name: str) -> dict[int, str]:
        """Number -> what the metadata call a channel of ``inputs`` or ``outputs``, in the metadata's words.

        Raises:
            ValueError: the metadata have no such channels.
        """
        found: Any = self.parser["_meta_"]
        for key in ("network_data_format", side, name, "channel_def"):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, dict) or not found:
            raise ValueError(
                f"the metadata of '{self.folder}' do not name the channels (network_data_format, {side}, {name}, "
                "channel_def); which is which is never assumed: write them there."
            )
        try:
            return {int(number): str(words) for number, words in found.items()}
        except ValueError as error:
            raise ValueError(f"the channel_def of {side} in '{self.folder}' has keys that are no numbers.") from error

    def softmax_outputs(self) -> bool:
        """Whether the network's outputs are classes that exclude each other, and no sigmoid each.

        The postprocessing tells, by a softmax or argmax against a sigmoid; where it does not, an output that the
        metadata call background.
        """
        config: dict[str, Any] = self.parser.get()
        steps = list(_dictionaries(config.get("postprocessing", config.get("postprocess"))))
        if any(_true(step.get("sigmoid")) for step in steps):
            return False
        if any(_true(step.get(word)) for step in steps for word in ("softmax", "argmax")):
            return True
        return any("background" in words.lower() for words in self.channel_names("outputs", "pred").values())


def _dictionaries(content: Any) -> Iterator[dict[str, Any]]:
    """All mappings within a part of a configuration."""
    if isinstance(content, dict):
        yield content
    if isinstance(content, (dict, list)):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from _dictionaries(inner)


def _true(value: Any) -> bool:
    """Of one key, or of one of several."""
    return any(one is True or one == "$True" for one in (value if isinstance(value, list) else [value]))


def _first(folder: Path, names: tuple[str, ...], what: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"'{folder}' is no bundle with {what}: none of {', '.join(names)} is there.")


def open_bundle(folder: str | os.PathLike[str], trusted: bool) -> ZooBundle:
    """Find a bundle's parts, once its user said that its code may run.

    Args:
        folder: of the bundle.
        trusted: a bundle's configuration names classes and holds expressions, which are code of whoever wrote it.

    Raises:
        ValueError: it is not trusted, or a part is missing.
    """
    place = Path(folder).expanduser().absolute()
    config = _first(place, _CONFIGS, "an inference configuration")
    metadata = _first(place, _METADATA, "metadata")
    weights = _first(place, _WEIGHTS, "weights")
    if trusted is not True:
        raise ValueError(
            f"the configuration '{config}' is code: building its network runs the classes that it names and the "
            "expressions that it holds, as you. Look at it, and give --trust_bundle true if you trust whoever wrote "
            "it. Nothing of it has run."
        )
    parser = ConfigParser()
    parser.read_config(str(config))
    parser.read_meta(str(metadata))
    parser["bundle_root"] = str(place)
    if "network_def" not in parser.get():
        raise ValueError(f"'{config}' has no network_def, which is what a teacher is built from.")
    return ZooBundle(place, config, weights, parser)
