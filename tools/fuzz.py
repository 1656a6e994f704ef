#!/usr/bin/env python3
"""Damage files of every kind that the package reads, and record what it does with them (docs/reliability.md).

python tools/fuzz.py                    # 900 files of each kind, about three minutes; writes docs/records/reliability
python tools/fuzz.py --files 60 --dry-run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ckdmed.files import write_json  # noqa: E402
from ckdmed.reports import package_versions  # noqa: E402
from tests.reliability.doors import DOORS  # noqa: E402
from tests.reliability.fuzz import fuzz  # noqa: E402

RECORD = ROOT / "docs" / "records" / "reliability" / "fuzz.json"


def main() -> int:
    """Fuzz every door; status 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=900, help="damaged files of each kind (default 900)")
    parser.add_argument("--seed", type=int, default=100_000, help="of the first file (default 100000)")
    parser.add_argument("--dry-run", action="store_true", help="write no record")
    args = parser.parse_args()
    doors = {}
    faults = total = 0
    bar = tqdm(DOORS.items(), unit="kind")
    for name, door in bar:
        bar.set_description(name)
        with tempfile.TemporaryDirectory() as folder:
            tally = fuzz(door, Path(folder), range(args.seed, args.seed + args.files))
        faults += len(tally.faults)
        total += sum(tally.counts.values())
        for line in tally.faults[:5]:
            bar.write(f"{name}: {line}")
        doors[name] = {
            "files": sum(tally.counts.values()),
            "outcomes": dict(sorted(tally.counts.items())),
            "faults": len(tally.faults),
            "peak_mib": round(tally.peak_mib),
            "seconds": round(tally.seconds, 2),
        }
    record = {"first_seed": args.seed, "files_of_each_kind": args.files, "kinds": doors, "packages": package_versions()}
    if not args.dry_run:
        print(write_json(RECORD, record).relative_to(ROOT))
    print(f"{total} files, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
