"""Weights without a record of their training, where a command has no settings that could stand for it."""

from __future__ import annotations

from pathlib import Path

from ckdmed.bundle.errors import in_words, root_cause
from ckdmed.bundle.trained import Trained
from ckdmed.bundle.workflow import bundle_parser
from ckdmed.json_files import read_json

__all__ = ["refuse_unrecorded"]


def refuse_unrecorded(bundle: Path, weights: Path) -> None:
    """Refuse weights of which no record tells the network and what it expects of an image, before any image is taken.

    Args:
        bundle: folder of the configuration; one that reads no record is accepted.
        weights: of a network of it.

    Raises:
        ValueError: there is no record, or it cannot be read; says where to put which.
    """
    if "trained" not in read_json(bundle / "inference.json"):
        return
    parser = bundle_parser(bundle, {"checkpoint": str(weights)}, "inference.json")
    try:
        trained: Trained = parser.get_parsed_content("trained")
    except RuntimeError as error:
        raise ValueError(in_words(root_cause(error))) from error
    if trained.settings is None:
        raise ValueError(
            f"'{weights}' has no record of what it was trained with, which describes its network and the images that "
            "it expects: put that of its training (models/model.json or settings.json of its output folder) beside it "
            f"as {weights.with_suffix('.json').name}."
        )
