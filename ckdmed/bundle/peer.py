"""The peer of a student that learned in mutual distillation, beside it in evaluation and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.load_weights import load_checkpoint
from ckdmed.bundle.trained import recorded_settings
from ckdmed.labels import REGIONS
from ckdmed.networks.mean_of_networks import MeanOfNetworks
from ckdmed.networks.segmentation_teacher import segmentation_teacher

__all__ = ["with_peer"]

_VIT = ("vit_img_size", "vit_hidden", "vit_layers", "vit_heads", "fuse", "resolutions", "map_weights")


def with_peer(
    student: nn.Module,
    checkpoint: str | None,
    modalities: Sequence[str],
    in_channels: int,
    spatial_dims: int,
    regions: Sequence[str] = REGIONS,
) -> nn.Module:
    """The student itself, or with a peer's checkpoint the mean of both networks' probabilities.

    Args:
        student: of raw logits.
        checkpoint: of a peer that sees what the student sees, as a training leaves it in ``models/teachers``; None for
            the student alone.
        modalities: that the student sees.
        in_channels, spatial_dims: of the student.
        regions: its outputs.

    Raises:
        RefusedStart: there is no record of the peer's training, or the peer sees other sequences or finds
            other regions.
        ValueError: as :func:`~ckdmed.bundle.load_weights.load_checkpoint`.
    """
    if checkpoint is None:
        return student
    path = Path(checkpoint)
    record = recorded_settings(path) if path.is_file() else None
    if record is None:
        raise RefusedStart(
            f"'{checkpoint}' is not a file, or has no settings.json of its training in the folders above it, which "
            "describes the peer's network: give the file that the training wrote to models/teachers."
        )
    if not record.get("align") and path.stem != "+".join(modalities):
        raise RefusedStart(
            f"'{checkpoint}' is of a peer that sees {path.stem}, but the student sees {'+'.join(modalities)}: only a "
            "peer of the same sequences, or one that was trained with align, can be averaged with it."
        )
    if list(found := record.get("regions", REGIONS)) != list(regions):
        raise RefusedStart(
            f"'{checkpoint}' is of a peer that segments {', '.join(found)}, but the student segments "
            f"{', '.join(regions)}: only a peer of the same regions, in the same order, can be averaged with it."
        )
    channels: dict[str, Any] = {"in_channels": in_channels, "out_channels": len(regions)}
    peer = segmentation_teacher(**_network(record, path), spatial_dims=spatial_dims, **channels)
    load_checkpoint(peer, checkpoint)
    return MeanOfNetworks([student, peer])


def _network(record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    kind = record["teacher_kind"]
    if not isinstance(kind, str):
        views = ["+".join(view) for view in record["teachers"]]
        kind = kind[views.index(path.stem)]
    named = {name: record[name] for name in _VIT if name in record}
    return {"kind": kind, "base": record["teacher_base"], "options": record.get("teacher_options"), **named}
