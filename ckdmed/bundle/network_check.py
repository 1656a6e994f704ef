"""Whether networks take the images that they are about to get, before a run begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ckdmed.bundle.errors import RefusedStart
from ckdmed.counted import counted
from ckdmed.networks.taps import TappedOutput

__all__ = ["check_networks"]


def check_networks(input_shape: Sequence[int], **networks: nn.Module) -> dict[str, int | None]:
    """Ask each network once about an empty image; neither the networks nor the random state change.

    Args:
        input_shape: (B, C, *spatial) of a batch.
        networks: name -> network.

    Returns:
        channels of the logits by the name of the network; None where something else is with them.

    Raises:
        RefusedStart: a network cannot take images of this size; names it, the size and its own words. It gives several
            outputs.
    """
    shape = tuple(int(size) for size in input_shape)
    channels = {}
    for name, network in networks.items():
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        device = next(network.parameters()).device
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                output = network(torch.zeros(shape, device=device))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            size = "roi_size" if len(shape) == 5 else "image_size"
            raise RefusedStart(
                f"the {name} ({type(network).__name__}) cannot take images of {'x'.join(map(str, shape[2:]))} with "
                f"{counted(shape[1], 'channel')}: {reason} "
                f"Give another {size} (and vit_img_size), such as a multiple of 32, or choose another kind of network."
            ) from error
        finally:
            for module, training in modes:
                module.training = training
        channels[name] = _channels(name, network, output)
    return channels


def _channels(name: str, network: nn.Module, output: object) -> int | None:
    if isinstance(output, torch.Tensor):
        return int(output.shape[1]) if output.ndim > 1 else None
    if isinstance(output, (list, tuple, Mapping)) and not isinstance(output, TappedOutput):
        raise RefusedStart(
            f"the {name} ({type(network).__name__}) gives a {type(output).__name__} of "
            f"{counted(len(output), 'output')} for an image where one tensor of logits is needed: wrap it in a module "
            "of your own that gives the logits alone (docs/own_networks.md)."
        )
    return None
