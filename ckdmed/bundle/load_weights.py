"""Putting a checkpoint into the network of an inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from ckdmed.bundle.errors import RefusedStart
from ckdmed.counted import counted
from ckdmed.deployed_network import run_deployed
from ckdmed.networks.checkpoint import read_state_dict
from ckdmed.runtime import is_deployed

__all__ = ["LoadWeights", "load_checkpoint"]


def load_checkpoint(network: torch.nn.Module, checkpoint: str) -> torch.nn.Module:
    """Put a checkpoint's weights into the network; every one must fit. A deployed file runs in the network's place.

    Raises:
        ValueError: there is no such file, it is no checkpoint, or it is one of another network.
    """
    if not Path(checkpoint).is_file():
        raise ValueError(
            f"there is no checkpoint '{checkpoint}'. Give one with --checkpoint, or train one: train.json of this "
            "bundle writes it to its output folder as models/model.pt."
        )
    if is_deployed(checkpoint):
        return run_deployed(network, checkpoint)
    weights = read_state_dict(checkpoint)
    own = network.state_dict()
    differing = [
        f"{name} {list(weights[name].shape) if name in weights else 'missing'}, not {list(value.shape)}"
        for name, value in own.items()
        if name not in weights or weights[name].shape != value.shape
    ] + [f"{name} is not in this network" for name in weights if name not in own]
    if inputs := _input_channels(own, weights):
        raise ValueError(
            f"'{checkpoint}' is a checkpoint of another network: it takes {counted(inputs[1], 'input channel')}, but "
            f"this one takes {inputs[0]}. Give the network the images that it was trained on: the same modalities and "
            "neighbours (its settings.json holds them)."
        )
    if differing:
        raise ValueError(
            f"'{checkpoint}' is a checkpoint of another network: {'; '.join(differing[:3])} ({len(differing)} in all). "
            "Give the settings of the network that it was trained with (its settings.json holds them)."
        )
    network.load_state_dict(weights)
    return network


def _input_channels(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> tuple[int, int] | None:
    """Input channels of the network and of the checkpoint where these alone set them apart."""
    if own.keys() != weights.keys():
        return None
    channels = set()
    for name, value in own.items():
        mine, other = tuple(value.shape), tuple(weights[name].shape)
        if mine == other:
            continue
        # a level of another width has other outputs as well
        if not (len(mine) == len(other) > 2 and mine[0] == other[0] and mine[2:] == other[2:]):
            return None
        channels.add((mine[1], other[1]))
    return channels.pop() if len(channels) == 1 else None


class LoadWeights:
    """A handler that loads the checkpoint when the engine starts; calling it earlier loads it then, once.

    Args:
        network: gets the weights.
        checkpoint: see `load_checkpoint`.
    """

    def __init__(self, network: torch.nn.Module, checkpoint: str) -> None:
        self.network = network
        self.checkpoint = checkpoint
        self.loaded = False

    def attach(self, engine: Engine) -> None:
        """Register on ``STARTED``."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        """Load it, unless that was done.

        Raises:
            RefusedStart: see `load_checkpoint`.
        """
        if not self.loaded:
            try:
                load_checkpoint(self.network, self.checkpoint)
            except ValueError as error:
                raise RefusedStart(str(error)) from error
            self.loaded = True
