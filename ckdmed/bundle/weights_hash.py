"""The SHA-256 of the weights in use, as results name them."""

from __future__ import annotations

from pathlib import Path

from ckdmed.bundle.errors import RefusedStart
from ckdmed.file_hash import sha256_of
from ckdmed.networks.checkpoint import was_replaced

__all__ = ["hash_of_weights"]


def hash_of_weights(checkpoint: str | Path) -> str:
    """SHA-256 of a checkpoint that this process has read or is about to read.

    Raises:
        RefusedStart: another file has taken its place since it was read, so that the results would name weights that
            they are not of.
    """
    found = sha256_of(checkpoint)
    if was_replaced(checkpoint):
        raise RefusedStart(
            f"'{checkpoint}' was replaced after its weights had been read, as by a training that is still running: the "
            "results would name the new weights. Start again when the training has ended, or give a copy of the "
            "weights."
        )
    return found
