"""TorchScript that can be passed on."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from monai.bundle import ckpt_export
from torch import nn

from ckdmed.files import write_atomic

__all__ = ["ScriptingError", "export_torchscript", "scripted", "scripting_problem", "strip_source_paths"]


class ScriptingError(RuntimeError):
    """A network that ``torch.jit.script`` cannot take; the message is the first line of why."""


# class of a network -> why it cannot be scripted. What the compiler has begun stays in its registry: the next attempt
# in this process fails for that ("Can't redefine method"), which tells nobody anything
_REASONS: dict[type[nn.Module], str] = {}


def scripted(network: nn.Module) -> torch.jit.ScriptModule:
    """The network as TorchScript.

    Raises:
        ScriptingError: it has something that TorchScript does not know. A second attempt gives the reason of the first.
    """
    try:
        return torch.jit.script(network)
    # its errors have no common base
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        raise ScriptingError(_REASONS.setdefault(type(network), reason)) from error


def scripting_problem(network: nn.Module) -> str | None:
    """Why ``torch.jit.script`` cannot take a network; None where it can."""
    try:
        scripted(network)
    except ScriptingError as error:
        return str(error)
    return None


def export_torchscript(folder: Path) -> Path:
    """Script ``network_def`` of an exported bundle with its weights: ``models/model.ts``, by MONAI's ``ckpt_export``.

    The metadata and the inference configuration lie inside the file, as MONAI has it.
    """
    target = folder / "models" / "model.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(target),
        ckpt_file=str(folder / "models" / "model.pt"),
        meta_file=str(folder / "configs" / "metadata.json"),
        config_file=str(folder / "configs" / "inference.json"),
    )
    strip_source_paths(target)
    return target


def strip_source_paths(path: Path) -> None:
    """Drop the debug records of a TorchScript archive: they hold the paths of the source files on the machine.

    Its entries lose their time of writing, too. Errors inside the scripted network then lack the line of the Python
    source; what it computes stays the same.
    """

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target:
            for entry in source.infolist():
                if not entry.filename.endswith(".debug_pkl"):
                    # as ZipInfo has it without the time of day: equal weights give equal bytes
                    target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))

    write_atomic(path, write)
