"""A worker without a network: two objects of each series, and a note that it made them.

QUICK_WORKER_SECONDS: how long it thinks. QUICK_WORKER_STATUS: what the check of the input says, or a number to exit
with.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from ckdmed.folders import replaced_folder


def main() -> int:
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
    status = os.environ.get("QUICK_WORKER_STATUS", "intended")
    if status.isdigit():
        print("something went wrong", file=sys.stderr)
        return int(status)
    results = Path(task["results"])
    if results.exists():
        return 0
    with replaced_folder(results.parent, results.name, lambda _: "results") as folder:
        time.sleep(float(os.environ.get("QUICK_WORKER_SECONDS", "0")))
        names = []
        for kind in ("seg", "sr"):
            made = dcmread(task["images"][0])
            made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
            made.SOPInstanceUID = generate_uid(entropy_srcs=[kind, *sorted(Path(i).stem for i in task["images"])])
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
            made.Modality, made.ImageComments = "OT", f"of {len(task['images'])} images"
            made.save_as(folder / f"{kind}.dcm")
            names.append(f"{kind}.dcm")
        with open(results.parent.parent / "made.txt", "a") as note:
            note.write(f"{len(task['images'])}\n")
        outcome = {"refused": "", "status": status, "reasons": [status] * (status != "intended"), "results": names}
        (folder / "outcome.json").write_text(json.dumps(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
