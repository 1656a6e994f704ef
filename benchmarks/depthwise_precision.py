#!/usr/bin/env python3
"""Seconds per step of the EfficientNet-Lite0 student in bfloat16 on the CPU, by its depthwise convolutions' precision.

    python benchmarks/depthwise_precision.py

Two networks of the same weights take turns: one keeps its depthwise convolutions in float32, as it is, the other has
them in bfloat16 as autocast would. Random images; forward and backward pass, channels last.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from ckdmed.counted import counted
from ckdmed.networks import EfficientNetLiteUNet
from ckdmed.networks.efficientnet_lite import DepthwiseConv2d
from ckdmed.reports import machine_in_words, markdown_table


def stock(network: nn.Module) -> nn.Module:
    """The same network with PyTorch's own convolutions for the depthwise ones."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, DepthwiseConv2d):
                channels, groups = child.in_channels, child.groups
                plain = nn.Conv2d(channels, channels, child.kernel_size, child.stride, groups=groups, bias=False)
                plain.load_state_dict(child.state_dict())
                setattr(module, name, plain)
    return network


def step(network: nn.Module, image: torch.Tensor) -> float:
    """Seconds of a forward and a backward pass."""
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image)
    logits.float().square().mean().backward()
    network.zero_grad()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="edges of the images in pixels")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    networks = {"float32": EfficientNetLiteUNet(), "bfloat16": stock(EfficientNetLiteUNet())}
    for network in networks.values():
        network.to(memory_format=torch.channels_last).train()
    rows = []
    for size in args.sizes:
        image = torch.rand(args.batch_size, 1, size, size).to(memory_format=torch.channels_last)
        seconds: dict[str, list[float]] = {name: [] for name in networks}
        for turn in range(args.rounds + 1):
            for name, network in networks.items():
                spent = step(network, image)
                # the first turn makes the kernels
                if turn:
                    seconds[name].append(spent)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        least = {name: min(values) for name, values in seconds.items()}
        rows.append(
            [
                str(size),
                *(f"{medians[name]:.3f}" for name in networks),
                f"{medians['bfloat16'] / medians['float32']:.2f}",
                f"{least['bfloat16'] / least['float32']:.2f}",
            ]
        )
    print(f"Machine: {machine_in_words()}; {counted(torch.get_num_threads(), 'thread')}, torch {torch.__version__}.\n")
    print(markdown_table(["pixels", "depthwise float32 [s]", "bfloat16 [s]", "ratio of medians", "of the least"], rows))


if __name__ == "__main__":
    main()
