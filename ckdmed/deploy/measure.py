"""The resource figure: what forms, student and teachers cost."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ckdmed.counted import counted
from ckdmed.deploy.costs import cuda_megabytes_of, flops_of, parameters_of
from ckdmed.deploy.deployment import Costs, ModelCost, form_files
from ckdmed.deploy.fresh_process import of_form, of_network
from ckdmed.deploy.source import DeploySource
from ckdmed.deploy.teachers import built, definition_of, teachers_of
from ckdmed.deploy.timing import latencies, training_steps

__all__ = ["NETWORK", "THREADS", "measured"]

THREADS = (1, 2)
#: Name of the deployed network in PyTorch.
NETWORK = "PyTorch"
_PACKAGES = ("ckdmed", "torch", "monai", "onnxruntime", "openvino", "nncf")


def measured(
    source: DeploySource, files: Mapping[str, Path], inputs: np.ndarray, rounds: int, say: Callable[[str], None]
) -> Costs:
    """Measure everything, in turns.

    Args:
        source: the network.
        files: name -> deployed file.
        inputs: (N, C, *spatial).
        rounds: of the timing.
        say: told of each step.
    """
    definitions = {NETWORK: definition_of(source), **teachers_of(source)}
    networks = {name: built(definition) for name, definition in definitions.items()}
    networks[NETWORK] = source.network
    scripted = {name: torch.jit.load(str(path)).eval() for name, path in files.items() if path.suffix == ".ts"}
    light = {name: path for name, path in files.items() if path.suffix != ".ts"}
    costs = {name: ModelCost(_megabytes(path), {}) for name, path in files.items()}
    costs |= {name: ModelCost(4 * parameters_of(network) / 1e6, {}) for name, network in networks.items()}
    for threads in THREADS:
        say(f"timing {len(costs)} models with {counted(threads, 'thread')}, in turns")
        times = latencies(light, {**networks, **scripted}, inputs, threads, rounds)
        for name, taken in times.items():
            costs[name].milliseconds[threads] = 1000 * taken.wall
            if threads == 1:
                costs[name].joules, costs[name].cpu_milliseconds = taken.joules, 1000 * taken.cpu
    say("starting each in a process of its own")
    for name, path in light.items():
        _note(costs[name], of_form(path, inputs[:1]))
    for name, network in networks.items():
        _note(costs[name], of_network(network, definitions[name], inputs[:1], tries=2 if name == NETWORK else 1))
        costs[name].parameters = parameters_of(network)
        costs[name].flops = flops_of(network, source.description.input_shape)
        costs[name].cuda_megabytes = cuda_megabytes_of(network, source.description.input_shape)
    say("timing a step of training")
    for name, value in training_steps(networks, inputs).items():
        costs[name].training_step = value
    return Costs(costs, _machine())


def _note(cost: ModelCost, run: Mapping[str, float]) -> None:
    cost.cold_start, cost.peak_megabytes = run["seconds"], run["megabytes"]


def _megabytes(path: Path) -> float:
    return sum(file.stat().st_size for file in form_files(path)) / 1e6


def _machine() -> dict[str, Any]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
