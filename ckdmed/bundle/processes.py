"""The beginning and the end of a process of a training, alone or one of several."""

from __future__ import annotations

import os

import torch
from monai.utils import set_determinism
from torch import distributed

__all__ = ["end_process", "is_first_process", "own_device", "start_process"]


def own_device() -> torch.device:
    """The GPU of this process of ``torchrun``, by its number on the machine; without GPUs the processor."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def start_process(device: torch.device | str, seed: int, several: bool = False) -> None:
    """Seed all random numbers, and join the other processes where there are several.

    Args:
        device: of this process; where it is a GPU, it becomes the current one.
        seed: of torch, NumPy and Python, and of all of MONAI's transforms that are made after.
        several: ``torchrun`` started several processes.
    """
    device = torch.device(device)
    if several and not distributed.is_initialized():
        distributed.init_process_group(backend="nccl" if torch.cuda.is_available() else "gloo")
    if several and device.type == "cuda":
        torch.cuda.set_device(device)
    set_determinism(seed=seed)
    # numbers next to 0 make a CPU ten times as slow, and change nothing that is measured
    torch.set_flush_denormal(True)


def end_process(several: bool = False) -> None:
    """Leave the other processes where there are several."""
    if several and distributed.is_initialized():
        distributed.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process is the only one, or the one that writes for all."""
    return not distributed.is_initialized() or distributed.get_rank() == 0
