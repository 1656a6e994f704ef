#!/usr/bin/env python3
"""Store a checkpoint's weights in half precision: half the file, and a network in single precision loads it as it is.

    python tools/halve_checkpoint.py RUN/models/model.pt RUN/models/model-half.pt

Tensors of one axis (biases, statistics of normalisation) stay as they are: they are 2 % of a network, and running
variances may lie beyond 65504, the largest number of half precision. To see what it changes, infer the same inputs with
both files and compare the results with tools/compare_inference.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ckdmed.files import save_weights
from ckdmed.networks.checkpoint import read_state_dict


def main() -> int:
    """Write the file; 1 where it is there already, or a weight does not fit into half precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("half", type=Path, help="the file to write")
    args = parser.parse_args()
    if args.half.exists():
        print(f"{args.half} already exists; name another file.", file=sys.stderr)
        return 1
    state = read_state_dict(args.checkpoint)
    halved = {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value for name, value in state.items()
    }
    if beyond := [name for name, value in halved.items() if not bool(value.isfinite().all())]:
        print(f"{args.checkpoint}: {', '.join(beyond)} holds numbers beyond half precision.", file=sys.stderr)
        return 1
    save_weights(args.half, halved)
    print(f"{args.half}: {args.half.stat().st_size} bytes, {args.checkpoint} has {args.checkpoint.stat().st_size}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
