"""Cold start and peak memory of a form or network, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

__all__ = ["FreshRun", "of_form", "of_network"]

_TAIL = """
try:
    # what getrusage tells begins with the peak of the process that started this one
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
print(json.dumps({"seconds": time.perf_counter() - start, "megabytes": peak}))
"""
_FORM = """
import json, sys, time
start = time.perf_counter()
import numpy as np
from ckdmed.runtime.forms import open_form
open_form(sys.argv[1], 1)(np.load(sys.argv[2]))
"""
_NETWORK = """
import json, sys, time
start = time.perf_counter()
import numpy as np
import torch
from monai.bundle import ConfigParser
torch.set_num_threads(1)
network = ConfigParser(json.load(open(sys.argv[3]))).get_parsed_content("network")
network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
network.eval()
with torch.inference_mode():
    network(torch.from_numpy(np.load(sys.argv[2])))
"""

FreshRun = dict[str, float]


def of_form(path: Path, image: np.ndarray, tries: int = 3) -> FreshRun:
    """Seconds from the start of Python's imports to the first result, and peak memory in MB; the best of some tries.

    Args:
        path: a deployed file for ONNX Runtime or OpenVINO.
        image: (1, C, *spatial).
        tries: the machine may be busy with something else in one of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/image.npy", image)
        return _best(_FORM, [str(path), f"{folder}/image.npy"], tries)


def of_network(network: nn.Module, definition: dict[str, object], image: np.ndarray, tries: int = 2) -> FreshRun:
    """The same of a PyTorch network.

    Args:
        network: with its weights.
        definition: its ``_target_`` and arguments.
        image, tries: as `of_form`.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/image.npy", image)
        torch.save(network.state_dict(), f"{folder}/weights.pt")
        Path(f"{folder}/network.json").write_text(json.dumps({"network": definition}), encoding="utf-8")
        return _best(_NETWORK, [f"{folder}/{name}" for name in ("weights.pt", "image.npy", "network.json")], tries)


def _best(program: str, arguments: list[str], tries: int) -> FreshRun:
    found = []
    for _ in range(tries):
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program + _TAIL, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"a fresh process could not run it: {done.stderr.strip().splitlines()[-1][:300]}")
        result = json.loads(done.stdout.splitlines()[-1])
        found.append({**result, "process_seconds": time.perf_counter() - begin})
    return min(found, key=lambda run: run["seconds"])
