"""Memory and speed of training on slices of BraTS phantoms: cut once, then read slice by slice.

    python benchmarks/brats_slices.py --cases 50                     # the full size: 50 cases of 240 x 240 x 155
    python benchmarks/brats_slices.py --cases 4 --distinct 2 --steps 10

It writes phantoms (kept for the next call), cuts them into a cache, and starts a process that reads slices, first
with the cache's files dropped from the system's memory (cold), then again (cached), and trains a small U-Net on them.
Printed are slices per second of reading alone and of training, and how far memory grows above that of the process with
everything imported and nothing loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

MIB = 1 << 20


def resident(pid: int) -> int:
    """Bytes of the process and its children; pages that several share count once (PSS)."""
    total = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        total += sum(resident(int(child)) for child in children)
    except (OSError, ValueError):
        pass
    return total


class Peak(threading.Thread):
    """Samples the memory of this process and its children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.value, self._stop_asked = 0, threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(0.5):
            self.value = max(self.value, resident(os.getpid()))

    def stop(self) -> int:
        self._stop_asked.set()
        self.join()
        return max(self.value, resident(os.getpid()))


def forget(folder: Path) -> None:
    """Drop the files of a folder from the system's memory, as after a restart."""
    for path in folder.rglob("*.npy"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def write_cases(folder: Path, named: Path, cases: int, distinct: int, shape: tuple[int, int, int]) -> Path:
    """Phantoms, the first `distinct` of them drawn in `folder` and all linked from `named`; the datalist's path."""
    from ckdmed.data.brats import build_brats_datalist, write_brats_datalist
    from ckdmed.data.phantoms import write_brats_phantoms

    drawn = folder / "drawn"
    write_brats_phantoms(drawn, min(distinct, cases), shape, time_points=(1, 1))
    sources = sorted(path for path in drawn.iterdir() if path.is_dir())
    for number in range(cases):
        source = sources[number % len(sources)]
        target = named / f"BraTS-GLI-{number:05d}-000"
        target.mkdir(parents=True)
        for path in source.iterdir():
            os.link(path, target / path.name.replace(source.name, target.name))
    datalist, skipped = build_brats_datalist(named, fractions=(1.0, 0.0, 0.0), progress=False)
    if skipped:
        raise RuntimeError(f"{len(skipped)} phantoms are not usable: {skipped[0].reason}")
    return write_brats_datalist(datalist, named / "datalist.json")


def train(args: argparse.Namespace) -> dict[str, Any]:
    """What the second process does."""
    import resource

    import torch
    from monai.data import DataLoader
    from monai.losses import DiceCELoss

    from ckdmed.data.brats import BalancedSliceSampler, BratsSliceDataset
    from ckdmed.networks import UNet
    from ckdmed.transforms import BratsLabelsToRegionsd

    torch.set_num_threads(args.threads)
    empty = resident(os.getpid())
    empty_most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = Peak()
    peak.start()
    start = time.perf_counter()
    dataset = BratsSliceDataset(args.cache, transform=BratsLabelsToRegionsd("label"), neighbours=args.neighbours)
    opened = time.perf_counter() - start
    channels = len(dataset[0]["image"])

    def batches(epoch: int) -> Any:
        sampler = BalancedSliceSampler(dataset.categories, num_samples=args.steps * args.batch_size)
        sampler.set_epoch(epoch)
        return DataLoader(dataset, batch_size=args.batch_size, sampler=sampler, num_workers=args.workers)

    def read(loader: Any) -> float:
        begin, count = time.perf_counter(), 0
        for batch in loader:
            count += len(batch["image"])
        return count / (time.perf_counter() - begin)

    forget(args.cache)
    cold = read(batches(0))
    cached = read(batches(0))
    reading = max(peak.value, resident(os.getpid()))
    network = UNet(spatial_dims=2, in_channels=channels, out_channels=3, features=(16, 32, 64, 128, 256))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loss = DiceCELoss(sigmoid=True)
    begin, count = time.perf_counter(), 0
    for batch in batches(1):
        optimiser.zero_grad()
        value = loss(network(batch["image"]), batch["label"])
        value.backward()
        optimiser.step()
        count += len(batch["image"])
    trained = count / (time.perf_counter() - begin)
    highest = peak.stop()
    return {
        "slices": len(dataset),
        "cache_mib": round(dataset.size_on_disk() / MIB),
        "index_seconds": round(opened, 2),
        "cold_slices_per_s": round(cold, 1),
        "cached_slices_per_s": round(cached, 1),
        "training_slices_per_s": round(trained, 1),
        "empty_mib": round(empty / MIB),
        "reading_above_empty_mib": round((reading - empty) / MIB),
        "peak_above_empty_mib": round((highest - empty) / MIB),
        "max_resident_above_empty_mib": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB - empty_most / MIB
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/brats_slices"), help="for phantoms and cache")
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--distinct", type=int, default=4, help="phantoms to draw; the rest are copies (default: 4)")
    parser.add_argument("--shape", type=int, nargs=3, default=(240, 240, 155))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=30, help="batches of each measurement (default: 30)")
    parser.add_argument("--neighbours", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes of the loader (default: 0)")
    parser.add_argument("--build-workers", type=int, default=1, help="processes that cut (default: 1)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit-mib", type=int, default=2048, help="fail above this (default: 2048)")
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cache is not None:
        print(json.dumps(train(args)))
        return 0
    args.folder.mkdir(parents=True, exist_ok=True)
    # nothing that is there already is removed
    with tempfile.TemporaryDirectory(prefix="measured-", dir=args.folder) as measured:
        return measure(args, Path(measured))


def measure(args: argparse.Namespace, measured: Path) -> int:
    """Cut and read the cases below `measured`; the exit status."""
    from ckdmed.data.brats import build_slice_cache, load_brats_datalist

    start = time.perf_counter()
    datalist = write_cases(args.folder, measured / "cases", args.cases, args.distinct, tuple(args.shape))
    print(f"phantoms of {args.cases} cases: {time.perf_counter() - start:.0f} s", flush=True)
    cache = measured / "cache"
    start = time.perf_counter()
    made, skipped = build_slice_cache(load_brats_datalist(datalist), cache, workers=args.build_workers)
    seconds = time.perf_counter() - start
    if skipped:
        raise RuntimeError(f"{len(skipped)} cases could not be cut: {skipped[0].reason}")
    print(f"cut {len(made)} cases in {seconds:.0f} s ({seconds / len(made):.1f} s per case)", flush=True)
    passed = ["batch-size", "steps", "neighbours", "workers", "threads"]
    options = [part for name in passed for part in (f"--{name}", str(getattr(args, name.replace("-", "_"))))]
    command = [sys.executable, __file__, "--cache", str(cache), *options]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    for key, value in result.items():
        print(f"{key:<30}{value}")
    within = result["peak_above_empty_mib"] < args.limit_mib
    print(f"memory above the empty process {'stays under' if within else 'EXCEEDS'} {args.limit_mib} MiB")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
