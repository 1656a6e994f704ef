"""Who made a result: the network, its weights and the settings that change what it says."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import ckdmed
from ckdmed.file_hash import sha256_of

__all__ = ["MANUFACTURER", "Algorithm"]

MANUFACTURER = "ckdmed"
# Results are named by what they were made of, so that the same result always has the same UIDs: an archive that is sent
# it twice, because the first answer was lost, keeps one.
_NAMESPACE = uuid.UUID("6f1d5c0e-6f5b-5f5e-9c5b-0b3f6b0f3f57")


@dataclass(frozen=True)
class Algorithm:
    """What stands in a result as its maker.

    Args:
        name: of the network, at most 64 letters; a bundle's name.
        weights: SHA-256 of the checkpoint, 64 digits; "" where there is none.
        settings: what else changes results (threshold, averaging over mirror images); name to value.
        version: of the software.
    """

    name: str
    weights: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    version: str = ckdmed.__version__

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 64 or not self.name.isprintable() or "\\" in self.name:
            raise ValueError(
                f"an algorithm's name must have 1 to 64 printable letters and no backslash, got {self.name!r}."
            )

    @classmethod
    def of_checkpoint(
        cls, name: str, checkpoint: str | Path, settings: Mapping[str, object] | None = None
    ) -> Algorithm:
        """With the hash of a checkpoint's file."""
        return cls(name, sha256_of(checkpoint), dict(settings or {}))

    @property
    def parameters(self) -> dict[str, str]:
        """The settings as texts, and what the weights are."""
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.settings.items()}
        return texts | ({"weights_sha256": self.weights} if self.weights else {})

    def uid(self, *made_of: str) -> str:
        """The UID of what this algorithm made of something: always the same, and another for anything else."""
        text = json.dumps([self.name, self.version, self.parameters, *made_of], sort_keys=True)
        return f"2.25.{uuid.uuid5(_NAMESPACE, text).int}"
