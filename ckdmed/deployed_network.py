"""A deployed file in the place of a PyTorch network: configurations take either as their checkpoint."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ckdmed.file_hash import sha256_of
from ckdmed.paths import PathLike
from ckdmed.runtime import DeployedFileError, Description, is_deployed, open_form
from ckdmed.runtime.description import DESCRIPTION_KEY

__all__ = ["read_description", "refuse_deployed", "run_deployed"]


def refuse_deployed(checkpoint: PathLike | None, what: str) -> None:
    """Raise ValueError where a checkpoint is a deployed file: a network that runs it has other weights of its own.

    Args:
        checkpoint: given; None for none.
        what: would be done with the weights, as a participle.
    """
    if is_deployed(checkpoint):
        raise ValueError(
            f"'{checkpoint}' is a deployed file, which cannot be {what}: give the weights that it was made from, "
            "models/model.pt of their training."
        )


def read_description(path: PathLike) -> Description:
    """What a deployed file says of itself.

    Raises:
        DeployedFileError: see `ckdmed.runtime.open_form`; for TorchScript the same.
    """
    return _script(path)[1] if str(path).lower().endswith(".ts") else open_form(path).description


def run_deployed(network: nn.Module, path: PathLike) -> nn.Module:
    """Let a network compute with a deployed file from now on, its own weights being left as they are.

    The network itself stays, because handlers, inferers and evaluators of a configuration hold it already.

    Args:
        network: of raw logits; gets no gradient any more. Its attribute ``deployed_sha256`` tells from then on what
            computes in its place.
        path: of a deployed file; ``.onnx`` and ``.xml`` compute on the CPU whatever the device of the images.

    Raises:
        DeployedFileError: see `read_description`; ModuleNotFoundError where its runtime is not installed.
    """
    if str(path).lower().endswith(".ts"):
        scripted, description = _script(path)

        def forward(images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = scripted.to(images.device)(_plain(images))
            if logits.shape[1] != len(description.outputs):
                raise DeployedFileError(
                    f"{path}: its description does not match its network: the description names the outputs "
                    f"{', '.join(description.outputs)}, but the network gives {logits.shape[1]}; write the file with "
                    "`ckdmed deploy`."
                )
            return logits

    else:
        form = open_form(path)

        def forward(images: torch.Tensor) -> torch.Tensor:
            logits = form(np.asarray(_plain(images).detach().float().cpu().numpy()))
            return torch.from_numpy(logits).to(images.device)

    network.forward = forward  # type: ignore[method-assign]
    beside = Path(path).with_suffix(".bin")
    # OpenVINO keeps the weights beside the graph
    files = [Path(path), *([beside] if str(path).lower().endswith(".xml") and beside.is_file() else [])]
    network.deployed_sha256 = [sha256_of(file) for file in files]  # type: ignore[assignment]
    return network


def _plain(images: torch.Tensor) -> torch.Tensor:
    return images.as_tensor() if hasattr(images, "as_tensor") else images


def _script(path: PathLike) -> tuple[torch.jit.ScriptModule, Description]:
    held = {f"{DESCRIPTION_KEY}.json": ""}
    try:
        # torch.jit.load does not compare the checksums of the archive
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of its entry {damaged} is wrong; the file is damaged")
        scripted = torch.jit.load(str(path), map_location="cpu", _extra_files=held)
    # what a damaged archive raises depends on where it is damaged
    except (RuntimeError, ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise DeployedFileError(f"{path}: cannot be opened as TorchScript ({lines[0][:200]}).") from error
    text = held[f"{DESCRIPTION_KEY}.json"]
    return scripted.eval(), Description.from_text(text.decode() if isinstance(text, bytes) else text, path)
