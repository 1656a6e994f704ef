"""How long forms and networks take for one input, measured in turns in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ckdmed.counted import counted
from ckdmed.deploy.float_forms import as_function
from ckdmed.runtime import open_form

__all__ = ["Taken", "energy_counter", "latencies", "training_steps"]

# Intel's and AMD's counter of the processor's energy in microjoules; root alone may read it on most systems
_COUNTERS = "/sys/class/powercap"
_WARM = 2
# TorchScript watches its first runs, then compiles itself, for several runs in turn
_COMPILING = 8
# what takes longer than this is run in every fifth round only
_SLOW_SECONDS = 1.0
_SELDOM = 5


@dataclass(frozen=True)
class Taken:
    """Of one input: seconds by the clock and of the processor, and joules; None where the machine does not tell."""

    wall: float
    cpu: float
    joules: float | None


def latencies(
    files: Mapping[str, Path],
    networks: Mapping[str, nn.Module],
    images: np.ndarray,
    threads: int,
    rounds: int = 15,
    progress: bool = True,
) -> dict[str, Taken]:
    """What one input takes each form and network: medians.

    In every round each of them takes one input, so that what else the machine does is dealt among all. What takes more
    than a second, as a full-size teacher may, runs in the second and in every fifth round.

    Args:
        files: name -> deployed file.
        networks: name -> PyTorch network.
        images: (N, C, *spatial); taken in turn.
        threads: to compute with.
        rounds: at least 1.
        progress: whether to show a bar.
    """
    with _torch_threads(threads):
        runs = {name: as_function(network) for name, network in networks.items()}
        runs |= {name: open_form(path, threads) for name, path in files.items()}
        for name, network in networks.items():
            if isinstance(network, torch.jit.ScriptModule):
                for number in range(_COMPILING):
                    runs[name](images[number % len(images)][None])
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        cpu: dict[str, list[float]] = {name: [] for name in runs}
        joules: dict[str, list[float]] = {name: [] for name in runs}
        fastest: dict[str, float] = {}
        turns = tqdm(
            range(rounds + _WARM), desc=f"timing, {counted(threads, 'thread')}", leave=False, disable=not progress
        )
        for number in turns:
            image = images[number % len(images)][None]
            for name, run in runs.items():
                if number >= _WARM and number % _SELDOM and fastest[name] > _SLOW_SECONDS:
                    continue
                energy, busy, start = energy_counter(), time.process_time(), time.perf_counter()
                run(image)
                taken, worked, after = time.perf_counter() - start, time.process_time() - busy, energy_counter()
                fastest[name] = min(fastest.get(name, taken), taken)
                if number >= _WARM or (number and fastest[name] > _SLOW_SECONDS):
                    seconds[name].append(taken)
                    cpu[name].append(worked)
                    if energy is not None and after is not None and after >= energy:
                        joules[name].append(after - energy)
    middle = statistics.median
    return {
        name: Taken(middle(seconds[name]), middle(cpu[name]), middle(joules[name]) if joules[name] else None)
        for name in runs
    }


def training_steps(networks: Mapping[str, nn.Module], images: np.ndarray, threads: int = 1) -> dict[str, float]:
    """Seconds of one forward and backward pass and step of AdamW for one input; the faster of two, or the first if it
    takes long."""
    found = {}
    with _torch_threads(threads):
        for name, network in networks.items():
            state = {key: value.clone() for key, value in network.state_dict().items()}
            # normalisation over a single value has no gradient
            batch = torch.from_numpy(np.repeat(images[:1], 2, axis=0))
            optimizer = torch.optim.AdamW(network.parameters(), fused=True)
            network.train()
            times = []
            for _ in range(2):
                start = time.perf_counter()
                optimizer.zero_grad()
                network(batch).float().square().mean().backward()
                optimizer.step()
                times.append((time.perf_counter() - start) / len(batch))
                if times[0] > _SLOW_SECONDS:
                    break
            optimizer.zero_grad(set_to_none=True)
            network.load_state_dict(state)
            network.eval()
            found[name] = min(times)
    return found


def energy_counter() -> float | None:
    """Joules that the processor has used since some moment; None where the machine does not tell."""
    total = 0.0
    try:
        for counter in sorted(Path(_COUNTERS).glob("*-rapl:[0-9]*")):
            # packages, not their parts
            if counter.name.count(":") == 1:
                total += int((counter / "energy_uj").read_text()) / 1e6
    except (OSError, ValueError):
        return None
    return total or None


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
