"""`ckdmed serve-dicom` with another worker: launch.py WORKER_AS_JSON ARGUMENTS..."""

from __future__ import annotations

import json
import sys

import ckdmed.dicom_node.node as node
import ckdmed.dicom_node.worker as worker_of_bundles
from ckdmed.cli import main

if __name__ == "__main__":
    worker = json.loads(sys.argv[1])
    serve = node.serve
    node.serve = lambda settings: serve(settings, worker)
    # another worker needs no weights
    worker_of_bundles.check_weights = lambda *_: None
    sys.exit(main(["serve-dicom", *sys.argv[2:]]))
