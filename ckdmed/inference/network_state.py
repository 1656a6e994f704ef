"""What a result depends on besides its input: the weights, the settings, and the record that judges inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ckdmed.bundle.weights_hash import hash_of_weights
from ckdmed.data.image_files import InputItem
from ckdmed.file_hash import sha256_of
from ckdmed.inference.ledger import fingerprint
from ckdmed.intended_inputs import IntendedInputs

__all__ = ["NetworkState"]


@dataclass(frozen=True)
class NetworkState:
    """The network of a run of inference, as it is now.

    Args:
        checkpoint: file of the weights.
        settings: what else the results depend on.
        intended: what the network was made for, which each result tells; None where there is no record.
    """

    checkpoint: str
    settings: Mapping[str, Any]
    intended: IntendedInputs | None

    @cached_property
    def checkpoint_sha256(self) -> str | None:
        """Of the file of the weights; None where there is none.

        Raises:
            RefusedStart: see :func:`~ckdmed.bundle.weights_hash.hash_of_weights`.
        """
        return hash_of_weights(self.checkpoint) if Path(self.checkpoint).is_file() else None

    @cached_property
    def digest(self) -> str:
        """By which results of this network are known from those of another."""
        return hashlib.sha256(json.dumps(self._parts, sort_keys=True, default=str).encode()).hexdigest()

    def fingerprint(self, item: InputItem) -> str:
        """By which a result is known to be of this input, as it is now, and of this network.

        Raises:
            OSError: the input cannot be read.
        """
        return fingerprint(item.files, self._parts)

    @property
    def _parts(self) -> list[Any]:
        intended = [] if self.intended is None else [sha256_of(self.intended.path)]
        return [self.checkpoint_sha256, self.settings, *intended]
