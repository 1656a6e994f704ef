"""A trained network as the commands are given it: by a run, or by a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckdmed.bundle.run_folder import weights_folder
from ckdmed.bundle_files import named_bundle
from ckdmed.json_files import read_json

__all__ = ["bundle_and_weights"]


def bundle_and_weights(given: str, checkpoint: str | Path | None = None) -> tuple[Path, Path]:
    """The folder of the bundle that a network is of, and the file of its weights.

    Args:
        given: a run's output folder, a bundle's folder (exported ones too) or a bundle's name.
        checkpoint: other weights than ``model.pt`` of the run's ``ckpt_dir``, or the bundle's ``models/model.pt``. A
            run without weights of its own never takes those that its bundle ships.

    Raises:
        ValueError: there is no such run or bundle, or it has no weights.
    """
    root = _bundle_root(given)
    weights = Path(checkpoint) if checkpoint is not None else _weights_folder(given, root) / "model.pt"
    if not weights.is_file():
        raise ValueError(
            f"{given}: there are no weights {weights}; give some with --checkpoint, or train the bundle first."
        )
    return root, weights


def _run_record(given: str) -> Path | None:
    """The settings of the run that a folder is of; None for a bundle."""
    record = Path(given) / "settings.json"
    return record if record.is_file() and not (Path(given) / "configs" / "inference.json").is_file() else None


def _run_settings(record: Path) -> Mapping[str, Any]:
    content = read_json(record)
    settings = content.get("settings") if isinstance(content, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}


def _weights_folder(given: str, root: Path) -> Path:
    record = _run_record(given)
    if record is None:
        return root / "models"
    return weights_folder(record.parent, _run_settings(record))


def _bundle_root(given: str) -> Path:
    folder = Path(given)
    if (folder / "configs" / "inference.json").is_file():
        return folder
    record = _run_record(given)
    if record is not None:
        stated = _run_settings(record).get("bundle_root")
        if not isinstance(stated, str):
            raise ValueError(
                f"{record}: does not say which bundle the run belongs to; give the bundle and --checkpoint."
            )
        # a run that was moved still knows its bundle's name
        return Path(stated) if (Path(stated) / "inference.json").is_file() else named_bundle(Path(stated).name)
    if (folder / "model.pt").is_file():
        raise ValueError(
            f"{given}: weights without their run; give the name of the bundle that they belong to, and the weights "
            f"with --checkpoint {folder / 'model.pt'}."
        )
    return named_bundle(given)
