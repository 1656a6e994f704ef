"""Where a bundle keeps its inference configuration, its metadata and its weights."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.bundle.reference_resolver import ReferenceResolver

from ckdmed.bundle_files import BUNDLE_WEIGHTS
from ckdmed.zoo_teacher.errors import TeacherBundleError

__all__ = ["ZooBundle", "open_bundle"]

_CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml", "inference.json")
_METADATA = ("configs/metadata.json", "metadata.json")


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
            TeacherBundleError: the metadata have no such channels.
        """
        found: Any = self.parser["_meta_"]
        for key in ("network_data_format", side, name, "channel_def"):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, dict) or not found:
            raise TeacherBundleError(
                f"the metadata of '{self.folder}' do not name the channels (network_data_format, {side}, {name}, "
                "channel_def); which is which is never assumed: name them there."
            )
        try:
            names = {int(number): str(words) for number, words in found.items()}
        except ValueError as error:
            raise TeacherBundleError(
                f"the channel_def of {side} in '{self.folder}' has keys that are not numbers."
            ) from error
        # the numbers are places among the network's channels: counted from 1, each would be its neighbour
        if sorted(names) != list(range(len(names))):
            raise TeacherBundleError(
                f"the metadata of '{self.folder}' number the channels of {side} as "
                f"{', '.join(map(str, sorted(names)))} (channel_def); they must run from 0 to {len(names) - 1}: "
                "number them like this."
            )
        return names

    def softmax_outputs(self) -> bool:
        """Whether the network's outputs are classes that exclude each other, and no sigmoid each.

        The postprocessing tells, by a softmax or argmax against a sigmoid; where it does not, an output that the
        metadata call background.
        """
        config: dict[str, Any] = self.parser.get()
        parts = list(self._parts(config.get("postprocessing", config.get("postprocess"))))
        if any(self._asks_for("sigmoid", part) for part in parts):
            return False
        if any(self._asks_for(word, part) for part in parts for word in ("softmax", "argmax")):
            return True
        return any("background" in words.lower() for words in self.channel_names("outputs", "pred").values())

    def _parts(self, content: Any, seen: frozenset[str] = frozenset()) -> Iterator[dict[str, Any] | str]:
        """All mappings and texts within a part of the configuration, and within what these refer to, but what is
        disabled."""
        if isinstance(content, str):
            yield content
            for reference in ReferenceResolver.match_refs_pattern(content).keys() - seen:
                yield from self._parts(self.parser.get(reference), seen | {reference})
        elif isinstance(content, dict) and not self._true(content.get("_disabled_")):
            yield content
            for inner in content.values():
                yield from self._parts(inner, seen)
        elif isinstance(content, list):
            for inner in content:
                yield from self._parts(inner, seen)

    def _asks_for(self, word: str, part: dict[str, Any] | str) -> bool:
        if isinstance(part, dict):
            return self._true(part.get(word))
        # a step may be an expression, such as "$monai.transforms.Activationsd(keys='pred', softmax=True)"
        return part.startswith("$") and re.search(rf"\b{word}(\s*=\s*True\b|\()", part) is not None

    def _true(self, value: Any) -> bool:
        """Of one key, or of one of several; a flag may stand elsewhere in the configuration."""
        if isinstance(value, list):
            return any(map(self._true, value))
        if isinstance(value, str) and value.startswith("@"):
            return self.parser.get(value[1:]) in (True, "$True")
        return value is True or value == "$True"


def _first(folder: Path, names: tuple[str, ...], what: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise TeacherBundleError(f"'{folder}' is not a bundle with {what}: it has none of {', '.join(names)}.")


def open_bundle(folder: str | os.PathLike[str], trusted: bool) -> ZooBundle:
    """Find a bundle's parts, once its user said that its code may run.

    Args:
        folder: of the bundle.
        trusted: a bundle's configuration names classes and holds expressions, which are code of whoever wrote it.

    Raises:
        TeacherBundleError: it is not trusted, or a part is missing.
    """
    place = Path(folder).expanduser().absolute()
    config = _first(place, _CONFIGS, "an inference configuration")
    metadata = _first(place, _METADATA, "metadata")
    weights = _first(place, BUNDLE_WEIGHTS, "weights")
    if trusted is not True:
        raise TeacherBundleError(
            f"the configuration '{config}' is code: building its network runs the classes that it names and the "
            "expressions that it holds, with your permissions. Look at it, and give --trust_bundle true if you trust "
            "whoever wrote it. None of it has been run."
        )
    parser = ConfigParser()
    for file, read in ((config, parser.read_config), (metadata, parser.read_meta)):
        try:
            read(str(file))
        except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise TeacherBundleError(
                f"'{file}' is not a configuration that MONAI can read: {reason}. Fix the file."
            ) from error
    parser["bundle_root"] = str(place)
    if "network_def" not in parser.get():
        raise TeacherBundleError(f"'{config}' has no network_def, which is what a teacher is built from.")
    return ZooBundle(place, config, weights, parser)
