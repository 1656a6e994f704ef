#!/usr/bin/env python3
"""Milliseconds of CLAHE on one image beside scikit-image's `equalize_adapthist`, which gives the same values.

    OMP_NUM_THREADS=1 python benchmarks/clahe.py

All take turns on one smooth random image with noise, 8 x 8 tiles, 256 bins; kornia's `equalize_clahe`, whose values are
others, where it is installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import time

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage.exposure import equalize_adapthist

from ckdmed.counted import counted
from ckdmed.reports import machine_in_words, markdown_table
from ckdmed.transforms import CLAHE


def stretched(image: np.ndarray) -> np.ndarray:
    image = image.astype(np.float64)
    return (image - image.min()) / (image.max() - image.min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="edges of the images in pixels")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = []
    for size in args.sizes:
        noise = rng.normal(size=(size, size))
        image = (gaussian_filter(noise, 3) + 0.1 * noise).astype(np.float32)[None]
        tile = -(-size // 8)
        ways = {
            "scikit-image": lambda: equalize_adapthist(stretched(image[0]), (tile, tile), 0.01, 256),
            "ckdmed": lambda: np.asarray(CLAHE(clip_limit=0.01, tile_grid=8)(image))[0],
        }
        if importlib.util.find_spec("kornia"):
            unit = torch.from_numpy(stretched(image).astype(np.float32))[None]
            ways["kornia"] = lambda: importlib.import_module("kornia.enhance").equalize_clahe(unit, 2.56, (8, 8))
        if not np.array_equal(ways["scikit-image"]().astype(np.float32), ways["ckdmed"]()):
            raise RuntimeError(f"the two give different values at {size} pixels.")
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(args.rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                spent[name].append(1000 * (time.perf_counter() - start))
        ours = spent["ckdmed"]
        for name, values in spent.items():
            median, least = statistics.median(values), min(values)
            ratios = f"{median / statistics.median(ours):.2f}", f"{least / min(ours):.2f}"
            rows.append([str(size), name, f"{median:.1f}", f"{least:.1f}", *ratios])
    print(f"Machine: {machine_in_words()}; {counted(torch.get_num_threads(), 'thread')}, NumPy {np.__version__}.\n")
    columns = ["pixels", "by", "median [ms]", "least [ms]", "median beside ckdmed's", "least"]
    print(markdown_table(columns, rows))


if __name__ == "__main__":
    main()
