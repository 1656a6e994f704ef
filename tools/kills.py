#!/usr/bin/env python3
"""Kill commands at their writes and between them, take them up, and record what came of it (docs/reliability.md).

python tools/kills.py                    # writes docs/records/reliability/kills.json
python tools/kills.py --dry-run --writes 3 --changes 2 "slice-cache" "export"
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ckdmed.files import write_json  # noqa: E402
from ckdmed.reports import package_versions  # noqa: E402
from tests.reliability.kill_scenarios import SCENARIOS, written_inputs  # noqa: E402
from tests.reliability.kills import check_kills  # noqa: E402
from tests.reliability.zygote import Zygote  # noqa: E402

RECORD = ROOT / "docs" / "records" / "reliability" / "kills.json"


def _record(found: dict[str, Any]) -> None:
    """Write these commands into the record, and leave the others that are in it."""
    known = json.loads(RECORD.read_text(encoding="utf-8"))["commands"] if RECORD.is_file() else {}
    merged = {**known, **found}
    commands = {name: merged[name] for name in SCENARIOS if name in merged}
    write_json(RECORD, {"commands": commands, "packages": package_versions()})


def main() -> int:
    """Kill every scenario; status 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--writes", type=int, default=6, help="at which each is killed, before and after (default 6)")
    parser.add_argument("--changes", type=int, default=4, help="other changes before which it is killed (default 4)")
    parser.add_argument("--first", type=int, default=0, help="how many of these points are left out (default 0)")
    parser.add_argument("--dry-run", action="store_true", help="write no record")
    args = parser.parse_args()
    if unknown := [name for name in args.scenarios if name not in SCENARIOS]:
        parser.error(f"there are no scenarios {unknown}; there are {', '.join(SCENARIOS)}.")
    found = {}
    faults = total = 0
    with tempfile.TemporaryDirectory() as folder, Zygote() as zygote:
        inputs = written_inputs(zygote, Path(folder) / "inputs")
        bar = tqdm(args.scenarios or SCENARIOS, unit="command")
        for name in bar:
            bar.set_description(name)
            own = Path(tempfile.mkdtemp(dir=folder))
            tally = check_kills(SCENARIOS[name], zygote, inputs, own, args.writes, args.changes, args.first)
            faults += len(tally.faults)
            total += sum(tally.kills.values())
            for line in tally.faults:
                bar.write(f"{name}: {line}")
            bar.write(f"{name}: {dict(tally.kills)}, {tally.writes} writes, {tally.seconds:.0f} s")
            found[name] = {
                "writes": tally.writes,
                "other_changes": tally.changes,
                "kills": dict(sorted(tally.kills.items())),
                "faults": len(tally.faults),
            }
            if not args.dry_run:
                _record(found)
    print(f"{total} kills, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
