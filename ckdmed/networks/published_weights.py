"""Published weights by name: downloaded once with a check of their hash, or a file."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch
from monai.networks.nets.efficientnet import url_map as monai_efficientnets

__all__ = ["IMAGENET", "PUBLISHED", "weights_file"]

logger = logging.getLogger(__name__)

#: The word of a setting for the published weights.
IMAGENET = "imagenet"
_TORCHVISION = "https://download.pytorch.org/models"
#: Name -> address. MONAI's EfficientNets by their names there, torchvision's networks by theirs. Each file's name ends
#: with the beginning of its SHA-256.
PUBLISHED: dict[str, str] = {
    **{name: address for name, address in monai_efficientnets.items() if name.startswith("efficientnet-")},
    "efficientnet_b0": f"{_TORCHVISION}/efficientnet_b0_rwightman-7f5810bc.pth",
    "resnet18": f"{_TORCHVISION}/resnet18-f37072fd.pth",
    "resnet34": f"{_TORCHVISION}/resnet34-b627a593.pth",
    "resnet50": f"{_TORCHVISION}/resnet50-0676ba61.pth",
    "resnet101": f"{_TORCHVISION}/resnet101-63fe2227.pth",
    "resnet152": f"{_TORCHVISION}/resnet152-394f9c45.pth",
    "vgg19": f"{_TORCHVISION}/vgg19-dcbb9e9d.pth",
    "vgg19_bn": f"{_TORCHVISION}/vgg19_bn-c79401a0.pth",
    "vit_b_16": f"{_TORCHVISION}/vit_b_16-c867db91.pth",
}
_HASH = re.compile(r"-([0-9a-f]{8,})\.pth$")


def weights_file(given: str, network: str) -> str:
    """The checkpoint file that a setting names: a file as it is, or for "imagenet" the published one of a network.

    It is downloaded by torch's hub into the folder of its cache (`TORCH_HOME`), once, and kept only if its SHA-256
    begins as its name says. Nothing in it is run: it is read like any checkpoint file.

    Args:
        given: a file's path, or "imagenet".
        network: name of the network, a key of `PUBLISHED` where there are published weights.

    Raises:
        ValueError: there are none for this network.
        RuntimeError: they could not be downloaded; says from where, and where a copy can be put.
    """
    if given != IMAGENET:
        return given
    address = PUBLISHED.get(network)
    if address is None:
        raise ValueError(
            f"'{IMAGENET}': {network} has no published weights that can be downloaded; give a file instead. There are "
            f"some for {', '.join(PUBLISHED)}."
        )
    name = address.rsplit("/", 1)[1]
    target = Path(torch.hub.get_dir()) / "checkpoints" / name
    if target.is_file():
        return str(target)
    found = _HASH.search(name)
    logger.info(f"downloading {address} to {target}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(target), hash_prefix=found[1] if found else None, progress=False)
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            f"the published weights of {network} could not be downloaded from {address} ({error}). Without "
            f"access to the internet give a file in place of '{IMAGENET}', or put a copy of it at {target}."
        ) from error
    return str(target)
